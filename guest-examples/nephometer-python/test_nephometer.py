import unittest

from nephometer import NO_ORIGIN, AnswerBuilder, Complaint, Meter, OptionErrors, OptionReader, Resource, log, rows
from nephometer.testing import batch_of, samples_of

SAMPLE = {
    "name": "cpu",
    "unit": "ns",
    "type": "delta",
    "resource_id": "r",
    "resource_metadata": {"flavor": {"vcpus": 2}},
    "timestamp": "1970-01-01T00:00:01.5Z",
    "volume": 3,
}


class Batches(unittest.TestCase):
    def test_rows_look_their_entries_up(self):
        other = {**SAMPLE, "name": "memory", "volume": 4}
        first, second = rows(batch_of([SAMPLE, other]))
        self.assertEqual((first.number, first.meter.name, first.time, first.monotonic), (0, "cpu", 15 * 10**8, None))
        self.assertEqual((second.number, second.meter_index, second.volume), (1, 1, 4.0))
        self.assertEqual(second.resource.metadata["flavor"], {"vcpus": 2})


class Answers(unittest.TestCase):
    def test_numbers_go_on_from_the_inputs_and_follow_content(self):
        batch = batch_of([SAMPLE])
        answer = AnswerBuilder(batch)
        util = Meter("cpu_util", "%", "gauge")
        meters = (batch.meters[0], util, util._replace(unit="1"), util)
        self.assertEqual([answer.meter(one) for one in meters], [0, 1, 2, 1])
        same = Resource("r", "openstack", metadata='{"flavor": {"vcpus": 2}}')
        other = Resource("r", "openstack", metadata={"flavor": {"vcpus": 4}})
        self.assertEqual([answer.resource(one) for one in (same, other, other)], [0, 1, 1])
        (row,) = rows(batch)
        answer.keep(row)
        answer.derive(row, 1, 3.5)
        answer.create(2, 1, 9, 4.5)
        answer = answer.finish()
        self.assertEqual(answer.origin, [0, 0, NO_ORIGIN])
        self.assertEqual((len(answer.meters), answer.resources), (2, [other]))
        made = [(one["name"], one["volume"]) for one in samples_of(answer, batch)]
        self.assertEqual(made, [("cpu", 3.0), ("cpu_util", 3.5), ("cpu_util", 4.5)])

    def test_numbers_start_at_zero_without_input(self):
        answer = AnswerBuilder()
        self.assertEqual((answer.meter(Meter("m", "", "gauge")), answer.resource(Resource("r", "s"))), (0, 0))


class Options(unittest.TestCase):
    def test_every_wrong_key_is_named_with_its_place(self):
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
        self.assertEqual(log.taken(), [("warn", "option /e is not known here and has no effect")])


class Complaints(unittest.TestCase):
    def test_there_is_one_line(self):
        log.taken()
        complaint = Complaint("warn", "dropping")
        complaint.write()
        for row in rows(batch_of([SAMPLE] * 3)):
            complaint.add(row, "too late")
        complaint.write()
        self.assertEqual(log.taken(), [("warn", "dropping: cpu of r: too late, and 2 more")])


if __name__ == "__main__":
    unittest.main()
