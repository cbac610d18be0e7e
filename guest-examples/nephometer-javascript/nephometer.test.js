import assert from 'node:assert/strict';
import { test } from 'node:test';

import { dictionary, FIRST_OWN } from './dictionary.js';
import { sendTo } from './log.js';
import {
  AnswerBuilder,
  Broken,
  Complaint,
  NO_ORIGIN,
  OptionErrors,
  OptionReader,
  PerEntry,
  Rejected,
  Resource,
  RetryLater,
  UNCHANGED,
  UrlOptions,
  exported,
  exportedPublisher,
  http,
  keep,
  log,
  rows,
} from './nephometer.js';
import { batchOf, renumber, samplesOf } from './testing.js';

const sample = {
  name: 'cpu',
  unit: 'ns',
  type: 'delta',
  resource_id: 'r',
  resource_metadata: { flavor: { vcpus: 2 } },
  timestamp: '1970-01-01T00:00:01.5Z',
  volume: 3,
};

const util = { name: 'cpu_util', unit: '%', type: 'gauge' };

test('rows have their entries', () => {
  const batch = batchOf([sample, { ...sample, name: 'memory', volume: 4 }]);
  const [first, second] = rows(batch);
  assert.deepEqual([first.number, first.meter.name, first.time, first.monotonic], [0, 'cpu', 1_500_000_000n, undefined]);
  assert.deepEqual([second.number, second.volume], [1, 4]);
  assert.equal(second.meter, batch.meters[second.meterNumber]);
  assert.equal(second.resource, batch.resources[second.resourceNumber]);
  assert.equal(second.resource, first.resource);
  assert.deepEqual(second.resource.metadata.flavor, { vcpus: 2 });
});

test('whole numbers are exact', () => {
  const cases = [[3, 3n], [2.5, undefined], [-(2 ** 53), undefined], [2 ** 53 - 1, 2n ** 53n - 1n]];
  cases.push([2n ** 60n + 1n, 2n ** 60n + 1n], [-(2n ** 63n), -(2n ** 63n)], [2n ** 63n, undefined]);
  const found = [...rows(batchOf(cases.map(([volume]) => ({ ...sample, volume }))))];
  assert.deepEqual(found.map(({ integer }) => integer), cases.map(([, integer]) => integer));
});

test('entries are learned once', () => {
  const [[first], [second]] = [1, 2].map(() => rows(batchOf([sample])));
  assert.equal(first.resource, second.resource);
});

test('seeds change the order of numbers', () => {
  const samples = [...Array(20).keys()].map((number) => ({ ...sample, resource_id: `r-${number}` }));
  const [first, other, again] = [1, 2, 1].map((seed) => {
    renumber(seed);
    return batchOf(samples).resource;
  });
  assert.deepEqual(first, again);
  assert.notDeepEqual(first, other);
  assert.notDeepEqual(first, first.toSorted());
});

test('values are computed once per entry, and again if the number is reused', () => {
  renumber(1);
  const computed = [];
  const ids = new PerEntry(({ id }) => {
    computed.push(id);
    return id === 'r-3' ? undefined : id;
  });
  const numbers = new Set();
  const expected = [...Array(80).keys()].map((number) => `r-${number}`);
  for (const id of expected) {
    const one = { ...sample, resource_id: id };
    for (const row of rows(batchOf([one, one], { removed: [id] }))) {
      assert.equal(ids.get(row.resource), id === 'r-3' ? undefined : id);
      numbers.add(row.resourceNumber);
    }
  }
  assert.deepEqual(computed, expected);
  assert(numbers.size < 80);
});

test('own entries are numbered by content', () => {
  dictionary.forgetOwn();
  const batch = batchOf([sample]);
  const [row] = rows(batch);
  const resource = (vcpus) => new Resource({ id: 'r', source: 'openstack', metadata: { flavor: { vcpus } } });
  for (const answer of [new AnswerBuilder(batch), new AnswerBuilder()]) {
    const meters = [row.meter, util, { ...util, unit: '1' }, { ...util }];
    assert.deepEqual(meters.map((one) => answer.meter(one) - FIRST_OWN), [0, 1, 2, 1]);
    const resources = [row.resource, resource(2), resource(4), resource(4)];
    assert.deepEqual(resources.map((one) => answer.resource(one) - FIRST_OWN), [0, 0, 1, 1]);
  }
});

test('entries are sent once, and those of a dropped answer with the next', () => {
  dictionary.forgetOwn();
  new AnswerBuilder(batchOf([sample])).meter(util);
  const resource = new AnswerBuilder().resource(new Resource({ id: 'new', source: 's' }));
  const batch = batchOf([sample]);
  const answer = new AnswerBuilder(batch);
  const [row] = rows(batch);
  answer.derive(row, answer.meter(util), 3.5);
  assert.deepEqual(samplesOf(answer.finish(), batch).map(({ name }) => name), ['cpu_util']);
  assert.deepEqual(dictionary.ownMeters.takeFresh(), []);
  // Rows that are derived use no resource of their own: it is still to be sent.
  const flush = new AnswerBuilder();
  flush.create(flush.meter(util), resource, 9n, 1);
  const [{ name, resource_id, origin }] = samplesOf(flush.finish());
  assert.deepEqual([name, resource_id, origin], ['cpu_util', 'new', undefined]);
  assert.deepEqual(dictionary.ownResources.takeFresh(), []);
});

test('numbering starts again when there are too many entries', () => {
  for (const [count, unit] of [[8001, ''], [49, 'x'.repeat(1 << 20)]]) {
    dictionary.forgetOwn();
    const first = new AnswerBuilder();
    for (let number = 0; number < count; number++) first.meter({ name: `m-${number}`, unit, type: 'gauge' });
    assert.equal(first.meter(util), FIRST_OWN + count);
    const batch = batchOf([sample]);
    const answer = new AnswerBuilder(batch);
    assert.equal(answer.meter(util), FIRST_OWN);
    const [row] = rows(batch);
    answer.derive(row, FIRST_OWN, 1);
    assert.equal(samplesOf(answer.finish(), batch)[0].name, 'cpu_util');
  }
});

test('answers are derived unless rows are created or out of order', () => {
  const batch = batchOf([sample, { ...sample, resource_id: 's', timestamp: '1970-01-01T00:00:02Z' }]);
  const [first, second] = rows(batch);
  const built = (add) => {
    const builder = new AnswerBuilder(batch);
    add(builder, builder.meter(util));
    const answer = builder.finish();
    const fields = ({ name, resource_id, time, volume, origin }) => [name, resource_id, time, volume, origin];
    return [answer.tag, samplesOf(answer, batch).map(fields)];
  };
  const [one, two] = [1_500_000_000n, 2_000_000_000n];
  const inOrder = built((answer, meter) => {
    answer.keep(first);
    answer.derive(first, meter, 3.5);
    answer.derive(second, meter, 4.5);
  });
  const derived = [['cpu', 'r', one, 3, 0], ['cpu_util', 'r', one, 3.5, 0], ['cpu_util', 's', two, 4.5, 1]];
  assert.deepEqual(inOrder, ['derive', derived]);
  const outOfOrder = built((answer, meter) => {
    answer.derive(second, meter, 4.5);
    answer.keep(first);
  });
  assert.deepEqual(outOfOrder, ['replace', [['cpu_util', 's', two, 4.5, 1], ['cpu', 'r', one, 3, 0]]]);
  const created = built((answer, meter) => {
    answer.create(meter, first.resourceNumber, 9n, 5.5);
    answer.keep(second);
  });
  assert.deepEqual(created, ['replace', [['cpu_util', 'r', 9n, 5.5, undefined], ['cpu', 's', two, 3, 1]]]);
  assert.deepEqual(built(() => {}), ['derive', []]);
  const flush = new AnswerBuilder();
  assert.equal(flush.finish().tag, 'replace');
  flush.keep(first);
  assert.throws(() => flush.finish(), /AnswerBuilder\(batch\)/);
});

test('integers stay exact', () => {
  const batch = batchOf([{ ...sample, volume: 2n ** 60n + 1n }, sample]);
  const [row] = rows(batch);
  const builder = new AnswerBuilder(batch);
  builder.keep(row);
  const values = [3n, 2n ** 53n, 2n ** 53n + 1n, -(2n ** 63n), 2n ** 63n];
  for (const value of values) builder.deriveInteger(row, row.meterNumber, value);
  builder.createInteger(row.meterNumber, row.resourceNumber, 9n, 2n ** 62n + 1n);
  const answer = builder.finish();
  const exact = [[2, 2n ** 53n], [3, 2n ** 53n + 1n], [4, -(2n ** 63n)], [6, 2n ** 62n + 1n]].map(([row, value]) => ({ row, value }));
  assert.deepEqual(answer.val.exact, exact);
  assert.deepEqual([...answer.val.volume.slice(3, 6)], [2 ** 53, -(2 ** 63), 2 ** 63]);
  assert.deepEqual([...answer.val.origin], [0, 0, 0, 0, 0, 0, NO_ORIGIN]);
  const found = samplesOf(answer, batch).map(({ volume }) => volume);
  assert.deepEqual(found, [2n ** 60n + 1n, 3, 2n ** 53n, 2n ** 53n + 1n, -(2n ** 63n), 2 ** 63, 2n ** 62n + 1n]);
  for (const outcome of [UNCHANGED, keep([0])]) {
    assert.equal(samplesOf(outcome, batch)[0].volume, 2n ** 60n + 1n);
  }
});

test('every error has the pointer of its key', () => {
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
  assert.deepEqual(log.taken(), [['warn', 'unknown option /e is ignored']]);
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
test('the exports have the form that the bindings require', () => {
  dictionary.forgetOwn();
  const lines = [];
  class Guest {
    static description = { name: 'n', version: '1', summary: 's', optionsSchema: { type: 'object' }, facts: { a: 'b' } };
    constructor(options) {
      this.answer = { one: UNCHANGED, two: keep([0]) }[options.text('give')];
      options.check();
    }
    transform(batch) {
      if (this.answer) return this.answer;
      const [row] = rows(batch);
      const answer = new AnswerBuilder(batch);
      const meter = answer.meter({ ...util, extra: 1 });
      answer.derive(row, meter, row.volume * 2);
      if (row.resource.metadata.a === 1) return answer.finish();
      const resource = answer.resource(new Resource({ id: 'new', source: 's', metadata: { b: 1 } }));
      if (row.resource.metadata.a === 2) throw new Rejected('two');
      if (row.resource.metadata.a === 3) throw new TypeError('three');
      answer.create(meter, resource, 1n, row.integer === 2n ** 60n + 1n ? 2 : 3);
      return answer.finish();
    }
    flush(now) {
      const answer = new AnswerBuilder();
      answer.create(answer.meter(util), answer.resource(new Resource({ id: 'f', source: 's' })), now, 1);
      return answer.finish();
    }
  }
  const made = exported(Guest, (...line) => lines.push(line));
  const payload = (call) => {
    try {
      return call();
    } catch (error) {
      return error.payload ?? error;
    }
  };
  const none = { forgottenMeters: [], forgottenResources: [], meters: [], resources: [] };
  const changes = { ...none, meters: [{ number: 500, entry: { name: 'cpu', unit: 'ns', type: 'delta' } }] };
  const learn = (metadata) => {
    const resources = [{ number: 700, entry: { id: 'r', source: 's', metadata } }];
    made.dictionary.learn({ ...none, forgottenResources: [700], resources });
  };
  const columns = { meter: [500], resource: [700], time: [1n], monotonic: [0n], volume: [2], exact: [], removed: [] };
  const transform = (more) => payload(() => made.transform.transform({ ...columns, ...more }));
  assert.deepEqual(made.component.describe(), {
    name: 'n', version: '1', summary: 's', optionsSchema: '{"type":"object"}', stateVersion: 0, facts: [['a', 'b']],
  });
  assert.equal(transform().tag, 'broken');
  assert.equal(payload(() => made.component.configure('{"give": 3}'))[0].pointer, '/give');
  assert.deepEqual(made.component.configure('{}'), { meters: [], metadata: [], texts: 'none', facts: [] });
  made.dictionary.learn(changes);

  learn('{"a": 2}');
  assert.deepEqual(transform(), { tag: 'rejected', val: 'two' });
  learn('{"a": 3}');
  assert(transform() instanceof TypeError);
  assert.match(lines[0][1], /^TypeError: three/);
  learn('{"a": 1}');
  const meter = new Uint32Array([FIRST_OWN]);
  const rest = { origin: new Uint32Array([0]), meter, volume: new Float64Array([4]), exact: [] };
  assert.deepEqual(transform(), { tag: 'derive', val: { ...rest, meters: [{ number: FIRST_OWN, entry: util }] } });
  assert.deepEqual(transform(), { tag: 'derive', val: { ...rest, meters: [] } });
  learn('{"a": 4}');
  const { tag, val } = transform({ volume: [2 ** 60], exact: [{ row: 0, value: 2n ** 60n + 1n }] });
  const entry = { id: 'new', source: 's', projectId: undefined, userId: undefined, metadata: '{"b":1}' };
  assert.deepEqual([tag, val.meters, val.resources], ['replace', [], [{ number: FIRST_OWN, entry }]]);
  assert.deepEqual([[...val.volume], [...val.resource]], [[2 ** 61, 2], [700, FIRST_OWN]]);
  const flushed = made.stateful.flush(5n);
  assert.deepEqual([flushed.meters, flushed.resources.length, [...flushed.time]], [[], 1, [5n]]);
  assert.equal(flushed.resources[0].number, FIRST_OWN + 1);
  made.component.configure('{"give": "two"}');
  assert.deepEqual(transform(), { tag: 'keep', val: new Uint32Array([0]) });
  made.component.configure('{"give": "one"}');
  assert.equal(transform().tag, 'unchanged');
});

const failureOf = (call) => {
  try {
    call();
  } catch (error) {
    return error;
  }
  return undefined;
};

test('the query takes precedence over the block, and errors have pointers', () => {
  const read = new UrlOptions({
    host: '[::1]', port: 99, path: '/a%20b', x: 7, y: 5, bad2: 'maybe',
    query: { x: ['1', '2'], bad: ['z'], on: [''] },
  });
  assert.deepEqual([read.host(), read.port(1), read.path()], ['::1', 99, 'a b']);
  assert.deepEqual([read.number('x'), read.number('y'), read.number('bad')], [2, 5, undefined]);
  assert.deepEqual([read.flag('on'), read.flag('absent'), read.flag('bad2')], [true, false, false]);
  const pointers = failureOf(() => read.check()).errors.map(({ pointer }) => pointer);
  assert.deepEqual(pointers, ['/query/bad', '/bad2']);
  const lines = [];
  sendTo((...line) => lines.push(line));
  read.warnOfUnknown(['x', 'y', 'bad2', 'on']);
  assert.deepEqual(lines, [['warn', 'unknown option /query/bad is ignored']]);
});

test('a receiver is checked, and gets a request', () => {
  const wrong = new UrlOptions({ port: 0, path: '/a b', query: { timeout: ['0'], tls: ['perhaps'] } });
  new http.Receiver(wrong);
  const pointers = failureOf(() => wrong.check()).errors.map(({ pointer }) => pointer);
  assert.deepEqual(pointers.sort(), ['/host', '/path', '/port', '/query/timeout', '/query/tls']);
  const sent = [];
  http.sendWith((request) => (sent.push(request), { status: 204 }));
  const receiver = new http.Receiver(new UrlOptions({ host: 'h', port: 8190, user: 'u', password: 'p', timeout: 2 }));
  assert.equal(receiver.post('x', { a: 'b' }).status, 204);
  const [{ body, ...rest }] = sent;
  assert.equal(new TextDecoder().decode(body), 'x');
  assert.deepEqual(rest, {
    method: 'POST', tls: false, authority: 'h:8190', path: '/', timeout: 2, readAtMost: 2048,
    headers: { authorization: 'Basic dTpw', a: 'b' },
  });
});

test('each status maps to its failure', () => {
  const kinds = [[RetryLater, [408, 429, 500, 503]], [Broken, [301, 401, 403]], [Rejected, [400, 404, 413]]];
  const body = new TextEncoder().encode('no\nmore');
  for (const [kind, statuses] of kinds) {
    for (const status of statuses) {
      const error = failureOf(() => http.accepted({ status, headers: { 'retry-after': '2' }, body }));
      assert.ok(error instanceof kind, String(status));
      assert.match(error.message, new RegExp(`status ${status}: no`));
      assert.equal(error.afterMs, kind === RetryLater ? 2000 : undefined);
    }
  }
});

test('a requested delay is read', () => {
  const date = 'Sun, 06 Nov 1994 08:49:37 GMT';
  for (const [value, delay] of [
    ['120', 120_000],
    ['9'.repeat(30), 86_400_000],
    ['Sun, 06 Nov 1994 08:50:07 GMT', 30_000],
    ['Sun, 06 Nov 1994 08:49:07 GMT', 0],
    ['-1', undefined],
    ['soon', undefined],
    ['Sun, 06 Foo 1994 08:49:37 GMT', undefined],
  ]) {
    assert.equal(http.retryAfter({ headers: { 'retry-after': value, date } }), delay, value);
  }
  assert.equal(http.retryAfter({ headers: { 'retry-after': date } }), undefined);
});

test('the host gets the failure of an envelope', () => {
  class Failing {
    static description = { name: 'failing', version: '1', summary: '' };
    settings = { texts: 'samples' };
    constructor(options) {
      options.check();
    }
    publish({ id, batch }) {
      const [row] = rows(batch);
      if (id === 'later') throw new RetryLater(row.meter.name, 1.5);
      if (id === 'never') throw new Rejected(row.resource.id);
    }
  }
  const { component, publish } = exportedPublisher(Failing, () => {});
  assert.equal(component.configure('{}').texts, 'samples');
  const resources = [{ id: 'r', source: 's', metadata: '{}' }];
  const columns = { meter: [0], resource: [0], time: [1n], monotonic: [0n], volume: [1], exact: [], removed: [] };
  const input = { meters: [{ name: 'cpu', unit: 'ns', type: 'delta' }], resources, ...columns };
  const result = (id) => failureOf(() => publish.publish({ id, attempt: 1, input, texts: [] }))?.payload;
  assert.equal(result('sent'), undefined);
  assert.deepEqual(result('later'), { tag: 'retryable', val: { reason: 'cpu', afterMs: 2n } });
  assert.deepEqual(result('never'), { tag: 'permanent', val: 'r' });
});
