// What a transformer returns and throws, and the exports of the world, which call it.

import { Resource } from './batch.js';
import { configured, describe, logged } from './bridge.js';
import { dictionary } from './dictionary.js';
import * as log from './log.js';
import { OptionReader } from './options.js';
import { Broken, Rejected, StateError } from './refusals.js';

/** What `transform` returns for all rows, as they are. */
export const UNCHANGED = { tag: 'unchanged' };

/**
 * What `transform` returns for these rows, as they are: row numbers, ascending. All others are
 * dropped.
 */
export function keep(rows) {
  return { tag: 'keep', val: Uint32Array.from(rows) };
}

/**
 * Returns the exports of the component, for a class with these members:
 *
 * - `static description`: `{name, version, summary, optionsSchema, stateVersion, facts}`, of which the first three
 *   have to be there; the schema is an object;
 * - `constructor(options)`, an `OptionReader`; throws `OptionErrors`, by `options.check()`;
 * - `settings`: `{meters, metadata, facts}`, each of which may be left out;
 * - `transform(batch)`: returns `UNCHANGED`, `keep(rows)` or an answer; throws `Rejected` or
 *   `Broken`;
 * - and, with state, `flush(now)`, which returns an answer or undefined, `save()`, which returns
 *   the whole state as bytes, and `restore(version, state)`. The last two throw `StateError`.
 *
 * Any other error ends the instance; its text is logged. `write` is the function of that name of
 * `nephometer:metering/log`, which only the module of the component can import.
 */
export function exported(Transformer, write) {
  log.sendTo(write);
  // One instance of a component serves one place in a pipeline: there is one transformer.
  let transformer;
  const ready = () => {
    if (!transformer) throw new Broken('called before it was configured');
    dictionary.begin();
    return transformer;
  };
  return {
    component: {
      describe: () => describe(Transformer.description),
      configure: logged((options) => {
        transformer = new Transformer(new OptionReader(JSON.parse(options)));
        return configured(transformer.settings);
      }, refusal),
    },
    dictionary: {
      learn: logged((changes) => {
        const resources = changes.resources.map(({ number, entry }) => ({ number, entry: new Resource(entry) }));
        dictionary.learn({ ...changes, resources });
      }, refusal),
    },
    transform: {
      transform: logged((columns) => {
        const { meters, resources } = dictionary;
        const exact = new Map(columns.exact.map(({ row, value }) => [row, value]));
        return withNewEntries(ready().transform({ ...columns, meters, resources, exact }));
      }, refusal),
    },
    stateful: {
      flush: logged((now) => {
        const answer = ready().flush(now);
        return answer && withNewEntries(answer).val;
      }, refusal),
      save: logged(() => ready().save(), refusal),
      restore: logged((version, state) => ready().restore(version, state), refusal),
    },
  };
}

// Adds the new entries to an outcome.
function withNewEntries({ tag, val }) {
  if (tag === 'derive') return { tag, val: { ...val, meters: dictionary.ownMeters.takeFresh() } };
  if (tag !== 'replace') return { tag, val };
  const meters = dictionary.ownMeters.takeFresh();
  const resources = dictionary.ownResources.takeFresh();
  return { tag, val: { ...val, meters, resources } };
}

// A refusal in the form that the bindings require.
function refusal(error) {
  if (error instanceof StateError) return error.message;
  if (error instanceof Rejected) return { tag: 'rejected', val: error.message };
  return error instanceof Broken ? { tag: 'broken', val: error.message } : undefined;
}
