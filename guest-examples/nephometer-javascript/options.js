// Options as native values, read key by key.

import * as log from './log.js';

/** All that is wrong with the options: a list of `{pointer, reason}`. */
export class OptionErrors extends Error {
  constructor(errors) {
    super(errors.map(({ pointer, reason }) => `${pointer}: ${reason}`).join('; '));
    this.errors = errors;
  }
}

/**
 * One mapping of the options.
 *
 * All readers of one set of options share a list of errors, so that everything that is wrong is
 * reported at once, by `check`. A key that is absent or null is undefined; a key of another type
 * than asked for is an error, and undefined.
 */
export class OptionReader {
  #object;
  #pointer;
  #errors;

  constructor(value, pointer = '', errors = []) {
    const kind = kindOf(value);
    this.#object = kind === 'a mapping' ? value : {};
    this.#pointer = pointer;
    this.#errors = errors;
    if (kind !== 'a mapping' && kind !== 'null') {
      errors.push({ pointer, reason: `is ${kind}; expected a mapping of keys to values` });
    }
  }

  #place(...keys) {
    return this.#pointer + keys.map((key) => `/${escapePointer(String(key))}`).join('');
  }

  /** Notes that something is wrong with a key, or with what is deeper down: `refuse('bands', 3, 'is empty')`. */
  refuse(...keysAndReason) {
    const reason = keysAndReason.pop();
    this.#errors.push({ pointer: this.#place(...keysAndReason), reason });
  }

  /** Throws all errors that there are. */
  check() {
    if (this.#errors.length > 0) throw new OptionErrors(this.#errors);
  }

  /** The keys that have a value. */
  keys() {
    return Object.keys(this.#object).filter((key) => this.value(key) !== undefined);
  }

  /** The value of a key as it stands. */
  value(key) {
    return Object.hasOwn(this.#object, key) ? (this.#object[key] ?? undefined) : undefined;
  }

  /** The mapping under a key; an empty one if it is absent. */
  object(key) {
    return new OptionReader(this.value(key), this.#place(key), this.#errors);
  }

  /** The list of mappings under a key; an empty one if it is absent. */
  objects(key) {
    const items = this.#typed(key, 'a list') ?? [];
    return items.map((item, index) => new OptionReader(item, this.#place(key, index), this.#errors));
  }

  /** The text under a key. */
  text(key) {
    return this.#typed(key, 'a string');
  }

  /** The number under a key; true and false are none here. */
  number(key) {
    return this.#typed(key, 'a number');
  }

  #typed(key, wanted) {
    const value = this.value(key);
    if (value === undefined || kindOf(value) === wanted) return value;
    this.refuse(key, `is ${kindOf(value)}; expected ${wanted}`);
    return undefined;
  }

  /** Accepts unknown keys, with a warning in the log. */
  warnOfUnknown(known) {
    for (const key of Object.keys(this.#object)) {
      if (!known.includes(key)) log.warn(`unknown option ${this.#place(key)} is ignored`);
    }
  }
}

/** A key as part of a JSON Pointer (RFC 6901). */
export function escapePointer(key) {
  return key.replaceAll('~', '~0').replaceAll('/', '~1');
}

function kindOf(value) {
  if (value === null || value === undefined) return 'null';
  if (Array.isArray(value)) return 'a list';
  return { boolean: 'a boolean', number: 'a number', string: 'a string', object: 'a mapping' }[typeof value];
}
