"""gabbi_files.py COLLECTOR FOLDER: runs Ceilometer's own tests of its API, the gabbi files in its wheel, against the collector.

Each file gets a new collector with an empty store, or with three samples where the file asks for the fixture that has them. A test that
fails has to be in DIFFERENCES, and each of those has to fail."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import unittest
import urllib.request
import uuid
from datetime import datetime, timedelta
from pathlib import Path

import ceilometer
import yaml
from gabbi import handlers, suitemaker

FILES = Path(ceilometer.__file__).parent / "tests/functional/gabbi/gabbits"
# Ids are those of docs/api.md.
DIFFERENCES = {
    "basic: quick root check": "A20",
    "meters: get grouped sample statistics": "A5",
    "meters: meter bad accept": "A21",
    "meters: meters list bad accept": "A21",
    "resources-empty: list resources bad accept": "A21",
    "samples: bad accept": "A21",
    "samples: complex bad accept": "A21",
}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def livestock():
    """The samples of the fixture. Theirs have one time, and stand in the order of their database; ours are a moment apart."""
    project, now = str(uuid.uuid4()), datetime.utcnow()
    for number, name in enumerate(["cow", "pig", "sheep"]):
        yield {
            "name": "livestock", "type": "gauge", "unit": "head", "volume": number, "user_id": "farmerjon", "project_id": project, "resource_id": project,
            "timestamp": (now - timedelta(seconds=number)).isoformat(), "resource_metadata": {"farmed_by": "nancy", "breed": name}, "source": str(uuid.uuid4()),
            "id": str(uuid.uuid4()),
        }


class Served:
    """A collector in a folder of its own."""

    def __init__(self, program, folder, samples):
        folder.mkdir()
        self.port = free_port()
        config = folder / "collector.yaml"
        config.write_text(json.dumps({
            "store": {"path": str(folder / "store"), "window": "40000d", "keep": "forever", "rollups": "forever"},
            "commit": {"time": "20ms"}, "api": {"listen": "127.0.0.1:%d" % self.port, "access": "loopback"},
        }))
        if samples:
            (folder / "samples").write_text("".join(json.dumps(one) + "\n" for one in samples))
            subprocess.run([program, "import", "--unsigned", "--config", str(config), str(folder / "samples")], check=True, stdout=subprocess.DEVNULL)
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen([program, "run", "--config", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for _ in range(3000):
            try:
                urllib.request.urlopen("http://127.0.0.1:%d/health" % self.port)
                return
            except OSError:
                if self.process.poll() is not None:
                    sys.exit((folder / "log").read_text())
                time.sleep(0.1)
        sys.exit("the collector did not start")

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def run(program, folder, path):
    """The number of tests of a file, and those that fail with the last line of the reason."""
    suite = yaml.safe_load(path.read_text())
    fixtures = suite.pop("fixtures", [])
    served = Served(program, folder / path.stem, list(livestock()) if "SampleDataFixture" in fixtures else [])
    try:
        tests = suitemaker.test_suite_from_dict(
            unittest.defaultTestLoader, path.stem, suite, str(FILES), "127.0.0.1", served.port, None, None,
            handlers=[handler() for handler in handlers.RESPONSE_HANDLERS], test_loader_name="gabbi")
        result = unittest.TextTestRunner(stream=io.StringIO()).run(tests)
    finally:
        served.end()
    failed = {}
    for test, text in result.failures + result.errors:
        failed["%s: %s" % (path.stem, test.test_data["name"])] = text.strip().splitlines()[-1]
    return result.testsRun, failed


def main():
    program, folder = sys.argv[1], Path(sys.argv[2])
    count, failed = 0, {}
    # Middleware of OpenStack is no part of the API.
    for path in sorted(FILES.glob("*.yaml")):
        if path.stem != "middleware":
            more, wrong = run(os.path.abspath(program), folder, path)
            count, failed = count + more, dict(failed, **wrong)
    for name in sorted(set(failed) - set(DIFFERENCES)):
        print("gabbi: %s: %s" % (name, failed[name]))
    for name in sorted(set(DIFFERENCES) - set(failed)):
        print("gabbi: %s passes; remove it from DIFFERENCES" % name)
    if set(failed) != set(DIFFERENCES):
        sys.exit(1)
    print("gabbi: ok: %d tests of Ceilometer pass, %d differ with their id" % (count - len(failed), len(failed)))


main()
