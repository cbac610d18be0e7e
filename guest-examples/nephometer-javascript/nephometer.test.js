import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  AnswerBuilder,
  Complaint,
  NO_ORIGIN,
  OptionErrors,
  OptionReader,
  Rejected,
  Resource,
  UNCHANGED,
  exported,
  keep,
  log,
  rows,
} from './nephometer.js';
import { batchOf, samplesOf } from './testing.js';

const sample = {
  name: 'cpu',
  unit: 'ns',
  type: 'delta',
  resource_id: 'r',
  resource_metadata: { flavor: { vcpus: 2 } },
  timestamp: '1970-01-01T00:00:01.5Z',
  volume: 3,
};

test('rows look their entries up', () => {
  const [first, second] = rows(batchOf([sample, { ...sample, name: 'memory', volume: 4 }]));
  assert.deepEqual([first.number, first.meter.name, first.time, first.monotonic], [0, 'cpu', 1_500_000_000n, undefined]);
  assert.deepEqual([second.number, second.meterIndex, second.volume], [1, 1, 4]);
  assert.deepEqual(second.resource.metadata.flavor, { vcpus: 2 });
});

test("numbers go on from the input's and follow content", () => {
  const batch = batchOf([sample]);
  const answer = new AnswerBuilder(batch);
  const util = { name: 'cpu_util', unit: '%', type: 'gauge' };
  const meters = [batch.meters[0], util, { ...util, unit: '1' }, util];
  assert.deepEqual(meters.map((one) => answer.meter(one)), [0, 1, 2, 1]);
  const resource = (vcpus) => new Resource({ id: 'r', source: 'openstack', metadata: { flavor: { vcpus } } });
  assert.deepEqual([2, 4, 4].map((vcpus) => answer.resource(resource(vcpus))), [0, 1, 1]);
  const [row] = rows(batch);
  answer.keep(row);
  answer.derive(row, 1, 3.5);
  answer.create(2, 1, 9n, 4.5);
  const finished = answer.finish();
  assert.deepEqual(finished.origin, [0, 0, NO_ORIGIN]);
  assert.deepEqual([finished.meters.length, finished.resources.length], [2, 1]);
  const made = samplesOf(finished, batch).map(({ name, volume }) => [name, volume]);
  assert.deepEqual(made, [['cpu', 3], ['cpu_util', 3.5], ['cpu_util', 4.5]]);
});

test('numbers start at zero without input', () => {
  const answer = new AnswerBuilder();
  assert.equal(answer.meter({ name: 'm', unit: '', type: 'gauge' }), 0);
  assert.equal(answer.resource(new Resource({ id: 'r', source: 's' })), 0);
});

test('every wrong key is named with its place', () => {
  log.taken();
  const reader = new OptionReader({ 'a/b': { x: 1 }, c: [3], d: 'text', e: true, f: null });
  assert.equal(reader.object('a/b').text('x'), undefined);
  assert.equal(reader.object('c').text('y'), undefined);
  reader.objects('c');
  for (const key of ['d', 'e', 'f', 'toString']) assert.equal(reader.number(key), undefined);
  reader.refuse('c', 0, 'x~', 'no');
  reader.warnOfUnknown(['a/b', 'c', 'd', 'f']);
  assert.throws(() => reader.check(), (error) => {
    assert(error instanceof OptionErrors);
    const pointers = error.errors.map(({ pointer }) => pointer);
    assert.deepEqual(pointers, ['/a~1b/x', '/c', '/c/0', '/d', '/e', '/c/0/x~0']);
    return true;
  });
  assert.deepEqual(log.taken(), [['warn', 'option /e is not known here and has no effect']]);
});

test('a complaint is one line', () => {
  log.taken();
  const complaint = new Complaint('warn', 'dropping');
  complaint.write();
  for (const row of rows(batchOf([sample, sample, sample]))) complaint.add(row, 'too late');
  complaint.write();
  assert.deepEqual(log.taken(), [['warn', 'dropping: cpu of r: too late, and 2 more']]);
});

// The last test: from here on lines go where a host would have them.
test('the exports have the form that the bindings want', () => {
  const lines = [];
  const bare = (resources) => ({ ...batchOf([sample]), resources });
  const raw = [{ id: 'r', source: 's', metadata: '{"a": 1}' }];
  class Guest {
    static description = { name: 'n', version: '1', summary: 's', optionsSchema: { type: 'object' }, facts: { a: 'b' } };
    constructor(options) {
      this.answer = { one: UNCHANGED, two: keep([0]) }[options.text('give')];
      options.check();
    }
    transform(batch) {
      if (this.answer) return this.answer;
      if (batch.resources[0].metadata.a === 2) throw new Rejected('two');
      if (batch.resources[0].metadata.a === 3) throw new TypeError('three');
      const answer = new AnswerBuilder(batch);
      const resource = new Resource({ id: 'new', source: 's', metadata: { b: 1 } });
      answer.create(0, answer.resource(resource), 1n, 2);
      return answer.finish();
    }
  }
  const made = exported(Guest, (...line) => lines.push(line));
  const payload = (call) => {
    try {
      call();
    } catch (error) {
      return error.payload ?? error;
    }
  };
  assert.deepEqual(made.component.describe(), {
    name: 'n', version: '1', summary: 's', optionsSchema: '{"type":"object"}', stateVersion: 0, facts: [['a', 'b']],
  });
  assert.equal(payload(() => made.transform.transform(bare(raw))).tag, 'broken');
  assert.equal(payload(() => made.component.configure('{"give": 3}'))[0].pointer, '/give');
  assert.deepEqual(made.component.configure('{}'), { meters: [], metadata: [], texts: 'none', facts: [] });
  const { tag, val } = made.transform.transform(bare(raw));
  assert.deepEqual([tag, val.resources[0].id, val.resources[0].metadata], ['replace', 'new', '{"b":1}']);
  const other = (metadata) => payload(() => made.transform.transform(bare([{ ...raw[0], metadata }])));
  assert.deepEqual(other('{"a": 2}'), { tag: 'rejected', val: 'two' });
  assert(other('{"a": 3}') instanceof TypeError);
  assert.match(lines[0][1], /^TypeError: three/);
  made.component.configure('{"give": "two"}');
  assert.deepEqual(made.transform.transform(bare(raw)), { tag: 'keep', val: [0] });
});
