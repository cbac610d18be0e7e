import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { Broken, OptionErrors, Rejected, RetryLater, UrlOptions, http } from './nephometer/nephometer.js';
import { deliveryOf } from './nephometer/testing.js';
import { Poster } from './publisher.js';

const sample = {
  name: 'memory.usage', type: 'gauge', unit: 'MB', volume: 4, resource_id: 'r', timestamp: '2026-03-01T10:00:00Z',
};
const poster = () => new Poster(new UrlOptions({ host: '::1', port: 8190, path: '/samples' }));
let requests, status;

beforeEach(() => {
  requests = [];
  status = 204;
  http.sendWith((request) => (requests.push(request), { status }));
});

test('an envelope is one array', () => {
  poster().publish(deliveryOf([sample, sample], { id: 'e-1' }));
  const [{ authority, path, headers, body }] = requests;
  assert.deepEqual([authority, path, headers['idempotency-key']], ['[::1]:8190', '/samples', 'e-1']);
  assert.deepEqual(JSON.parse(new TextDecoder().decode(body)), [sample, sample]);
});

test('an envelope without samples is not sent', () => {
  poster().publish(deliveryOf([]));
  assert.equal(requests.length, 0);
});

test('statuses map to results', () => {
  for (const [returned, failure] of [[503, RetryLater], [400, Rejected], [401, Broken]]) {
    status = returned;
    assert.throws(() => poster().publish(deliveryOf([sample])), failure);
  }
});

test('all errors are reported at once', () => {
  const wrong = () => new Poster(new UrlOptions({ path: '/a b', query: { timeout: ['0'] } }));
  assert.throws(wrong, (error) => error instanceof OptionErrors && error.errors.length === 3);
});
