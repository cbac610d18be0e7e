"""Shared by the benchmarks in scripts/ that are written in Python: results, processes, the lab and a running agent."""

import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
AGENT = TARGET / "release" / "nephometer"
COMPONENTS = ROOT / "target" / "components"
CEILOMETER = ROOT / "target" / "tools" / "ceilometer" / "bin"
RESULTS = ROOT / "target" / "bench" / "results.jsonl"
TICKS = os.sysconf("SC_CLK_TCK")

# SIGTERM ends a benchmark as an error does, so that it stops what it has started.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

# ---- results -----------------------------------------------------------------------------------------------------------------------


def record(figure, value, unit, command):
    """Appends one result. A figure is named GROUP/ROW/COLUMN; its latest result counts."""
    assert figure.count("/") == 2, figure
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    row = {"figure": figure, "value": float(value), "unit": unit, "command": command, "time": int(time.time())}
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def recorded():
    """The latest result of each figure."""
    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    return {row["figure"]: row for row in rows}


def progress(text):
    print(f"{Path(sys.argv[0]).name}: {text}", file=sys.stderr, flush=True)


# ---- processes ---------------------------------------------------------------------------------------------------------------------


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], text=True, capture_output=True, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done.stdout


def stat(pid):
    """The fields of /proc/PID/stat that follow the name."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def tree(pid):
    """A process and all its descendants."""
    children = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            children.setdefault(int(stat(path.name)[1]), []).append(int(path.name))
        except OSError:
            continue
    found = [pid]
    for one in found:
        found.extend(children.get(one, []))
    return found


def cpu(*pids):
    """CPU seconds of processes and of their children that have ended."""
    own = sum(time.clock_gettime_ns(~pid << 3 | 2) for pid in pids)
    return own / 1e9 + sum(sum(map(int, stat(pid)[13:15])) for pid in pids) / TICKS


def memory(*pids):
    """Megabytes of the processes: resident, proportional, and private (dirty pages that no other process shares)."""
    names = {"Rss": "resident", "Pss": "proportional", "Private_Dirty": "private"}
    totals = dict.fromkeys(names.values(), 0.0)
    for pid in pids:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        for key, kilobytes in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE):
            if key in names:
                totals[names[key]] += int(kilobytes) * 1024 / 1e6
    return totals


def peak(pid):
    """The largest resident memory so far, in megabytes."""
    return int(re.search(r"^VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[1]) * 1024 / 1e6


def wakeups(pid):
    """Voluntary context switches of each thread."""
    counts = {}
    for path in Path(f"/proc/{pid}/task").glob("*/status"):
        try:
            counts[path.parent.name] = int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", path.read_text(), re.MULTILINE)[1])
        except OSError:
            continue
    return counts


def bytes_written(pid):
    """Bytes that a process has passed on to be written to disks."""
    return int(re.search(r"^write_bytes: (\d+)", Path(f"/proc/{pid}/io").read_text(), re.MULTILINE)[1])


def end(process, seconds=30):
    """Ends a child process: SIGTERM, then SIGKILL. Returns its exit code."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def wait_for(what, condition, seconds=60, step=0.02):
    """Waits until the condition is true and returns its value; ends the program after `seconds`."""
    limit = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > limit:
            sys.exit(f"{what}: not within {seconds} s")
        time.sleep(step)


def free_port():
    """A loopback port that is free, with the two after it: below those that the system gives to clients."""

    def is_free(port):
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                return False
        return True

    while True:
        port = random.randrange(20000, 32000)
        if all(is_free(port + offset) for offset in range(3)):
            return port


# ---- the lab -----------------------------------------------------------------------------------------------------------------------


class Lab:
    """What scripts/lab starts. It ends with `down`, or with this program. The broker has the port `port`."""

    def __init__(self, folder, *options):
        self.folder, self.port = folder, free_port()
        run(ROOT / "scripts/lab", "up", folder, "--owner", os.getpid(), "--port", self.port, *options)
        env = dict(re.findall(r"^(\w+)='?(.*?)'?$", (Path(folder) / "env").read_text(), re.MULTILINE))
        self.uri, self.broker = env.get("LIBVIRT_URI"), env.get("AMQP_URL")
        self.libvirtd, self.rabbitmq = int(env.get("LIBVIRTD_PID", 0)), int(env.get("RABBITMQ_PID", 0))
        self.qemu_pids = env.get("QEMU_PIDS")

    def virsh(self, *arguments):
        return run("virsh", "-q", "-c", self.uri, *arguments)

    def grow(self, count):
        """Starts more paused guests, until there are `count`."""
        run(ROOT / "scripts/lab", "grow", self.folder, count)

    def rabbit(self, *arguments):
        return run(ROOT / "scripts/lab", "rabbit", self.folder, *arguments)

    def down(self):
        run(ROOT / "scripts/lab", "down", self.folder)


# ---- the agent ---------------------------------------------------------------------------------------------------------------------

# Every meter through two sinks, each with a transformer. @PUBLISHERS@ is replaced.
TWO_SINKS = """
sources:
- {name: all, interval: @INTERVAL@, meters: ["*"], sinks: [rates, sizes]}
sinks:
- name: rates
  transformers:
  - name: rate_of_change
    parameters: {target: {type: gauge, scale: "100.0 / (10**9 * (resource_metadata.cpu_number or 1))"}}
  publishers: @PUBLISHERS@
- name: sizes
  transformers: [{name: unit_conversion, parameters: {target: {scale: "volume / 1024"}}}]
  publishers: @PUBLISHERS@
"""


class Cycle:
    """One polling cycle in the agent's log."""

    def __init__(self, line):
        self.end = datetime.fromisoformat(line["timestamp"].replace("Z", "+00:00")).timestamp()
        fields = line.get("fields", line)
        self.seconds = float(fields["took_ms"]) / 1e3
        self.samples = int(fields["samples"])

    @property
    def begin(self):
        return self.end - self.seconds


class RunningAgent:
    """An agent in a folder of its own. `started` is the time at which its process was started."""

    def __init__(self, folder, pipeline, libvirt, cache=None, **settings):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "pipeline.yaml").write_text(pipeline)
        settings |= {
            "store": {"path": str(self.folder / "store")},
            "cache": {"path": str(cache or self.folder / "cache")},
            "control": {"socket": str(self.folder / "socket")},
        }
        # JSON is YAML.
        (self.folder / "nephometer.yaml").write_text(json.dumps(settings))
        command = [AGENT, "run", "--config", self.folder / "nephometer.yaml", "--pipeline", self.folder / "pipeline.yaml",
                   "--libvirt", libvirt, "--components", COMPONENTS, "--log", "info,nephometer=debug", "--log-format", "json"]
        with (self.folder / "log").open("w") as log, (self.folder / "out").open("w") as out:
            self.started = time.time()
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=log)
        self.pid = self.process.pid

    def log(self):
        """The complete lines of the log."""
        text = (self.folder / "log").read_text(errors="replace")
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines() if line.startswith("{")]

    def lines(self, message):
        return [line for line in self.log() if line.get("fields", line).get("message") == message]

    def cycles(self):
        return [Cycle(line) for line in self.lines("polling cycle finished")]

    def wait_for_cycles(self, count, seconds=120):
        def found():
            if self.process.poll() is not None:
                sys.exit(f"the agent ended: {(self.folder / 'log').read_text()[-2000:]}")
            all_cycles = self.cycles()
            return all_cycles if len(all_cycles) >= count else None

        return wait_for(f"{count} polling cycles", found, seconds, 0.05)

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return end(self.process)


def median(values):
    return statistics.median(values)
