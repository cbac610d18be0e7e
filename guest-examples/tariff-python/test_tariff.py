"""Tests of tariff: the shared fixtures, a simple model, and damaged states.

    PYTHONPATH=../nephometer-python python3 -m unittest
"""

import json
import random
import unittest
from fractions import Fraction
from pathlib import Path

from nephometer import OptionErrors, OptionReader, StateError, log
from nephometer.testing import batch_of, nanoseconds, samples_of
from schema import SCHEMA
from tariff import HOUR, Tariff

SHARED = Path(__file__).parent.parent / "tariff"


def tariff(options):
    return Tariff(OptionReader(options))


class Fixtures(unittest.TestCase):
    def test_fixtures(self):
        files = sorted(SHARED.glob("fixtures/*.json"))
        self.assertGreater(len(files), 4)
        for file in files:
            with self.subTest(file.name):
                self.run_fixture(json.loads(file.read_text()))

    def run_fixture(self, fixture):
        if "errors" in fixture:
            with self.assertRaises(OptionErrors) as caught:
                tariff(fixture["options"])
            self.assertEqual([list(error) for error in caught.exception.errors], fixture["errors"])
            return
        one = tariff(fixture["options"])
        log.taken()
        for step in fixture["steps"]:
            if "state" in step:
                state = one.save()
                self.assert_alike(json.loads(state), step["state"])
                one = tariff(fixture["options"])
                one.restore(1, state)
            elif "batch" in step:
                batch = batch_of(step["batch"])
                self.assert_samples(samples_of(one.transform(batch), batch), step["out"])
            else:
                self.assert_samples(samples_of(one.flush(nanoseconds(step["flush"]))), step["out"])
            self.assertEqual([f"{level}: {line}" for level, line in log.taken()], step.get("log", []))

    def assert_samples(self, found, expected):
        for sample in expected:
            sample["time"] = nanoseconds(sample.pop("timestamp"))
            sample.setdefault("source", "openstack")
        known = [{key: one[key] for key in sample} for one, sample in zip(found, expected)]
        self.assert_alike(known, expected)
        self.assertEqual(len(found), len(expected))

    def assert_alike(self, found, expected):
        """Equal, but for what numbers lose."""
        if isinstance(expected, dict):
            self.assertEqual(found.keys(), expected.keys())
            expected = expected.values()
            found = found.values()
        if isinstance(expected, (str, type(None))):
            self.assertEqual(found, expected)
        elif isinstance(expected, (int, float)):
            self.assertAlmostEqual(found, expected, delta=4e-16 * abs(expected))
        else:
            self.assertEqual(len(found), len(expected))
            for one, other in zip(found, expected):
                self.assert_alike(one, other)


class Model(unittest.TestCase):
    def test_totals_equal_exact_arithmetic(self):
        chance = random.Random(1)
        price = lambda: chance.random() * 10 ** chance.randint(-6, 1)
        day = lambda: [{"from": hour, "to": hour + 1, "price": price()} for hour in range(24)]
        prices = {project: day() for project in ("alpha", "beta", "gamma")}
        options = {"currency": "EUR", "prices": prices}
        one, exact = tariff(options), dict.fromkeys(prices, Fraction(0))
        for cycle in range(200):
            if cycle % 20 == 7:
                state = one.save()
                one = tariff(options)
                one.restore(1, state)
            samples = []
            for row in range(50):
                project, hour = chance.choice(list(prices)), chance.randrange(24)
                volume = chance.randrange(10 ** chance.randint(1, 16))
                exact[project] += Fraction(volume, HOUR) * Fraction(prices[project][hour]["price"])
                samples.append(cpu(project, volume, f"2026-03-01T{hour:02}:{chance.randrange(60):02}:00Z"))
            batch = batch_of(samples)
            found = samples_of(one.transform(batch), batch)
            self.assertEqual([sample["origin"] for sample in found], list(range(50)))
        totals = samples_of(one.flush(10**18))
        self.assertEqual([sample["project_id"] for sample in totals], sorted(prices))
        for sample in totals:
            self.assertLess(abs(Fraction(sample["volume"]) - exact[sample["project_id"]]), Fraction(1, 10**9))
            self.assertEqual((sample["time"], sample["origin"]), (10**18, None))


class State(unittest.TestCase):
    def test_states_of_others_are_refused(self):
        options = {"currency": "EUR", "prices": {"alpha": [{"from": 0, "to": 24, "price": 1}]}}
        other = tariff({**options, "currency": "CHF"}).save()
        cases = [(2, b"{}", "version 2"), (1, other, "in CHF"), (1, b"\xff", "damaged")]
        cases += [(1, text, "damaged") for text in (b"", b"[]", b"3", b'{"totals": [3]}', b'{"currency": "EUR"}')]
        cases.append((1, b'{"currency": "EUR", "totals": [["alpha", "openstack", "much", 0]]}', "damaged"))
        for version, state, reason in cases:
            with self.subTest(state), self.assertRaisesRegex(StateError, reason):
                tariff(options).restore(version, state)

    def test_projects_without_prices_keep_their_totals(self):
        prices = {project: [{"from": 0, "to": 24, "price": 1}] for project in ("alpha", "beta")}
        one = tariff({"currency": "EUR", "prices": prices})
        one.transform(batch_of([cpu("alpha", HOUR, "2026-03-01T10:00:00Z")]))
        del prices["alpha"]
        other = tariff({"currency": "EUR", "prices": prices})
        other.restore(1, one.save())
        self.assertEqual([sample["volume"] for sample in samples_of(other.flush(1))], [1.0])


class Schema(unittest.TestCase):
    def test_the_schema_is_the_shared_one(self):
        self.assertEqual(SCHEMA, json.loads((SHARED / "options.schema.json").read_text()))


def cpu(project, volume, timestamp):
    about = {"name": "cpu", "unit": "ns", "type": "delta", "resource_id": f"of-{project}"}
    return {**about, "project_id": project, "volume": volume, "timestamp": timestamp}


if __name__ == "__main__":
    unittest.main()
