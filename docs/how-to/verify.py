#!/usr/bin/env python3
"""verify.py FILE KEY...: verifies streams in a file of `file://...?json&provable`, with the agent's public keys.

Recomputes the chain of digests, finds missing numbers, and verifies the signatures of records (docs/proof.md). Exits with 1 and a
reason if anything is altered, out of order, or missing without a declaration. Requires Python 3.9 and openssl 3.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

# What precedes the 32 bytes of an Ed25519 key in the form that openssl reads.
PREFIX = bytes.fromhex("302a300506032b6570032100")


def signed_by(key, text, signature):
    with tempfile.TemporaryDirectory() as folder:
        parts = {"key": PREFIX + bytes.fromhex(key), "text": text.encode(), "signature": bytes.fromhex(signature)}
        for name, content in parts.items():
            (Path(folder) / name).write_bytes(content)
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", "key", "-rawin"]
        command += ["-in", "text", "-sigfile", "signature"]
        return subprocess.run(command, cwd=folder, capture_output=True).returncode == 0


def messages(content):
    """The link and the body of each message."""
    at = 0
    for line in content.splitlines(keepends=True):
        link = json.loads(line).get("nephometer", {}).get("link")
        if link:
            yield link, content[at - link["bytes"] : at]
        at += len(line)


def digest_of(link, body):
    number = link["sequence"].to_bytes(8, "big")
    return hashlib.sha256(bytes.fromhex(link["previous"]) + number + hashlib.sha256(body).digest()).hexdigest()


def record_of(number, body, keys):
    """The signed record in a message, or None."""
    signed = json.loads(body.split(b"\n")[0] or "{}").get("nephometer")
    if not signed:
        return None
    if not any(signed_by(key, signed["record"], signed["signature"]) for key in keys):
        sys.exit(f"number {number}: no key given has signed this record")
    return json.loads(signed["record"])


def main(file, keys):
    last, missing, declared, records, dropped = {}, [], [], 0, 0
    for link, body in messages(Path(file).read_bytes()):
        stream, number = link["stream"], link["sequence"]
        if digest_of(link, body) != link["digest"]:
            sys.exit(f"number {number}: the message was altered")
        before, digest = last.get(stream, (number - 1, link["previous"]))
        if number <= before or digest != link["previous"]:
            sys.exit(f"number {number}: does not continue the message before it, {before}")
        if number > before + 1:
            missing.append((stream, before + 1, number - 1))
        last[stream] = number, link["digest"]
        record = record_of(number, body, keys)
        records += record is not None
        if record and record["kind"] == "drops":
            for entry in record["drops"]:
                dropped += entry["samples"]
                if entry["numbers"]:
                    declared.append((stream, entry["numbers"]["first"], entry["numbers"]["last"]))
    for stream, first, until in missing:
        if not any(stream == other and low <= first and until <= high for other, low, high in declared):
            sys.exit(f"{stream}: numbers {first} to {until} are missing, and no drop is declared")
    for stream, (number, _) in last.items():
        print(f"ok: {stream} up to number {number}")
    print(f"{records} signed records, {len(missing)} declared holes, {dropped} samples declared as dropped")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
