import json
import unittest

from nephometer import Broken, OptionErrors, Rejected, RetryLater, UrlOptions, http
from nephometer.testing import delivery_of
from publisher import Poster

SAMPLE = {
    "name": "memory.usage",
    "type": "gauge",
    "unit": "MB",
    "volume": 4,
    "resource_id": "r",
    "timestamp": "2026-03-01T10:00:00+00:00",
}


class TestPoster(unittest.TestCase):
    def setUp(self):
        self.requests, self.status = [], 204
        http.send_with(lambda request: self.requests.append(request) or http.Response(self.status))
        self.poster = Poster(UrlOptions({"host": "::1", "port": 8190, "path": "/samples"}))

    def test_an_envelope_is_one_array(self):
        self.poster.publish(delivery_of([SAMPLE, SAMPLE], id="e-1"))
        (request,) = self.requests
        self.assertEqual((request.authority, request.path), ("[::1]:8190", "/samples"))
        self.assertEqual(request.headers["idempotency-key"], "e-1")
        self.assertEqual(json.loads(request.body), [SAMPLE, SAMPLE])

    def test_an_envelope_without_samples_is_not_sent(self):
        self.poster.publish(delivery_of([]))
        self.assertEqual(self.requests, [])

    def test_statuses_map_to_results(self):
        for self.status, failure in [(503, RetryLater), (400, Rejected), (401, Broken)]:
            with self.assertRaises(failure):
                self.poster.publish(delivery_of([SAMPLE]))

    def test_all_errors_are_reported_at_once(self):
        with self.assertRaises(OptionErrors) as caught:
            Poster(UrlOptions({"path": "/a b", "query": {"timeout": ["0"]}}))
        self.assertEqual(len(caught.exception.errors), 3)
