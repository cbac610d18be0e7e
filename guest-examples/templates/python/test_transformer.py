import unittest

from nephometer import OptionErrors, OptionReader, StateError
from nephometer.testing import batch_of, samples_of
from transformer import Scaler

SAMPLE = {
    "name": "memory.usage",
    "type": "gauge",
    "unit": "MB",
    "volume": 4,
    "resource_id": "r",
    "timestamp": "2026-03-01T10:00:00+00:00",
}


class TestScaler(unittest.TestCase):
    def test_volumes_are_scaled(self):
        batch = batch_of([SAMPLE, SAMPLE])
        outcome = Scaler(OptionReader({"factor": 2.5})).transform(batch)
        self.assertEqual([sample["volume"] for sample in samples_of(outcome, batch)], [10, 10])

    def test_a_factor_of_zero_is_refused(self):
        with self.assertRaises(OptionErrors) as caught:
            Scaler(OptionReader({"factor": 0}))
        self.assertEqual(caught.exception.errors[0][0], "/factor")

    def test_the_count_survives(self):
        one, other = Scaler(OptionReader({})), Scaler(OptionReader({}))
        one.transform(batch_of([SAMPLE]))
        other.restore(1, one.save())
        self.assertEqual(other.rows, 1)
        with self.assertRaises(StateError):
            other.restore(2, b"{}")
