import unittest

from nephometer import (
    NO_ORIGIN,
    UNCHANGED,
    Answer,
    AnswerBuilder,
    Broken,
    Complaint,
    Derived,
    Keep,
    Meter,
    OptionErrors,
    OptionReader,
    PerEntry,
    Rejected,
    Resource,
    RetryLater,
    UrlOptions,
    log,
    rows,
)
from nephometer import http
from nephometer.dictionary import DICTIONARY, FIRST_OWN, OwnEntries
from nephometer.testing import batch_of, delivery_of, renumber, samples_of

SAMPLE = {
    "name": "cpu",
    "unit": "ns",
    "type": "delta",
    "resource_id": "r",
    "resource_metadata": {"flavor": {"vcpus": 2}},
    "timestamp": "1970-01-01T00:00:01.5Z",
    "volume": 3,
}


UTIL = Meter("cpu_util", "%", "gauge")


class Batches(unittest.TestCase):
    def test_rows_have_their_entries(self):
        other = {**SAMPLE, "name": "memory", "volume": 4}
        batch = batch_of([SAMPLE, other])
        first, second = rows(batch)
        self.assertEqual((first.number, first.meter.name, first.time, first.monotonic), (0, "cpu", 15 * 10**8, None))
        self.assertEqual((second.number, second.volume), (1, 4.0))
        self.assertIs(second.meter, batch.meters[second.meter_number])
        self.assertIs(second.resource, batch.resources[second.resource_number])
        self.assertIs(second.resource, first.resource)
        self.assertEqual(second.resource.metadata["flavor"], {"vcpus": 2})

    def test_whole_numbers_are_exact(self):
        cases = [(3, 3), (2.5, None), (-(2.0**53), None), (2**53 - 1, 2**53 - 1), (2**60 + 1, 2**60 + 1)]
        cases += [(-(2**63), -(2**63)), (2**63, None)]
        found = rows(batch_of([{**SAMPLE, "volume": volume} for volume, _ in cases]))
        self.assertEqual([row.integer for row in found], [integer for _, integer in cases])

    def test_entries_are_learned_once(self):
        first, second = (batch_of([SAMPLE]) for _ in range(2))
        self.assertIs(next(rows(first)).resource, next(rows(second)).resource)

    def test_seeds_change_the_order_of_numbers(self):
        samples = [{**SAMPLE, "resource_id": f"r-{number}"} for number in range(20)]
        orders = []
        for seed in (1, 2, 1):
            renumber(seed)
            orders.append(batch_of(samples).resource)
        self.assertEqual(orders[0], orders[2])
        self.assertNotEqual(orders[0], orders[1])
        self.assertNotEqual(orders[0], sorted(orders[0]))

    def test_values_are_computed_once_per_entry_and_again_if_the_number_is_reused(self):
        renumber(1)
        computed = []
        ids = PerEntry(lambda resource: computed.append(resource.id) or resource.id)
        numbers = {}
        for number in range(80):
            sample = {**SAMPLE, "resource_id": f"r-{number}"}
            for row in rows(batch_of([sample, sample], removed=[f"r-{number}"])):
                self.assertEqual(ids[row.resource], row.resource.id)
                numbers.setdefault(row.resource_number, set()).add(row.resource.id)
        self.assertEqual(computed, [f"r-{number}" for number in range(80)])
        self.assertGreater(max(map(len, numbers.values())), 1)
        self.assertEqual(len(ids), 1)


class Answers(unittest.TestCase):
    def setUp(self):
        DICTIONARY.own_meters, DICTIONARY.own_resources = OwnEntries(), OwnEntries()

    def test_own_entries_are_numbered_by_content(self):
        batch = batch_of([SAMPLE])
        (row,) = rows(batch)
        meters = (row.meter, UTIL, UTIL._replace(unit="1"), Meter("cpu_util", "%", "gauge"))
        text = Resource("r", "openstack", metadata='{"flavor": {"vcpus": 2}}')
        other = Resource("r", "openstack", metadata={"flavor": {"vcpus": 4}})
        for answer in (AnswerBuilder(batch), AnswerBuilder()):
            self.assertEqual([answer.meter(one) - FIRST_OWN for one in meters], [0, 1, 2, 1])
            resources = (row.resource, text, other, other)
            self.assertEqual([answer.resource(one) - FIRST_OWN for one in resources], [0, 0, 1, 1])

    def test_entries_are_sent_once_and_those_of_a_dropped_answer_with_the_next(self):
        AnswerBuilder(batch_of([SAMPLE])).meter(UTIL)
        resource = AnswerBuilder().resource(Resource("new", "s"))
        batch = batch_of([SAMPLE])
        answer = AnswerBuilder(batch)
        (row,) = rows(batch)
        answer.derive(row, answer.meter(UTIL), 3.5)
        self.assertEqual([sample["name"] for sample in samples_of(answer.finish(), batch)], ["cpu_util"])
        self.assertEqual(DICTIONARY.own_meters.take_fresh(), [])
        # Rows that are derived use no resource of their own: it is still to be sent.
        flush = AnswerBuilder()
        flush.create(flush.meter(UTIL), resource, 9, 1)
        (sample,) = samples_of(flush.finish())
        self.assertEqual((sample["name"], sample["resource_id"], sample["origin"]), ("cpu_util", "new", None))
        self.assertEqual(DICTIONARY.own_resources.take_fresh(), [])

    def test_numbering_starts_again_when_there_are_too_many_entries(self):
        for count, text in ((8_001, ""), (49, "x" * (1 << 20))):
            self.setUp()
            answer = AnswerBuilder()
            for number in range(count):
                answer.meter(Meter(f"m-{number}", text, "gauge"))
            self.assertEqual(answer.meter(UTIL), FIRST_OWN + count)
            batch = batch_of([SAMPLE])
            answer = AnswerBuilder(batch)
            self.assertEqual(answer.meter(UTIL), FIRST_OWN)
            answer.derive(next(rows(batch)), FIRST_OWN, 1)
            self.assertEqual(samples_of(answer.finish(), batch)[0]["name"], "cpu_util")

    def test_answers_are_derived_unless_rows_are_created_or_out_of_order(self):
        batch = batch_of([SAMPLE, {**SAMPLE, "resource_id": "s", "timestamp": "1970-01-01T00:00:02Z"}])
        first, second = rows(batch)

        def built(add):
            answer = AnswerBuilder(batch)
            add(answer, answer.meter(UTIL))
            answer = answer.finish()
            found = [
                (sample["name"], sample["resource_id"], sample["time"], sample["volume"], sample["origin"])
                for sample in samples_of(answer, batch)
            ]
            return type(answer), found

        def in_order(answer, meter):
            answer.keep(first)
            answer.derive(first, meter, 3.5)
            answer.derive(second, meter, 4.5)

        def out_of_order(answer, meter):
            answer.derive(second, meter, 4.5)
            answer.keep(first)

        def created(answer, meter):
            answer.create(meter, first.resource_number, 9, 5.5)
            answer.keep(second)

        one, two = 15 * 10**8, 2 * 10**9
        rows_in_order = [("cpu", "r", one, 3, 0), ("cpu_util", "r", one, 3.5, 0), ("cpu_util", "s", two, 4.5, 1)]
        self.assertEqual(built(in_order), (Derived, rows_in_order))
        self.assertEqual(built(out_of_order), (Answer, [("cpu_util", "s", two, 4.5, 1), ("cpu", "r", one, 3, 0)]))
        self.assertEqual(built(created), (Answer, [("cpu_util", "r", 9, 5.5, None), ("cpu", "s", two, 3, 1)]))
        self.assertEqual(built(lambda *_: None), (Derived, []))
        flush = AnswerBuilder()
        self.assertIsInstance(flush.finish(), Answer)
        flush.keep(first)
        self.assertRaises(ValueError, flush.finish)

    def test_integers_stay_exact(self):
        batch = batch_of([{**SAMPLE, "volume": 2**60 + 1}, SAMPLE])
        row = next(rows(batch))
        answer = AnswerBuilder(batch)
        answer.keep(row)
        for value in (3, 2**53, 2**53 + 1, -(2**63), 2**63):
            answer.derive_integer(row, row.meter_number, value)
        answer.create_integer(row.meter_number, row.resource_number, 9, 2**62 + 1)
        answer = answer.finish()
        self.assertEqual(answer.exact, {2: 2**53, 3: 2**53 + 1, 4: -(2**63), 6: 2**62 + 1})
        self.assertEqual(answer.volume[3:6], [2.0**53, -(2.0**63), 2.0**63])
        self.assertEqual(answer.origin, [0] * 6 + [NO_ORIGIN])
        found = [sample["volume"] for sample in samples_of(answer, batch)]
        self.assertEqual(found, [2**60 + 1, 3, 2**53, 2**53 + 1, -(2**63), 2**63, 2**62 + 1])
        for outcome in (UNCHANGED, Keep([0])):
            self.assertEqual(samples_of(outcome, batch)[0]["volume"], 2**60 + 1)


class Options(unittest.TestCase):
    def test_every_error_has_the_pointer_of_its_key(self):
        log.taken()
        reader = OptionReader({"a/b": {"x": 1}, "c": [3], "d": "text", "e": True, "f": None})
        self.assertIsNone(reader.object("a/b").text("x"))
        self.assertIsNone(reader.object("c").text("y"))
        reader.objects("c")
        self.assertIsNone(reader.number("d"))
        self.assertIsNone(reader.number("e"))
        self.assertIsNone(reader.number("f"))
        reader.refuse("c", 0, "x~", "no")
        reader.warn_of_unknown(["a/b", "c", "d", "f"])
        with self.assertRaises(OptionErrors) as caught:
            reader.check()
        pointers = [pointer for pointer, _ in caught.exception.errors]
        self.assertEqual(pointers, ["/a~1b/x", "/c", "/c/0", "/d", "/e", "/c/0/x~0"])
        self.assertEqual(log.taken(), [("warn", "unknown option /e is ignored")])


class Complaints(unittest.TestCase):
    def test_a_complaint_is_one_line(self):
        log.taken()
        complaint = Complaint("warn", "dropping")
        complaint.write()
        for row in rows(batch_of([SAMPLE] * 3)):
            complaint.add(row, "too late")
        complaint.write()
        self.assertEqual(log.taken(), [("warn", "dropping: cpu of r: too late, and 2 more")])


class Publishers(unittest.TestCase):
    def test_the_query_takes_precedence_and_errors_have_pointers(self):
        options = {"host": "[::1]", "port": 99, "path": "/a%20b", "x": 7, "y": 5, "bad2": "maybe"}
        options["query"] = {"x": ["1", "2"], "bad": ["z"], "on": [""]}
        read = UrlOptions(options)
        self.assertEqual((read.host(), read.port(1), read.path()), ("::1", 99, "a b"))
        self.assertEqual((read.number("x"), read.number("y"), read.number("bad")), (2, 5, None))
        self.assertEqual((read.flag("on"), read.flag("absent"), read.flag("bad2")), (True, False, False))
        with self.assertRaises(OptionErrors) as caught:
            read.check()
        self.assertEqual([pointer for pointer, _ in caught.exception.errors], ["/query/bad", "/bad2"])
        log.taken()
        read.warn_of_unknown(["x", "y", "bad2", "on"])
        self.assertEqual(log.taken(), [("warn", "unknown option /query/bad is ignored")])

    def test_a_receiver_is_checked_and_gets_a_request(self):
        with self.assertRaises(OptionErrors) as caught:
            options = UrlOptions({"port": 0, "path": "/a b", "query": {"timeout": ["0"], "tls": ["perhaps"]}})
            http.Receiver(options)
            options.check()
        pointers = sorted(pointer for pointer, _ in caught.exception.errors)
        self.assertEqual(pointers, ["/host", "/path", "/port", "/query/timeout", "/query/tls"])
        sent = []
        http.send_with(lambda request: sent.append(request) or http.Response(204))
        receiver = http.Receiver(UrlOptions({"host": "h", "port": 8190, "user": "u", "password": "p", "timeout": 2}))
        self.assertEqual(receiver.post("x", {"a": "b"}).status, 204)
        headers = {"authorization": "Basic dTpw", "a": "b"}
        self.assertEqual(sent, [http.Request("POST", False, "h:8190", "/", headers, b"x", 2)])

    def test_each_status_maps_to_its_failure(self):
        kinds = {RetryLater: (408, 429, 500, 503), Broken: (301, 401, 403), Rejected: (400, 404, 413)}
        for kind, statuses in kinds.items():
            for status in statuses:
                with self.assertRaises(kind, msg=status) as caught:
                    http.accepted(http.Response(status, {"retry-after": "2"}, b"no\nmore"))
                self.assertIn(f"status {status}: no", str(caught.exception))
                self.assertEqual(getattr(caught.exception, "after_ms", 2000), 2000)

    def test_requested_delays(self):
        date = "Sun, 06 Nov 1994 08:49:37 GMT"
        for value, delay in [
            ("120", 120_000),
            ("9" * 30, 86_400_000),
            ("Sun, 06 Nov 1994 08:50:07 GMT", 30_000),
            ("Sun, 06 Nov 1994 08:49:07 GMT", 0),
            ("-1", None),
            ("soon", None),
            ("Sun, 06 Foo 1994 08:49:37 GMT", None),
        ]:
            response = http.Response(503, {"retry-after": value, "date": date})
            self.assertEqual(http.retry_after(response), delay, value)
        self.assertIsNone(http.retry_after(http.Response(503, {"retry-after": date})))

    def test_envelopes_have_rows(self):
        delivery = delivery_of([SAMPLE], id="e")
        (row,) = rows(delivery.batch)
        self.assertEqual((delivery.id, delivery.attempt, row.meter.name, len(delivery.texts)), ("e", 1, "cpu", 1))


if __name__ == "__main__":
    unittest.main()
