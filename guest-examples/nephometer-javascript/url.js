// Reads the options of a publisher, from its URL and its block.

import { OptionReader } from './options.js';

const PARTS = ['url', 'scheme', 'host', 'port', 'path', 'user', 'password', 'query'];
const YES = ['true', 'yes', '1', ''];
const NO = ['false', 'no', '0'];

/**
 * The options of a publisher: the parts of its URL merged with the keys of its block.
 *
 * An option may be set in the query of the URL and in the block. The query takes precedence: it
 * belongs to one place in `pipeline.yaml`, the block to all. What is absent is undefined.
 */
export class UrlOptions {
  #whole;
  #query;

  constructor(options) {
    this.#whole = new OptionReader(options);
    this.#query = this.#whole.object('query');
  }

  /** The host of the URL, without the brackets of an IPv6 address; an error if there is none. */
  host() {
    const host = this.#whole.text('host') ?? '';
    if (host === '') this.#whole.refuse('host', 'the URL has no host; expected SCHEME://HOST[:PORT]');
    return host.replace(/^\[|\]$/g, '');
  }

  /** The port of the URL, or the default. */
  port(otherwise) {
    const port = this.#whole.value('port') ?? otherwise;
    if (Number.isInteger(port) && port > 0 && port < 65536) return port;
    this.#whole.refuse('port', 'expected a number from 1 to 65535');
    return otherwise;
  }

  /** The path of the URL without its first slash, with `%` escapes decoded. */
  path() {
    const path = (this.#whole.text('path') ?? '').replace(/^\//, '');
    try {
      return decodeURIComponent(path);
    } catch {
      this.#whole.refuse('path', 'has malformed % escapes');
      return path;
    }
  }

  /** The user of the URL, else of the block. */
  user() {
    return this.#whole.text('user') || undefined;
  }

  /** A string of the query, else of the block. The last one counts if the query repeats it. */
  text(key) {
    return this.#ofQuery(key) ?? this.#whole.text(key);
  }

  /** A number of the query, else of the block. */
  number(key) {
    const text = this.#ofQuery(key);
    if (text === undefined) return this.#whole.number(key);
    const number = text.trim() === '' ? NaN : Number(text);
    if (Number.isFinite(number)) return number;
    this.#query.refuse(key, `is ${JSON.stringify(text)}; expected a number`);
    return undefined;
  }

  /**
   * A boolean of the query (`true`, `false`, or the name alone for true), else of the block; false if
   * absent.
   */
  flag(key) {
    const text = this.#ofQuery(key);
    if (text !== undefined) {
      if (![...YES, ...NO].includes(text)) {
        this.#query.refuse(key, `is ${JSON.stringify(text)}; expected true or false`);
      }
      return YES.includes(text);
    }
    const value = this.#whole.value(key);
    if (value !== undefined && typeof value !== 'boolean') this.#whole.refuse(key, 'expected true or false');
    return value === true;
  }

  /** A value of the block or of the URL as it is; the query is ignored. */
  value(key) {
    return this.#whole.value(key);
  }

  /** Adds an error for an option, in the query if it is set there. */
  refuse(key, reason) {
    (this.#query.value(key) === undefined ? this.#whole : this.#query).refuse(key, reason);
  }

  /** Throws all errors as `OptionErrors`, if there are any. */
  check() {
    this.#whole.check();
  }

  /** Logs a warning for each option that is not in `known`. The parts of the URL are always known. */
  warnOfUnknown(known) {
    this.#whole.warnOfUnknown([...PARTS, ...known]);
    this.#query.warnOfUnknown(known);
  }

  #ofQuery(key) {
    const value = this.#query.value(key);
    return Array.isArray(value) ? value.at(-1) : value;
  }
}
