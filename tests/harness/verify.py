"""verify.py SECRET [--python2] < MESSAGES: verifies the signatures of metering messages, one JSON object per line.

Written from the description of the signature, independently of the agent: traversal and formatting are Python's own. Prints every
message with a wrong signature and exits with 1 if there is one; otherwise prints the number of messages. `verify.py --self-test`
checks it with known signatures.
"""
import hashlib
import hmac
import json
import sys


def as_bytes(value):
    """Text inside of lists is signed as bytes."""
    if isinstance(value, dict):
        return {as_bytes(key): as_bytes(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [as_bytes(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8")
    return value


def walk(mapping, python2, prefix=""):
    for key in sorted(mapping):
        value = mapping[key]
        if isinstance(value, dict):
            yield from walk(value, python2, prefix + key + ":")
        elif isinstance(value, list):
            # Python 2 prints plain ASCII as Python 3 prints text, without the conversion to bytes.
            yield prefix + key, str(value if python2 else as_bytes(value))
        elif isinstance(value, float) and python2:
            yield prefix + key, format(value, ".12g") + (".0" if value == int(value) and abs(value) < 1e12 else "")
        else:
            yield prefix + key, str(value)


def signature(message, secret, python2=False):
    if not secret:
        return ""
    mac = hmac.new(secret.encode("utf-8"), digestmod=hashlib.sha256)
    for key, value in walk({key: message[key] for key in message if key != "message_signature"}, python2):
        mac.update(key.encode("utf-8"))
        mac.update(value.encode("utf-8"))
    return mac.hexdigest()


def self_test():
    secret = "change this for valid signing"
    base = {
        "source": "openstack", "counter_name": "cpu", "counter_type": "cumulative", "counter_unit": "ns",
        "counter_volume": 123456789, "user_id": "u1", "project_id": "p1", "resource_id": "r1",
        "timestamp": "2015-10-01T12:00:00.123456",
        "resource_metadata": {"cpu_number": 2, "display_name": "vm-\u00e9", "flavor": {"id": "42", "vcpus": 2}},
        "message_id": "3a5f2c1e-6821-11e5-9d70-fa163e000001",
    }
    nested = {"device": ["vda", "vdb"], "nested": {"a": {"b": None}}, "flag": True, "empty": {}, "elist": []}
    listed = {"l": [1, 2.5, None, True, {"k": "v", "\u00e9": ["x"]}]}
    none = {"user_name": None, "project_name": None}
    for change, expected in [
        ({}, "1314579e2dfc3d0404ef82960addf3c007475787805161e682794365f9a605b0"),
        ({"counter_volume": 0.1, "user_id": None, "resource_metadata": nested},
         "b940496210f451671554c30331706c200a0917e16032c69fd130492e8e4727fb"),
        ({"counter_volume": 1e16, "resource_metadata": {}, **none, "monotonic_time": 12345.678},
         "f838da9567b579c90ea2fb018f8a6d6aaeadec1e50974e0fe9783931c09069c8"),
        ({"resource_metadata": listed}, "09bd9d34e4cd0b106052da50e2c38b05c12fa7f26f7a34abac680df836b016cd"),
        ({"counter_volume": 1234567.123456789}, "3b7526096e6eba0f39559d0c7945cdffb590ae630be6f1dcdacaa2b0a78e23ad"),
        ({**none, "monotonic_time": None}, "6148c7724554fe99b7a219e7acde851f7d60932fe0cf5c57b296341d57808b20"),
    ]:
        message = json.loads(json.dumps({**base, **change}))
        assert signature(message, secret) == expected, change
        assert signature({**message, "source": "other"}, secret) != expected
    print("ok")


def main():
    if sys.argv[1] == "--self-test":
        return self_test()
    wrong = right = 0
    for line in sys.stdin:
        message = json.loads(line)
        if hmac.compare_digest(message.get("message_signature") or "", signature(message, sys.argv[1], "--python2" in sys.argv)):
            right += 1
        else:
            wrong += 1
            print("wrong signature:", line.strip())
    if wrong:
        sys.exit(1)
    print(right)


main()
