// Reads options and collects errors.

import * as log from './log.js';

/** All errors in the options: a list of `{pointer, reason}`. */
export class OptionErrors extends Error {
  constructor(errors) {
    super(errors.map(({ pointer, reason }) => `${pointer}: ${reason}`).join('; '));
    this.errors = errors;
  }
}

/**
 * One mapping of the options.
 *
 * All readers of one set of options share a list of errors, so that `check` reports all of them at
 * once. A key that is absent or null is undefined; a key of another type than expected is an error,
 * and undefined.
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

  /** Adds an error for a key, or for a value below it: `refuse('bands', 3, 'is empty')`. */
  refuse(...keysAndReason) {
    const reason = keysAndReason.pop();
    this.#errors.push({ pointer: this.#place(...keysAndReason), reason });
  }

  /** Throws all errors, if there are any. */
  check() {
    if (this.#errors.length > 0) throw new OptionErrors(this.#errors);
  }

  /** The keys that have a value. */
  keys() {
    return Object.keys(this.#object).filter((key) => this.value(key) !== undefined);
  }

  /** The value of a key as it is. */
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

  /** The string under a key. */
  text(key) {
    return this.#typed(key, 'a string');
  }

  /** The number under a key; true and false are not numbers. */
  number(key) {
    return this.#typed(key, 'a number');
  }

  #typed(key, wanted) {
    const value = this.value(key);
    if (value === undefined || kindOf(value) === wanted) return value;
    this.refuse(key, `is ${kindOf(value)}; expected ${wanted}`);
    return undefined;
  }

  /** Logs a warning for each unknown key. */
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
