import assert from 'node:assert/strict';
import { test } from 'node:test';

import { OptionErrors, OptionReader, StateError } from './nephometer/nephometer.js';
import { type Sample, batchOf, samplesOf } from './nephometer/testing.js';
import { Scaler } from './transformer.js';

const sample: Sample = {
  name: 'memory.usage', type: 'gauge', unit: 'MB', volume: 4, resource_id: 'r', timestamp: '2026-03-01T10:00:00Z',
};
const configured = (options: object) => new Scaler(new OptionReader(options));

test('volumes are scaled', () => {
  const batch = batchOf([sample, sample]);
  const volumes = samplesOf(configured({ factor: 2.5 }).transform(batch), batch).map(({ volume }) => volume);
  assert.deepEqual(volumes, [10, 10]);
});

test('a factor of zero is refused', () => {
  assert.throws(() => configured({ factor: 0 }), OptionErrors);
});

test('the count survives', () => {
  const [one, other] = [configured({}), configured({})];
  one.transform(batchOf([sample]));
  other.restore(1, one.save());
  assert.equal(other.rows, 1);
  assert.throws(() => other.restore(2, new Uint8Array()), StateError);
});
