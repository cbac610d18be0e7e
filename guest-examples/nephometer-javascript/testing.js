// Batches and envelopes from samples, and samples from answers, for tests without a host.
//
// Samples are objects in the keys that `nephometer component run` reads and prints; an integer that
// a number cannot hold is a bigint. This module acts as the host: one dictionary serves all batches
// of a test run, and its numbers are in a random order, so a test whose result depends on numbers
// fails. `renumber` starts another order.

import { NO_ORIGIN, Resource, needsExact } from './batch.js';
import { dictionary } from './dictionary.js';

/** Nanoseconds since the epoch of an ISO 8601 timestamp with its offset, to the millisecond. */
export function nanoseconds(timestamp) {
  return BigInt(Date.parse(timestamp)) * 1_000_000n;
}

/** The numbers of meters or of resources, as a host assigns them. */
class Numbers {
  // Numbers are drawn from this many at a time.
  static BLOCK = 64;
  #shuffle;
  #end = 0;
  #free = [];
  known = new Map();
  /** Entries that are not in the dictionary yet. */
  added = [];

  constructor(shuffle) {
    this.#shuffle = shuffle;
  }

  /** The number of the entry that these fields make up. */
  of(fields, make) {
    const key = JSON.stringify(fields);
    if (!this.known.has(key)) {
      if (this.#free.length === 0) {
        while (this.#free.length < Numbers.BLOCK) this.#free.push(this.#end++);
        this.#shuffle(this.#free);
      }
      const one = { number: this.#free.pop(), entry: make(fields) };
      this.known.set(key, one);
      this.added.push(one);
    }
    return this.known.get(key).number;
  }

  /** Forgets entries and returns their numbers, which are used again. */
  forget(isForgotten) {
    const forgotten = [...this.known].filter(([, { entry }]) => isForgotten(entry));
    for (const [key] of forgotten) this.known.delete(key);
    const numbers = forgotten.map(([, { number }]) => number);
    this.#free.push(...numbers);
    this.#shuffle(this.#free);
    return numbers;
  }
}

class Host {
  /** Ids of resources that the previous batch reported as removed. */
  removed = new Set();
  ownMeters = new Map();
  ownResources = new Map();

  constructor(seed) {
    this.renumber(seed);
  }

  renumber(seed) {
    const forgottenMeters = this.meters?.forget(() => true);
    const forgottenResources = this.resources?.forget(() => true);
    dictionary.learn({ forgottenMeters, forgottenResources });
    const shuffle = shuffling(seed);
    this.meters = new Numbers(shuffle);
    this.resources = new Numbers(shuffle);
  }

  /** Forgets the removed resources, as the host does after the batch that reported them. */
  forgetRemoved() {
    dictionary.learn({ forgottenResources: this.resources.forget(({ id }) => this.removed.has(id)) });
  }

  sendAdded() {
    dictionary.learn({ meters: this.meters.added, resources: this.resources.added });
    this.meters.added = [];
    this.resources.added = [];
  }

  /** Receives the new entries of an answer. */
  receive(tag) {
    for (const { number, entry } of dictionary.ownMeters.takeFresh()) this.ownMeters.set(number, entry);
    if (tag !== 'replace') return;
    for (const { number, entry } of dictionary.ownResources.takeFresh()) {
      this.ownResources.set(number, new Resource(entry));
    }
  }
}

// Fisher and Yates' shuffle, with the minimal standard generator: the same order for the same seed.
function shuffling(seed) {
  let state = (Math.abs(seed) % 2147483646) + 1;
  const below = (end) => (state = (state * 48271) % 2147483647) % end;
  return (items) => {
    for (let at = items.length - 1; at > 0; at--) {
      const other = below(at + 1);
      [items[at], items[other]] = [items[other], items[at]];
    }
  };
}

const host = new Host(1);

/** Forgets the whole dictionary. The order of new numbers follows from the seed, an integer. */
export function renumber(seed) {
  host.renumber(seed);
}

/** A batch with one row per sample, and the ids of resources that were removed. */
export function batchOf(samples, { removed = [] } = {}) {
  dictionary.begin();
  host.forgetRemoved();
  host.removed = new Set(removed);
  const numberOf = ({ name, unit, type }) =>
    host.meters.of([name, unit, type], ([name, unit, type]) => ({ name, unit, type }));
  const integers = samples.map(({ volume }, row) => [row, volume]).filter(([, volume]) => typeof volume === 'bigint');
  const batch = {
    meter: Uint32Array.from(samples, numberOf),
    resource: Uint32Array.from(samples, resourceNumber),
    time: BigUint64Array.from(samples, ({ timestamp }) => nanoseconds(timestamp)),
    monotonic: new BigUint64Array(samples.length),
    volume: Float64Array.from(samples, ({ volume }) => Number(volume)),
    exact: new Map(integers.filter(([, volume]) => needsExact(volume))),
    removed,
  };
  host.sendAdded();
  // Copies, so that `samplesOf` works for a batch after the next one was made.
  return { ...batch, meters: [...dictionary.meters], resources: [...dictionary.resources] };
}

/** An envelope with one row per sample, and each sample as its text. */
export function deliveryOf(samples, { id = '1', attempt = 1 } = {}) {
  return { id, attempt, batch: batchOf(samples), texts: samples.map((sample) => JSON.stringify(sample)) };
}

function resourceNumber({ resource_id, source = 'openstack', project_id, user_id, resource_metadata = {} }) {
  return host.resources.of(
    [resource_id, source, project_id, user_id, resource_metadata],
    ([id, source, projectId, userId, metadata]) => new Resource({ id, source, projectId, userId, metadata }),
  );
}

/**
 * The samples that an outcome stands for; `time` is in nanoseconds, `origin` is undefined for rows
 * that are not computed from an input row.
 */
export function samplesOf(outcome, batch) {
  if (!outcome) return [];
  const { origin, meter, resource, time, volume, exact } = columnsOf(outcome, batch);
  const lengths = new Set([origin, meter, resource, time, volume].map((column) => column.length));
  if (lengths.size !== 1) throw new Error(`columns of unequal length: ${[...lengths]}`);
  const exactOf = new Map(exact.map(({ row, value }) => [row, value]));
  return Array.from(origin, (from, row) => {
    const { id, source, projectId, userId, metadata } =
      host.ownResources.get(resource[row]) ?? batch.resources[resource[row]];
    // A row with the volume of its origin keeps its exact value.
    const kept = from !== NO_ORIGIN && volume[row] === batch.volume[from] ? batch.exact.get(from) : undefined;
    return {
      ...(host.ownMeters.get(meter[row]) ?? batch.meters[meter[row]]),
      resource_id: id,
      source,
      project_id: projectId,
      user_id: userId,
      resource_metadata: metadata,
      time: time[row],
      volume: exactOf.get(row) ?? kept ?? volume[row],
      origin: from === NO_ORIGIN ? undefined : from,
    };
  });
}

function columnsOf({ tag, val }, batch) {
  const pick = (origin, ...names) =>
    Object.fromEntries(names.map((name) => [name, Array.from(origin, (row) => batch[name][row])]));
  if (tag === 'unchanged' || tag === 'keep') {
    const origin = val ?? [...batch.volume.keys()];
    return { origin, ...pick(origin, 'meter', 'resource', 'time', 'volume'), exact: [] };
  }
  host.receive(tag);
  return tag === 'derive' ? { ...val, ...pick(val.origin, 'resource', 'time') } : val;
}
