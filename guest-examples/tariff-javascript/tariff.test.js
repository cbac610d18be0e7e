// Tests of tariff: the shared fixtures, a simple model, and damaged states.
//
//     node --test

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';

import { OptionErrors, OptionReader, StateError, log } from '../nephometer-javascript/nephometer.js';
import { batchOf, nanoseconds, samplesOf } from '../nephometer-javascript/testing.js';
import { schema } from './schema.js';
import { Tariff } from './tariff.js';

const shared = new URL('../tariff/', import.meta.url);
const read = (name) => JSON.parse(readFileSync(new URL(name, shared), 'utf8'));
const tariff = (options) => new Tariff(new OptionReader(options));
const bytes = (text) => new TextEncoder().encode(text);

const files = readdirSync(new URL('fixtures/', shared)).filter((name) => name.endsWith('.json'));
assert(files.length > 4);
for (const name of files) test(`fixture ${name}`, () => runFixture(read(`fixtures/${name}`)));

function runFixture({ options, errors, steps }) {
  if (errors) {
    const expected = errors.map(([pointer, reason]) => ({ pointer, reason }));
    assert.throws(() => tariff(options), (error) => {
      assert(error instanceof OptionErrors);
      assert.deepEqual(error.errors, expected);
      return true;
    });
    return;
  }
  let one = tariff(options);
  log.taken();
  for (const step of steps) {
    if (step.state) {
      const state = one.save();
      assertAlike(JSON.parse(new TextDecoder().decode(state)), step.state);
      one = tariff(options);
      one.restore(1, state);
    } else if (step.batch) {
      const batch = batchOf(step.batch);
      assertSamples(samplesOf(one.transform(batch), batch), step.out);
    } else {
      assertSamples(samplesOf(one.flush(nanoseconds(step.flush))), step.out);
    }
    assert.deepEqual(log.taken().map(([level, line]) => `${level}: ${line}`), step.log ?? []);
  }
}

function assertSamples(found, expected) {
  assert.equal(found.length, expected.length);
  expected.forEach(({ timestamp, ...sample }, row) => {
    assert.equal(found[row].time, nanoseconds(timestamp));
    const known = { source: 'openstack', ...sample };
    assertAlike(Object.fromEntries(Object.keys(known).map((key) => [key, found[row][key]])), known);
  });
}

/** Equal, but for what numbers lose. */
function assertAlike(found, expected) {
  if (typeof expected === 'number') {
    const delta = 4e-16 * Math.abs(expected);
    assert(Math.abs(found - expected) <= delta, `${found} is not ${expected}`);
  } else if (expected !== null && typeof expected === 'object') {
    assert.deepEqual(Object.keys(found), Object.keys(expected));
    for (const key of Object.keys(expected)) assertAlike(found[key], expected[key]);
  } else {
    assert.equal(found ?? null, expected);
  }
}

test('totals equal exact arithmetic', () => {
  // Prices and volumes are whole numbers of small units, so that the model can count with bigints: a price in millionths,
  // times a volume in nanoseconds.
  let seed = 1;
  const chance = (below) => (seed = (seed * 48271) % 2147483647) % below;
  const millionths = { alpha: [], beta: [], gamma: [] };
  const projects = Object.keys(millionths);
  for (const project of projects) for (let hour = 0; hour < 24; hour++) millionths[project].push(chance(10_000_000));
  const bands = (prices) => prices.map((price, hour) => ({ from: hour, to: hour + 1, price: price / 1e6 }));
  const prices = Object.fromEntries(projects.map((project) => [project, bands(millionths[project])]));
  const options = { currency: 'EUR', prices };
  let one = tariff(options);
  const exact = Object.fromEntries(projects.map((project) => [project, 0n]));
  for (let cycle = 0; cycle < 200; cycle++) {
    if (cycle % 20 === 7) {
      const state = one.save();
      one = tariff(options);
      one.restore(1, state);
    }
    const samples = [];
    for (let row = 0; row < 50; row++) {
      const project = projects[chance(3)];
      const hour = chance(24);
      const volume = chance(2147483647) * 10 ** chance(7);
      exact[project] += BigInt(volume) * BigInt(millionths[project][hour]);
      samples.push(cpu(project, volume, `2026-03-01T${String(hour).padStart(2, '0')}:${10 + chance(50)}:00Z`));
    }
    const batch = batchOf(samples);
    const found = samplesOf(one.transform(batch), batch);
    assert.deepEqual(found.map(({ origin }) => origin), [...Array(50).keys()]);
  }
  const totals = samplesOf(one.flush(10n ** 18n));
  assert.deepEqual(totals.map(({ project_id }) => project_id), projects);
  for (const { project_id, volume, time, origin } of totals) {
    assert.deepEqual([time, origin], [10n ** 18n, undefined]);
    // One part of 10**18 is what the model counts beyond the 3.6 of an hour.
    const model = Number(exact[project_id] / 3_600_000_000n) / 1e9 + Number(exact[project_id] % 3_600_000_000n) / 3.6e18;
    assert(Math.abs(volume - model) < 1e-9, `${project_id}: ${volume} is not ${model}`);
  }
});

test('states of others are refused', () => {
  const options = { currency: 'EUR', prices: { alpha: [{ from: 0, to: 24, price: 1 }] } };
  const other = tariff({ ...options, currency: 'CHF' }).save();
  const cases = [[2, bytes('{}'), /version 2/], [1, other, /in CHF/], [1, new Uint8Array([255]), /damaged/]];
  const damaged = ['', '[]', '3', '{"totals": [3]}', '{"currency": "EUR"}'];
  damaged.push('{"currency": "EUR", "totals": [["alpha", "openstack", "much", 0]]}');
  for (const text of damaged) cases.push([1, bytes(text), /damaged/]);
  for (const [version, state, reason] of cases) {
    assert.throws(() => tariff(options).restore(version, state), (error) => {
      assert(error instanceof StateError, `${error}`);
      assert.match(error.message, reason);
      return true;
    });
  }
});

test('projects without prices keep their totals', () => {
  const price = [{ from: 0, to: 24, price: 1 }];
  const one = tariff({ currency: 'EUR', prices: { alpha: price, beta: price } });
  one.transform(batchOf([cpu('alpha', 3.6e12, '2026-03-01T10:00:00Z')]));
  const other = tariff({ currency: 'EUR', prices: { beta: price } });
  other.restore(1, one.save());
  assert.deepEqual(samplesOf(other.flush(1n)).map(({ volume }) => volume), [1]);
});

test('the schema is the shared one', () => {
  assert.deepEqual(schema, read('options.schema.json'));
});

function cpu(project_id, volume, timestamp) {
  return { name: 'cpu', unit: 'ns', type: 'delta', resource_id: `of-${project_id}`, project_id, volume, timestamp };
}
