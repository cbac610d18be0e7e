// HTTP requests for publishers, one at a time.
//
// `Receiver` reads where to send from the URL of the publisher, and sends. In a component, wasi_http.js
// sends the requests; tests set a function of their own with `sendWith`.

import { Broken, Rejected, RetryLater } from './refusals.js';

// In seconds.
const DEFAULT_TIMEOUT = 5;
const MAX_TIMEOUT = 300;
// Longer delays than a day are cut.
const MAX_DELAY_MS = 24 * 3600 * 1000;
// The body of a response is cut after this many bytes, unless the request sets another limit.
const READ_AT_MOST = 2048;
const DATE = /^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/;

/** The options that `Receiver` reads: properties of a JSON Schema. */
export const OPTIONS = {
  tls: { description: 'HTTPS instead of HTTP.', type: ['boolean', 'null'], default: false },
  timeout: {
    description: 'Time limit of one request in seconds. Keep it below limits.wall, which ends the call.',
    type: ['number', 'null'],
    exclusiveMinimum: 0,
    maximum: MAX_TIMEOUT,
    default: DEFAULT_TIMEOUT,
  },
  user: {
    description: 'The user for basic authentication; the user of the URL takes precedence.',
    type: ['string', 'null'],
  },
  password: { description: 'The password of the user.', type: ['string', 'null'] },
};

let transport = () => {
  throw new Broken('requests are sent in a component only; tests call http.sendWith');
};

/**
 * Sets the function that sends requests. It throws `RetryLater` if there is no response, and `Broken` if
 * the host refuses.
 */
export function sendWith(send) {
  transport = send;
}

/**
 * Sends a request, `{method, tls, authority, path, headers, body, timeout, readAtMost}`, and returns the
 * response, `{status, headers, body}`, whatever its status. Bodies are bytes, the time limit is in
 * seconds, headers are an object, with names in lower case in responses.
 */
export function send(request) {
  return transport({ readAtMost: READ_AT_MOST, ...request });
}

/** The receiver that the URL of a publisher names: host, port and path, and the options in `OPTIONS`. */
export class Receiver {
  #headers = {};

  constructor(options) {
    this.tls = options.flag('tls');
    const host = options.host();
    const port = options.port(this.tls ? 443 : 80);
    this.authority = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
    // As it is written, with its escapes.
    this.path = options.value('path') || '/';
    if (!/^[!-~]*$/.test(this.path)) {
      options.refuse('path', 'contains characters that must be escaped, such as %20 for a space');
    }
    this.timeout = options.number('timeout') ?? DEFAULT_TIMEOUT;
    if (!(this.timeout > 0 && this.timeout <= MAX_TIMEOUT)) {
      options.refuse('timeout', `expected more than 0 and at most ${MAX_TIMEOUT} seconds`);
    }
    const user = options.user();
    if (user) this.#headers.authorization = `Basic ${base64(`${user}:${options.value('password') ?? ''}`)}`;
  }

  /**
   * Posts a body, a string or bytes, and returns the response if its status is 2xx.
   *
   * Throws `RetryLater` for 408, 429, 5xx and no response, `Broken` for 3xx, 401, 403 and an address
   * that is not granted, and `Rejected` for any other 4xx.
   */
  post(body, headers = {}) {
    const bytes = typeof body === 'string' ? new TextEncoder().encode(body) : body;
    const { tls, authority, path, timeout } = this;
    const all = { ...this.#headers, ...headers };
    return accepted(send({ method: 'POST', tls, authority, path, headers: all, body: bytes, timeout }));
  }
}

/** Returns the response if its status is 2xx; otherwise throws what it means for the envelope. */
export function accepted(response) {
  const { status, body = new Uint8Array() } = response;
  if (status >= 200 && status <= 299) return response;
  const line = new TextDecoder().decode(body).trim().split('\n')[0].slice(0, 300);
  const reason = `the receiver returned status ${status}${line && `: ${line}`}`;
  // Samples go only where the operator configured.
  if (status >= 300 && status <= 399) throw new Broken(`${reason} (redirects are not followed)`);
  if (status === 401 || status === 403) throw new Broken(reason);
  if (status === 408 || status === 429 || status >= 500) throw new RetryLater(reason, retryAfter(response));
  throw new Rejected(reason);
}

/**
 * The delay in milliseconds that the header `retry-after` requests, at most a day. A date is compared
 * with the header `date` of the same response, so the local clock does not matter.
 */
export function retryAfter({ headers = {} }) {
  const value = (headers['retry-after'] ?? '').trim();
  if (/^\d+$/.test(value)) return Math.min(Number(value) * 1000, MAX_DELAY_MS);
  const date = (text) => (DATE.test(text) ? Date.parse(text) : NaN);
  const delay = date(value) - date((headers.date ?? '').trim());
  return Number.isNaN(delay) ? undefined : Math.min(Math.max(delay, 0), MAX_DELAY_MS);
}

function base64(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}
