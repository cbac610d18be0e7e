"""Runs the fixtures through the real host: python3 through_host.py AGENT COMPONENT

`nephometer component run` knows no save and no restore; the batches and the last flush of a fixture are compared.
"""

import json
import math
import subprocess
import sys
from datetime import datetime
from pathlib import Path


def run(agent, component, fixture, *flush):
    batches = [step["batch"] for step in fixture.get("steps", []) if "batch" in step]
    text = "\n\n".join("\n".join(map(json.dumps, batch)) for batch in batches)
    options = ["--options", json.dumps(fixture["options"])]
    command = [agent, "component", "run", component, *options, *flush]
    return subprocess.run(command, input=text, text=True, capture_output=True)


def compare(found, expected):
    found = [json.loads(line) for line in found]
    assert len(found) == len(expected), f"{len(found)} samples, not {len(expected)}"
    for one, other in zip(found, expected):
        for key, value in other.items():
            given = one[key]
            if key == "volume":
                alike = math.isclose(given, value, rel_tol=4e-16)
            elif key == "timestamp":
                alike = datetime.fromisoformat(given + "Z") == datetime.fromisoformat(value)
            else:
                alike = given == value
            assert alike, f"{key} of {one} is not {value!r}"


def check(agent, component, fixture):
    if "errors" in fixture:
        done = run(agent, component, fixture)
        assert done.returncode == 78, f"ended with {done.returncode}: {done.stderr}"
        for pointer, reason in fixture["errors"]:
            assert f"{pointer}: {reason}" in done.stderr, f"{pointer}: {reason} is not in {done.stderr}"
        return
    done = run(agent, component, fixture)
    assert done.returncode == 0, done.stderr
    compare(done.stdout.splitlines(), [sample for step in fixture["steps"] if "batch" in step for sample in step["out"]])
    for line in (line for step in fixture["steps"] for line in step.get("log", [])):
        assert line.partition(": ")[2] in done.stderr, f"{line} is not in {done.stderr}"
    totals = [step["out"] for step in fixture["steps"] if "flush" in step][-1]
    flushed = [line for line in run(agent, component, fixture, "--flush").stdout.splitlines() if '"cost.total"' in line]
    compare(flushed[-len(totals) :], totals)


def main():
    agent, component = sys.argv[1:]
    failed = False
    for file in sorted(Path(__file__).parent.glob("fixtures/*.json")):
        try:
            check(agent, component, json.loads(file.read_text()))
            print(f"{Path(component).name}: {file.name} ok")
        except AssertionError as error:
            failed = True
            print(f"{Path(component).name}: {file.name} FAILED: {error}")
    sys.exit(failed)


main()
