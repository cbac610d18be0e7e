// Requests over `wasi:http`. It works in a component of the world `http-publisher` only.
//
// Resources must be released child before parent, as `wasi:io` requires: a pollable before its stream, a
// stream before its body.

import { subscribeDuration } from 'wasi:clocks/monotonic-clock@0.2.12';
import { handle } from 'wasi:http/outgoing-handler@0.2.12';
import { Fields, OutgoingBody, OutgoingRequest, RequestOptions } from 'wasi:http/types@0.2.12';
import { poll } from 'wasi:io/poll@0.2.12';

import { Broken, RetryLater } from './refusals.js';

const NOT_GRANTED = ['destination-IP-prohibited', 'HTTP-request-denied'];
const INVALID = [
  'HTTP-request-method-invalid',
  'HTTP-request-URI-invalid',
  'HTTP-request-URI-too-long',
  'HTTP-request-header-size',
  'HTTP-request-header-section-size',
  'configuration-error',
];
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH'];

/** Sends a request as `http.send` describes it. */
export function sendOverWasi(request) {
  const timeout = BigInt(Math.round(request.timeout * 1e9));
  return releasing(subscribeDuration(timeout), (deadline) => {
    const outgoing = prepare(request);
    const body = outgoing.body();
    const options = new RequestOptions();
    options.setConnectTimeout(timeout);
    options.setFirstByteTimeout(timeout);
    options.setBetweenBytesTimeout(timeout);
    // The body is read from here on, so it must not be written earlier.
    const future = attempt(() => handle(outgoing, options), failure);
    return releasing(future, () => {
      write(body, request.body, deadline);
      return releasing(responseOf(future, deadline), (response) => ({
        status: response.status(),
        headers: releasing(response.headers(), headersOf),
        body: read(response, request.readAtMost, deadline),
      }));
    });
  });
}

function prepare({ method, tls, authority, path, headers, body }) {
  const encoder = new TextEncoder();
  const entries = Object.entries({ ...headers, 'content-length': String(body.length) });
  const fields = attempt(
    () => Fields.fromList(entries.map(([name, value]) => [name, encoder.encode(value)])),
    (code) => new Broken(`invalid header: ${code?.tag}`),
  );
  const outgoing = new OutgoingRequest(fields);
  attempt(
    () => {
      outgoing.setMethod(METHODS.includes(method) ? { tag: method.toLowerCase() } : { tag: 'other', val: method });
      outgoing.setScheme({ tag: tls ? 'HTTPS' : 'HTTP' });
      outgoing.setAuthority(authority);
      outgoing.setPathWithQuery(path);
    },
    () => new Broken(`${JSON.stringify(authority)} is not HOST[:PORT]`),
  );
  return outgoing;
}

// Writes the body. A stream that closes early is not an error here: a server may respond before it has
// read everything, and otherwise waiting for the response returns a more precise error.
function write(body, bytes, deadline) {
  try {
    releasing(body.write(), (stream) => {
      for (let rest = bytes; rest.length > 0; ) {
        const length = Math.min(Number(stream.checkWrite()), rest.length);
        if (length === 0) wait(stream, deadline);
        else stream.write(rest.subarray(0, length));
        rest = rest.subarray(length);
      }
      stream.flush();
      while (stream.checkWrite() === 0n) wait(stream, deadline);
    });
    OutgoingBody.finish(body);
  } catch (error) {
    if (error instanceof RetryLater) throw error;
  }
}

function responseOf(future, deadline) {
  let result = future.get();
  for (; result === undefined; result = future.get()) wait(future, deadline);
  // The outer result is an error only if the response was taken before.
  if (result.tag === 'ok' && result.val.tag === 'ok') return result.val.val;
  throw failure(result.val?.val);
}

function headersOf(fields) {
  const decoder = new TextDecoder();
  return Object.fromEntries(fields.entries().map(([name, value]) => [name.toLowerCase(), decoder.decode(value)]));
}

// The first bytes of the body: of one that ends early or is late, what there is.
function read(response, atMost, deadline) {
  const bytes = [];
  try {
    releasing(response.consume(), (body) =>
      releasing(body.stream(), (stream) => {
        while (bytes.length < atMost) {
          const chunk = stream.read(BigInt(atMost - bytes.length));
          if (chunk.length === 0) wait(stream, deadline);
          bytes.push(...chunk);
        }
      }),
    );
  } catch {
    // The stream has ended.
  }
  return Uint8Array.from(bytes);
}

function wait(on, deadline) {
  releasing(on.subscribe(), (ready) => {
    if (!poll([ready, deadline]).includes(0)) throw new RetryLater('timed out');
  });
}

/** Releases a resource after its use, in any case. */
function releasing(resource, use) {
  try {
    return use(resource);
  } finally {
    resource[Symbol.dispose ?? Symbol.for('dispose')]();
  }
}

function attempt(call, toError) {
  try {
    return call();
  } catch (error) {
    throw error instanceof Error && !('payload' in error) ? error : toError(error.payload ?? error);
  }
}

// Refused requests need an operator, failed ones may succeed later.
function failure(code) {
  const tag = code?.tag ?? String(code);
  if (NOT_GRANTED.includes(tag)) return new Broken('the host does not grant this address to the component');
  const words = tag === 'internal-error' && code.val ? code.val : tag.replaceAll('-', ' ');
  if (INVALID.includes(tag)) return new Broken(words);
  return new RetryLater(tag.startsWith('DNS') ? 'host name not found' : words);
}
