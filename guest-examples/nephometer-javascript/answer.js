// Builds answers: the rows that replace those of the input.

import { NO_ORIGIN, needsExact } from './batch.js';
import { dictionary } from './dictionary.js';

/**
 * Builds an answer, row by row; without a batch the answer to a flush.
 *
 * New meters and resources are numbered by content: the same content has the same number. Ask again
 * in each answer, because numbers are not valid for ever. The host receives an entry once.
 */
export class AnswerBuilder {
  #batch;
  #origin = [];
  #meter = [];
  #volume = [];
  #exact = [];
  // Of created rows only: the others have the resource and time of their origin.
  #resource = [];
  #time = [];

  constructor(batch) {
    this.#batch = batch;
  }

  /** The number of a new meter, `{name, unit, type}`. That of an input row is `row.meterNumber`. */
  meter({ name, unit, type }) {
    return dictionary.ownMeters.number({ name, unit, type });
  }

  /** The number of a new `Resource`. That of an input row is `row.resourceNumber`. */
  resource({ id, source, projectId, userId, metadataText }) {
    return dictionary.ownResources.number({ id, source, projectId, userId, metadata: metadataText });
  }

  /** Adds a row of the input unchanged. */
  keep(row) {
    this.#origin.push(row.number);
    this.#meter.push(row.meterNumber);
    this.#volume.push(row.volume);
  }

  /** Adds a row computed from an input row: same resource and time, another meter or value. */
  derive(row, meter, volume) {
    this.#origin.push(row.number);
    this.#meter.push(meter);
    this.#volume.push(volume);
  }

  /**
   * Like `derive`, with an exact integer, a bigint. One that 64 bits cannot hold becomes the
   * nearest number.
   */
  deriveInteger(row, meter, value) {
    this.#noteExact(value);
    this.derive(row, meter, Number(value));
  }

  /** Adds a row that is not computed from an input row. */
  create(meter, resource, time, volume) {
    this.#origin.push(NO_ORIGIN);
    this.#meter.push(meter);
    this.#resource.push(resource);
    this.#time.push(time);
    this.#volume.push(volume);
  }

  /** Like `create`, with an exact integer as in `deriveInteger`. */
  createInteger(meter, resource, time, value) {
    this.#noteExact(value);
    this.create(meter, resource, time, Number(value));
  }

  #noteExact(value) {
    if (needsExact(value)) this.#exact.push({ row: this.#origin.length, value });
  }

  /**
   * The answer. Its tag is `derive` if all rows come from rows of the input, in their order,
   * otherwise `replace`.
   */
  finish() {
    const batch = this.#batch;
    const created = this.#resource.length;
    if (!batch && created !== this.#origin.length) {
      throw new Error('rows that come from a batch need new AnswerBuilder(batch)');
    }
    // Typed arrays: the bindings copy those whole, and other arrays item by item, which takes 15
    // microseconds per row.
    const origin = Uint32Array.from(this.#origin);
    const meter = Uint32Array.from(this.#meter);
    const volume = Float64Array.from(this.#volume);
    const exact = this.#exact;
    if (batch && created === 0 && isAscending(origin)) return { tag: 'derive', val: { origin, meter, volume, exact } };
    const resource = Uint32Array.from(merged(origin, this.#resource, batch?.resource));
    const time = BigUint64Array.from(merged(origin, this.#time, batch?.time));
    return { tag: 'replace', val: { origin, meter, resource, time, volume, exact } };
  }
}

function isAscending(rows) {
  for (let at = 1; at < rows.length; at++) if (rows[at - 1] > rows[at]) return false;
  return true;
}

// The values of a column: created rows take the next created value, others that of their origin.
function merged(origin, created, input) {
  let next = 0;
  return Array.from(origin, (row) => (row === NO_ORIGIN ? created[next++] : input[row]));
}
