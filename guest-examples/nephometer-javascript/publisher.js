// The exports of the worlds of publishers, which call it.

import { Resource } from './batch.js';
import { configured, describe, logged } from './bridge.js';
import * as log from './log.js';
import { Broken, Rejected, RetryLater } from './refusals.js';
import { UrlOptions } from './url.js';

/**
 * Returns the exports of the component, for a class with these members:
 *
 * - `static description`: as of a transformer;
 * - `constructor(options)`, `UrlOptions`; throws `OptionErrors`, by `options.check()`;
 * - `settings`: `{meters, metadata, texts, facts}`, each of which may be left out; the texts that
 *   come with each row are 'none', 'samples' (JSON with Ceilometer's keys) or 'messages';
 * - `publish(delivery)`, `{id, attempt, batch, texts}`: to return acknowledges the envelope; throws
 *   `RetryLater`, `Rejected` (this envelope can never be delivered) or `Broken` (none can, until an
 *   operator acts). `rows` iterates over the batch.
 *
 * Any other error ends the instance; its text is logged. `write` is the function of that name of
 * `nephometer:metering/log`, which only the module of the component can import.
 */
export function exportedPublisher(Publisher, write) {
  log.sendTo(write);
  let publisher;
  return {
    component: {
      describe: () => describe(Publisher.description),
      configure: logged((options) => {
        publisher = new Publisher(new UrlOptions(JSON.parse(options)));
        return configured(publisher.settings);
      }, failure),
    },
    publish: {
      publish: logged(({ id, attempt, input, texts }) => {
        if (!publisher) throw new Broken('called before it was configured');
        const exact = new Map(input.exact.map(({ row, value }) => [row, value]));
        const resources = input.resources.map((one) => new Resource(one));
        publisher.publish({ id, attempt, batch: { ...input, resources, exact }, texts });
      }, failure),
    },
  };
}

function failure(error) {
  if (error instanceof RetryLater) {
    return { tag: 'retryable', val: { reason: error.message, afterMs: toDelay(error.afterMs) } };
  }
  if (error instanceof Rejected) return { tag: 'permanent', val: error.message };
  return error instanceof Broken ? { tag: 'broken', val: error.message } : undefined;
}

function toDelay(milliseconds) {
  return milliseconds === undefined ? undefined : BigInt(Math.max(0, Math.round(milliseconds)));
}
