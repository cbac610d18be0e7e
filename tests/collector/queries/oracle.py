"""The judge of the collector's API: what the real Ceilometer answers. Called by scripts/ceilometer-api with its Python.

  oracle.py generate FOLDER        writes samples.ndjson and questions.ndjson, the same at each call
  oracle.py publish FOLDER URL     publishes the samples as metering messages, each id once
  oracle.py ask FOLDER API OUT     asks the questions and writes them with the answers

A sample of samples.ndjson stands in the order of arrival, and some of them twice: the collector stores each once, while Ceilometer
would store both (A9), so that it gets the first one only. A question has `path`, `body` for a POST, `project` for a client that is
restricted to one, and `differs`, the ids of docs/api.md whose difference it shows. `upstream` is the equivalent question to Ceilometer
where it needs another one."""

import json
import random
import sys
import urllib.error
import urllib.parse
import urllib.request
import uuid
from datetime import datetime, timedelta
from pathlib import Path

SECRET = "golden-secret"
PROJECT = "p1"
# Over a leap day and the end of a month; then the days of 23 and of 25 hours in Central Europe.
DAYS = [datetime(2024, 2, 27) + timedelta(days=day) for day in range(5)] + [datetime(2024, 3, 31), datetime(2024, 10, 27)]
METERS = [("cpu", "cumulative", "ns"), ("cpu_util", "gauge", "%"), ("memory", "gauge", "MB"), ("disk.read.bytes", "delta", "B")]


def resources():
    """Id, project, user, source and metadata of each."""
    flavors = [("1", "m1.tiny", 96), ("2", "m1.small", 512), ("3", "m1.large", 8192)]
    names = ["r-0", "r-1", "r-2", "r-3", "r-4", "r-5", "r-6", "tap/with space", "vm-ü"]
    for number, name in enumerate(names):
        ident, flavor, ram = flavors[number % 3]
        metadata = {
            "display_name": f"vm-{number}", "instance_type": flavor, "flavor": {"id": ident, "name": flavor, "ram": ram},
            "host": f"compute-{number % 2}", "tags": ["a", number], "load": number / 4, "booted": number % 2 == 0, "kernel": None,
        }
        if number % 4 == 3:
            del metadata["kernel"]
            metadata["deep"] = {"er": {"est": f"x{number}"}}
        project, user = [("p1", "u1"), ("p1", "u2"), ("p2", "u1"), ("p3", None), (None, None)][number % 5]
        yield name, project, user, "hardware" if number == 4 else "openstack", metadata


def volume(rng, meter, number):
    special = {3: None, 7: "12.5", 11: -4, 13: 0, 17: 2**53 + 1, 19: 1e15, 23: 1e-9}.get(number % 29)
    if number % 29 == 3 or special is not None:
        return special
    return rng.randrange(10**12) if meter == "cpu" else round(rng.random() * 100, rng.randrange(6))


def written(rng, time):
    """A time as senders write it: in UTC, with `Z`, or in a zone, with and without microseconds."""
    zone = rng.choice([None, None, None, None, 0, 120, -300, 330])
    local = time if zone is None else time + timedelta(minutes=zone)
    text = local.isoformat()
    if zone is None:
        return text
    return text + ("Z" if zone == 0 else f"{'-' if zone < 0 else '+'}{abs(zone) // 60:02}:{abs(zone) % 60:02}")


def samples():
    rng = random.Random(25)
    found, number = [], 0

    def add(time, meter, resource, value):
        nonlocal number
        (name, kind, unit), (ident, project, user, source, metadata) = meter, resource
        number += 1
        found.append({
            "message_id": str(uuid.UUID(int=rng.getrandbits(128), version=4)), "counter_name": name, "counter_type": kind, "counter_unit": unit,
            "counter_volume": value, "resource_id": ident, "project_id": project, "user_id": user, "source": source,
            "timestamp": written(rng, time), "resource_metadata": metadata, "monotonic_time": None,
        })

    all_resources = list(resources())
    for day_number, day in enumerate(DAYS):
        for step in range(70):
            # No two samples have one time, which would leave their order to the database. One stands exactly on an hour of each day.
            exact = step == 40
            time = day + (timedelta(hours=step % 24) if exact else timedelta(minutes=rng.randrange(24 * 60), seconds=step % 60, microseconds=number * 7 + 1))
            ident, project, user, source, metadata = rng.choice(all_resources)
            if ident == "r-5" and day_number >= 3:
                project, user = "p2", "u3"
            if ident == "r-6" and day_number >= 2:
                metadata = dict(metadata, instance_type="m1.large", flavor={"id": "3", "name": "m1.large", "ram": 8192})
            meter = rng.choice(METERS)
            add(time, meter, (ident, project, user, source, metadata), volume(rng, meter[0], number))
    # A meter with two units, and one whose sum no double holds.
    for step in range(8):
        add(DAYS[1] + timedelta(hours=step, microseconds=3), ("mixed", "gauge", ["MB", "GB"][step % 2]), all_resources[step % 3], step + 0.5)
    for step in range(4):
        add(DAYS[2] + timedelta(hours=step, microseconds=5), ("huge", "gauge", "x"), all_resources[step % 2], [1.5e308, 1.6e308, 1e300, -1e300][step])
    return in_order_of_arrival(rng, found)


def in_order_of_arrival(rng, found):
    """Every fifth sample is late, but for those of resources that change: there the real API calls the last arrival the newest (A13)."""
    late = [one for number, one in enumerate(found) if number % 5 == 0 and one["resource_id"] not in ("r-5", "r-6")]
    arrived = [one for one in found if one not in late]
    for one in late:
        arrived.insert(rng.randrange(len(arrived)), one)
    # The first and the last one, too, and a twelfth of all.
    for number in [0, len(found) - 1, *range(5, len(found), 12)]:
        at = arrived.index(found[number])
        arrived.insert(rng.randrange(at + 1, len(arrived) + 1), found[number])
    return arrived


# ---- questions ---------------------------------------------------------------------------------------------------------------------


class Question:
    """A question while it is made: parameters for the collector and for Ceilometer, which differ where a time has a zone (A1)."""

    def __init__(self, rng, path):
        self.rng, self.path, self.ours, self.theirs, self.differs = rng, path, [], [], set()
        self.project = PROJECT if rng.random() < 0.15 else None

    def add(self, name, value, theirs=None):
        self.ours.append((name, value))
        self.theirs.append((name, value if theirs is None else theirs))
        return self

    def where(self, field, op, value, kind=None, theirs=None):
        """A condition. Each has all of its parts, so that they stay together."""
        self.add("q.field", field).add("q.op", op).add("q.value", value, theirs).add("q.type", kind or "")
        return self

    def time(self, op, time):
        zone = self.rng.choice([0, 0, 0, 0, 0, 0, 120, -210])
        if zone == 0:
            return self.where("timestamp", op, time.isoformat())
        self.differs.add("A1")
        local = (time + timedelta(minutes=zone)).isoformat()
        local += f"{'-' if zone < 0 else '+'}{abs(zone) // 60:02}:{abs(zone) % 60:02}"
        return self.where("timestamp", op, local, theirs=time.isoformat())

    def range(self, longest=4):
        start = self.rng.choice(DAYS) + timedelta(hours=self.rng.randrange(24) if self.rng.random() < 0.5 else 0)
        end = start + timedelta(hours=self.rng.choice([1, 6, 23, 24, 25, 48, 24 * longest]))
        if self.rng.random() < 0.85:
            self.time(self.rng.choice(["ge", "ge", "gt"]), start)
        if self.rng.random() < 0.75:
            self.time(self.rng.choice(["lt", "lt", "le"]), end)
        if self.rng.random() < 0.15 and any(value == "timestamp" for _, value in self.ours):
            self.where("search_offset", "eq", str(self.rng.choice([5, 60, 90])))
        return self

    def owner(self, chance):
        rng = self.rng
        known = list(resources())
        for fields, values, likely in [
            (("resource_id", "resource"), [one[0] for one in known], 0.5), (("user_id", "user"), ["u1", "u2", "u3", "None", "nobody"], 0.25),
            (("source",), ["openstack", "hardware", "nowhere"], 0.2),
        ]:
            if rng.random() < chance * likely:
                self.where(rng.choice(fields), "eq", rng.choice(values))
        if rng.random() < chance * 0.4:
            self.where(rng.choice(["project_id", "project"]), "eq", rng.choice(["p1", "p1", "p2", "p3", "None"]))
        return self

    def metadata(self, chance):
        rng = self.rng
        if rng.random() < chance:
            field, value, kind = rng.choice([
                ("metadata.display_name", f"vm-{rng.randrange(9)}", ""), ("metadata.instance_type", "m1.large", "string"),
                ("metadata.flavor.ram", "96", "integer"), ("metadata.flavor.ram", "512", ""), ("metadata.flavor.ram", "96", "string"),
                ("metadata.flavor.id", "1", "string"), ("metadata.flavor.id", "1", ""), ("metadata.flavor.id", "'2'", ""),
                ("metadata.booted", "True", ""), ("metadata.booted", "false", "boolean"), ("metadata.load", "0.25", "float"),
                ("metadata.load", "1.5", ""), ("metadata.load", "1", "float"), ("metadata.deep.er.est", "x3", ""),
                ("resource_metadata.host", "compute-1", ""), ("metadata.tags[0]", "a", ""), ("metadata.tags[1]", "2", "integer"),
                ("metadata.nothing", "x", ""), ("metadata.kernel", "None", ""),
            ])
            self.where(field, "eq", value, kind)
        return self

    def limit(self, most):
        return self.add("limit", str(self.rng.randrange(1, most + 1)))

    def finish(self, **more):
        def of(parameters):
            return self.path + ("?" + urllib.parse.urlencode(parameters) if parameters else "")

        question = {"path": of(self.ours)}
        if self.ours != self.theirs:
            question["upstream"] = of(self.theirs)
        if self.project:
            question["project"] = self.project
        if self.differs:
            question["differs"] = sorted(self.differs)
        return dict(question, **more)


def meter_questions(rng):
    for _ in range(34):
        one = Question(rng, "/v2/meters").owner(0.4).metadata(0.3)
        if rng.random() < 0.3:
            one.add("unique", rng.choice(["True", "1", "yes", "False", ""]))
        elif rng.random() < 0.25:
            one.limit(6).differs.add("A5")
        # The newest sample of all resources has to fulfil the conditions.
        if any(name == "unique" and value in ("True", "1", "yes") for name, value in one.ours) and any(name == "q.field" for name, _ in one.ours):
            one.differs = {"A19"}
        yield one.finish()


def resource_questions(rng):
    for _ in range(36):
        one = Question(rng, "/v2/resources").owner(0.35).metadata(0.3)
        if rng.random() < 0.5:
            one.range()
        if rng.random() < 0.6:
            one.add("meter_links", rng.choice(["0", "1"]))
        if rng.random() < 0.2:
            one.limit(4).differs.add("A5")
        yield one.finish()
    for ident in ["r-0", "r-5", "r-6", "vm-ü", "nosuch"]:
        yield Question(rng, "/v2/resources/" + urllib.parse.quote(ident)).finish()


def sample_questions(rng, known):
    for number in range(80):
        meter = rng.choice(METERS)[0] if number % 9 else "nosuch"
        one = Question(rng, "/v2/samples" if number % 2 else f"/v2/meters/{meter}").owner(0.35).metadata(0.25)
        if rng.random() < 0.7:
            one.range()
        if number % 2 and rng.random() < 0.5:
            one.where("meter", "eq", meter)
        if rng.random() < 0.1:
            one.where("message_id", "eq", rng.choice(known)["message_id"])
        yield one.limit(9).finish()
    for one in rng.sample(known, 4):
        question = Question(rng, "/v2/samples/" + one["message_id"])
        # Everyone sees every sample there.
        question.project = None if one["project_id"] == PROJECT else question.project
        question.differs |= {"A2"} if question.project else set()
        yield question.finish()
    foreign = next(one for one in known if one["project_id"] == "p2")
    question = Question(rng, "/v2/samples/" + foreign["message_id"])
    question.project, question.differs = PROJECT, {"A2"}
    yield question.finish()


def statistics_questions(rng):
    groups = ["resource_id", "project_id", "user_id", "resource_metadata.instance_type"]
    aggregates = [("avg",), ("max",), ("min",), ("sum",), ("count",), ("stddev",), ("cardinality", "resource_id"), ("cardinality", "project_id"), ("cardinality", "user_id")]
    for number in range(96):
        one = Question(rng, f"/v2/meters/{rng.choice(METERS)[0]}/statistics").owner(0.3).metadata(0.15)
        period = rng.random() < 0.65
        if rng.random() < 0.8:
            one.range(2 if period else 5)
        if period:
            has_times = sum(value == "timestamp" for _, value in one.ours) == 2
            one.add("period", str(rng.choice([1800, 3600, 5400, 7200, 21600, 86400] if has_times else [21600, 86400, 90000, 604800])))
        if rng.random() < 0.4:
            for group in rng.sample(groups, rng.choice([1, 1, 2])):
                one.add("groupby", group)
        if rng.random() < 0.35:
            # Those with a parameter come first, as the client sends them.
            chosen = sorted(rng.sample(aggregates, rng.choice([1, 2, 3])), key=len, reverse=True)
            for func, *param in chosen:
                one.add("aggregate.func", func)
                for value in param:
                    one.add("aggregate.param", value)
        yield one.finish()
    for groupby in ["", "?groupby=resource_id", "?period=3600"]:
        yield Question(rng, "/v2/meters/mixed/statistics" + groupby).finish()
    yield {"path": "/v2/meters/huge/statistics", "differs": ["A6"]}
    yield {"path": "/v2/meters/huge/statistics?aggregate.func=max&aggregate.func=count"}
    for path in ["cpu/statistics?groupby=source", "memory/statistics?groupby=source&groupby=project_id"]:
        yield {"path": "/v2/meters/" + path, "differs": ["A3"]}


def leaf(rng, differs):
    """A condition of a filter, for the collector and for Ceilometer."""
    kind = rng.randrange(9)
    if kind == 0:
        field, values = rng.choice([("resource_id", ["r-0", "r-3", "r-5"]), ("meter", ["cpu", "memory"]), ("counter_name", ["cpu_util"]), ("project", ["p1", "p2"]),
                                    ("user_id", ["u1"]), ("type", ["gauge", "delta"]), ("unit", ["%", "MB"])])
        one = {rng.choice(["=", "=", "!="]): {field: rng.choice(values)}}
    elif kind in (1, 2):
        one = {rng.choice(["<", "<=", ">", ">=", "=<", "=>"]): {rng.choice(["volume", "counter_volume"]): rng.choice([0, 12.5, 50, 1e9, 2**53 + 1, -1])}}
    elif kind in (3, 4):
        time = rng.choice(DAYS) + timedelta(hours=rng.randrange(24))
        op = rng.choice(["<", "<=", ">", ">="])
        if rng.random() < 0.2:
            differs.add("A1")
            zoned = (time + timedelta(hours=2)).isoformat() + "+02:00"
            return {op: {"timestamp": zoned}}, {op: {"timestamp": time.isoformat()}}
        one = {op: {"timestamp": time.isoformat()}}
    elif kind == 5:
        one = {"in": {rng.choice(["resource", "resource_id"]): rng.sample(["r-0", "r-1", "r-4", "tap/with space", "nosuch"], 2)}}
    elif kind == 6:
        one = {"=~": rng.choice([{"resource_id": "^r-[0-3]$"}, {"meter": "cpu"}, {"user": "2$"}])}
    elif kind == 7:
        one = rng.choice([{"=": {"metadata.display_name": "vm-2"}}, {"=": {"metadata.flavor.ram": 512}}, {">": {"metadata.flavor.ram": 100}},
                          {"=": {"metadata.booted": True}}, {"<=": {"metadata.load": 0.5}}, {"=": {"metadata.flavor.id": "3"}}, {"!=": {"metadata.host": "compute-0"}}])
    else:
        one = {"not": {"=": {rng.choice(["meter", "project_id"]): rng.choice(["cpu", "p1", "memory"])}}}
    return one, one


def expression(rng, depth, differs):
    if depth == 0 or rng.random() < 0.3:
        return leaf(rng, differs)
    op = rng.choice(["and", "and", "and", "or", "AND"])
    pairs = [expression(rng, depth - 1, differs) for _ in range(rng.choice([2, 2, 3]))]
    return {op: [ours for ours, _ in pairs]}, {op: [theirs for _, theirs in pairs]}


def query_questions(rng):
    fields = ["timestamp", "volume", "counter_volume", "meter", "resource_id", "project", "type", "unit"]
    for _ in range(56):
        differs, ours, theirs = set(), {}, {}
        if rng.random() < 0.9:
            pair = expression(rng, 2, differs)
            ours["filter"], theirs["filter"] = map(json.dumps, pair)
        if rng.random() < 0.7:
            # A time last, which no two samples share, makes the order one.
            order = [{field: rng.choice(["asc", "desc", "ASC"])} for field in rng.sample(fields[1:], rng.choice([0, 1, 2]))]
            ours["orderby"] = theirs["orderby"] = json.dumps(order + [{"timestamp": rng.choice(["asc", "desc"])}])
        limit = rng.randrange(1, 9)
        ours["limit"] = theirs["limit"] = rng.choice([limit, str(limit)])
        question = {"path": "/v2/query/samples", "body": ours}
        if ours != theirs:
            question["upstream_body"] = theirs
        if rng.random() < 0.12:
            question["project"] = PROJECT
        if differs:
            question["differs"] = sorted(differs)
        yield question
    for body in [{"filter": json.dumps({"=": {"source": "hardware"}})}, {"orderby": json.dumps([{"source": "asc"}])}]:
        yield {"path": "/v2/query/samples", "body": dict(body, limit=2), "differs": ["A17"]}
    yield {"path": "/v2/query/samples", "body": {"filter": json.dumps({"!=": {"message_signature": "x"}}), "limit": 3}, "differs": ["A12"]}


def faults():
    """What is refused."""
    for path in [
        "/v2/meters?q.field=timestamp&q.op=ge&q.value=2024-02-28T00:00:00", "/v2/meters?q.field=bogus&q.op=eq&q.value=1", "/v2/meters?q.field=limit&q.op=eq&q.value=1",
        "/v2/meters/cpu?q.field=bogus&q.op=eq&q.type=&q.value=1", "/v2/meters/cpu?q.field=resource_id&q.op=ne&q.value=1", "/v2/samples?q.field=timestamp&q.op=eq&q.value=2024-02-28T00:00:00",
        "/v2/samples?q.field=timestamp&q.op=ge&q.value=soon", "/v2/samples?q.field=search_offset&q.op=eq&q.value=5", "/v2/samples?limit=0", "/v2/samples?limit=-3", "/v2/samples?limit=many",
        "/v2/resources?limit=1&limit=2", "/v2/resources?q.field=metadata.flavor.ram&q.op=ge&q.value=96", "/v2/resources?q.field=metadata.flavor.ram&q.op=eq&q.type=integer&q.value=much",
        "/v2/samples?q.field=metadata.a&q.op=eq&q.type=decimal&q.value=1", "/v2/meters/cpu/statistics?period=-60", "/v2/meters/cpu/statistics?period=hour",
        "/v2/meters/cpu/statistics?groupby=color", "/v2/meters/cpu/statistics?aggregate.func=median", "/v2/meters/cpu/statistics?aggregate.func=cardinality&aggregate.param=color",
        "/v2/resources?meter_links=some", "/v2/resources?color=red",
    ]:
        yield {"path": path}
    yield {"path": "/v2/meters?q.field=project_id&q.op=eq&q.value=p2", "project": PROJECT}
    for text in ["not json", json.dumps({"=": {"color": "red"}}), json.dumps({"and": [{"=": {"meter": "cpu"}}]})]:
        yield {"path": "/v2/query/samples", "body": {"filter": text}, "differs": ["A4"]}
    yield {"path": "/v2/query/samples", "body": {"orderby": json.dumps([{"timestamp": "up"}])}, "differs": ["A4"]}
    yield {"path": "/v2/query/samples", "body": {"filter": json.dumps({">": {"timestamp": "soon"}})}}
    yield {"path": "/v2/query/samples", "body": {"limit": 0}}
    yield {"path": "/v2/query/samples", "body": {"filter": json.dumps({"=": {"project_id": "p2"}})}, "project": PROJECT}


def questions(known):
    rng = random.Random(907)
    return [*meter_questions(rng), *resource_questions(rng), *sample_questions(rng, known), *statistics_questions(rng), *query_questions(rng), *faults()]


# ---- the real one ------------------------------------------------------------------------------------------------------------------


def lines(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def write(path, rows):
    text = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
    Path(path).write_text(text, encoding="utf-8")


def publish(folder, url):
    import kombu
    from ceilometer.publisher import utils

    unique = list({one["message_id"]: one for one in lines(folder / "samples.ndjson")}.values())
    for one in unique:
        one["message_signature"] = utils.compute_signature(one, SECRET)
    with kombu.Connection(url) as connection:
        producer = connection.Producer(exchange=kombu.Exchange("ceilometer", type="topic", durable=False), routing_key="metering.sample")
        for at in range(0, len(unique), 50):
            message = {"message_id": str(uuid.uuid4()), "publisher_id": "telemetry.publisher.judge", "event_type": "metering", "priority": "SAMPLE",
                       "payload": unique[at:at + 50], "timestamp": str(datetime.utcnow()), "_unique_id": uuid.uuid4().hex}
            producer.publish({"oslo.version": "2.0", "oslo.message": json.dumps(message)}, serializer="json")
    print(len(unique))


def ask(api, question):
    path, body = question.get("upstream", question["path"]), question.get("upstream_body", question.get("body"))
    headers = {"Accept": "application/json", "X-Roles": "member" if "project" in question else "admin", "X-Project-Id": question.get("project", "p0")}
    data = None
    if body is not None:
        data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
    request = urllib.request.Request(api + path, data, headers)
    try:
        reply = urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        reply = error
    text = reply.read().decode()
    return reply.getcode(), json.loads(text)


def stripped(value, api):
    """An answer without what is of one run: the times of arrival and the address."""
    if isinstance(value, list):
        return [stripped(one, api) for one in value]
    if isinstance(value, dict):
        return {key: stripped(one, api) for key, one in value.items() if key != "recorded_at"}
    return value.replace(api, "http://HOST") if isinstance(value, str) else value


def kept(question, status, answer):
    """What is kept of an answer."""
    if status >= 400:
        fault = answer.get("error_message")
        # The rest of a fault of a filter describes a library.
        return fault["faultstring"].splitlines()[0] if isinstance(fault, dict) else "a page"
    if "A5" in question.get("differs", []):
        return len(answer)
    if isinstance(answer, list) and not question["path"].startswith("/v2/samples") and not any("counter_name" in one or "volume" in one for one in answer):
        # In the order of the database.
        answer = sorted(answer, key=lambda one: json.dumps([one.get(key) for key in ("name", "resource_id", "unit", "period_start", "groupby")], sort_keys=True))
        for one in answer:
            one.get("links", []).sort(key=lambda link: link["href"])
    return answer


def answers(folder, api):
    for question in lines(folder / "questions.ndjson"):
        status, answer = ask(api, question)
        yield dict(question, status=status, answer=kept(question, status, stripped(answer, api)))


def main():
    command, folder, *rest = sys.argv[1:]
    folder = Path(folder)
    if command == "generate":
        write(folder / "samples.ndjson", samples())
        write(folder / "questions.ndjson", questions(lines(folder / "samples.ndjson")))
    elif command == "publish":
        publish(folder, *rest)
    elif command == "ask":
        write(rest[1], answers(folder, rest[0]))
    else:
        sys.exit(__doc__)


main()
