// Answers: the rows that take the place of the input's.

import { NO_ORIGIN, meterKey, resourceKey } from './batch.js';

/**
 * Makes an answer, row by row; without a batch the answer to a flush.
 *
 * New meters and resources are numbered by their content: asking for the same one again gives the
 * same number, and one that the input has already gives the input's.
 */
export class AnswerBuilder {
  #meters;
  #resources;
  #answer = { meters: [], resources: [], origin: [], meter: [], resource: [], time: [], volume: [] };

  constructor(batch) {
    this.#meters = new Entries(batch?.meters ?? [], this.#answer.meters, meterKey);
    this.#resources = new Entries(batch?.resources ?? [], this.#answer.resources, resourceKey);
  }

  /** The number of a meter, `{name, unit, type}`. */
  meter(meter) {
    return this.#meters.number(meter);
  }

  /** The number of a `Resource`. */
  resource(resource) {
    return this.#resources.number(resource);
  }

  /** Adds a row that passes as it is. */
  keep(row) {
    this.#add(row.number, row.meterIndex, row.resourceIndex, row.time, row.volume);
  }

  /** Adds a row made of another: same resource and time, another meter and value. */
  derive(row, meter, volume) {
    this.#add(row.number, meter, row.resourceIndex, row.time, volume);
  }

  /** Adds a row that comes from no input row. */
  create(meter, resource, time, volume) {
    this.#add(NO_ORIGIN, meter, resource, time, volume);
  }

  #add(origin, meter, resource, time, volume) {
    const answer = this.#answer;
    answer.origin.push(origin);
    answer.meter.push(meter);
    answer.resource.push(resource);
    answer.time.push(time);
    answer.volume.push(volume);
  }

  /** The answer. */
  finish() {
    return this.#answer;
  }
}

class Entries {
  #given;
  #new;
  #key;
  #numbers;

  constructor(given, added, key) {
    this.#given = given;
    this.#new = added;
    this.#key = key;
  }

  number(wanted) {
    if (!this.#numbers) {
      this.#numbers = new Map();
      // Backwards, so that the first of equal entries has the say.
      for (let number = this.#given.length - 1; number >= 0; number--) {
        this.#numbers.set(this.#key(this.#given[number]), number);
      }
    }
    const key = this.#key(wanted);
    let number = this.#numbers.get(key);
    if (number === undefined) {
      number = this.#given.length + this.#new.length;
      this.#new.push(wanted);
      this.#numbers.set(key, number);
    }
    return number;
  }
}
