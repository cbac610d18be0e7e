// Batches: columns of numbers, and the meters and resources that these stand for.

/** The origin of a row that is not computed from an input row. */
export const NO_ORIGIN = 0xffffffff;

// Every integer below this one is exact as a double.
const LARGE = 2n ** 53n;

/** A metered resource with its owner. `metadata` is an object, parsed when it is first read. */
export class Resource {
  #metadata;
  #text;

  /** `metadata` may be an object or its JSON text. */
  constructor({ id, source, projectId, userId, metadata = {} }) {
    Object.assign(this, { id, source, projectId, userId });
    if (typeof metadata === 'string') this.#text = metadata;
    else this.#metadata = metadata;
  }

  get metadata() {
    return (this.#metadata ??= JSON.parse(this.#text));
  }

  get metadataText() {
    return (this.#text ??= JSON.stringify(this.#metadata));
  }
}

/**
 * One row of a batch.
 *
 * - `number`: its number in the batch, the origin of rows that are computed from it;
 * - `meter`: `{name, unit, type}`; the type is "gauge", "delta" or "cumulative";
 * - `resource`: a `Resource`;
 * - `meterNumber` and `resourceNumber`: the numbers of these, valid during this call only: the host
 *   uses them again for other entries;
 * - `time`: when the value was read, in nanoseconds since the epoch (a bigint);
 * - `monotonic`: nanoseconds of a clock that never goes back, undefined if unknown;
 * - `volume`: the value, in the unit of the meter;
 * - `integer`: the exact value as a bigint if it is a whole number, otherwise undefined.
 */
export class Row {
  // Private fields are slow in a component, whose engine has no compiler. What is rarely read is
  // looked up when it is read.
  constructor(batch, number) {
    const resourceNumber = batch.resource[number];
    this.batch = batch;
    this.number = number;
    this.meterNumber = batch.meter[number];
    this.resourceNumber = resourceNumber;
    this.resource = batch.resources[resourceNumber];
    this.time = batch.time[number];
    this.volume = batch.volume[number];
  }

  get meter() {
    return this.batch.meters[this.meterNumber];
  }

  get monotonic() {
    return this.batch.monotonic[this.number] || undefined;
  }

  get integer() {
    const exact = this.batch.exact.get(this.number);
    return exact ?? (Number.isSafeInteger(this.volume) ? BigInt(this.volume) : undefined);
  }
}

// A generator would be shorter and take twice the time.
class Rows {
  #batch;
  #next = 0;
  #result = { done: false, value: undefined };

  constructor(batch) {
    this.#batch = batch;
  }

  [Symbol.iterator]() {
    return this;
  }

  next() {
    const batch = this.#batch;
    const number = this.#next;
    if (number === batch.volume.length) return { done: true, value: undefined };
    this.#next = number + 1;
    const result = this.#result;
    result.value = new Row(batch, number);
    return result;
  }
}

/** Iterates over the rows of a batch, in order: each is a `Row`. */
export function rows(batch) {
  return new Rows(batch);
}

/** Whether an integer goes into the column of exact values: beyond 2^53, and within 64 bits. */
export function needsExact(value) {
  return (value >= LARGE || value <= -LARGE) && BigInt.asIntN(64, value) === value;
}
