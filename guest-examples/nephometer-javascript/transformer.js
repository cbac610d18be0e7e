// What a transformer returns and throws, and the exports of the world, which call it.

import { Resource } from './batch.js';
import { dictionary } from './dictionary.js';
import * as log from './log.js';
import { OptionErrors, OptionReader } from './options.js';

/** What `transform` returns for all rows, as they are. */
export const UNCHANGED = { tag: 'unchanged' };

/**
 * What `transform` returns for these rows, as they are: row numbers, ascending. All others are
 * dropped.
 */
export function keep(rows) {
  return { tag: 'keep', val: Uint32Array.from(rows) };
}

/** This batch cannot be transformed; the next one may. All of its samples are dropped. */
export class Rejected extends Error {}

/** No batch can be transformed until an operator acts. */
export class Broken extends Error {}

/** The state cannot be saved or restored. */
export class StateError extends Error {}

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
  let configured;
  const ready = () => {
    if (!configured) throw new Broken('called before it was configured');
    dictionary.begin();
    return configured;
  };
  return {
    component: {
      describe() {
        const { optionsSchema, stateVersion = 0, facts = {}, ...rest } = Transformer.description;
        const schema = optionsSchema ? JSON.stringify(optionsSchema) : '';
        return { ...rest, optionsSchema: schema, stateVersion, facts: Object.entries(facts) };
      },
      configure: logged((options) => {
        configured = new Transformer(new OptionReader(JSON.parse(options)));
        const { meters = [], metadata = [], facts = {} } = configured.settings ?? {};
        return { meters, metadata, texts: 'none', facts: Object.entries(facts) };
      }),
    },
    dictionary: {
      learn: logged((changes) => {
        const resources = changes.resources.map(({ number, entry }) => ({ number, entry: new Resource(entry) }));
        dictionary.learn({ ...changes, resources });
      }),
    },
    transform: {
      transform: logged((columns) => {
        const { meters, resources } = dictionary;
        const exact = new Map(columns.exact.map(({ row, value }) => [row, value]));
        return withNewEntries(ready().transform({ ...columns, meters, resources, exact }));
      }),
    },
    stateful: {
      flush: logged((now) => {
        const answer = ready().flush(now);
        return answer && withNewEntries(answer).val;
      }),
      save: logged(() => ready().save()),
      restore: logged((version, state) => ready().restore(version, state)),
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

// Converts refusals to the form that the bindings require, and logs any other error before it ends
// the instance.
function logged(call) {
  return (...args) => {
    try {
      return call(...args);
    } catch (error) {
      if (error instanceof OptionErrors) throw { payload: error.errors };
      if (error instanceof StateError) throw { payload: error.message };
      if (error instanceof Rejected) throw { payload: { tag: 'rejected', val: error.message } };
      if (error instanceof Broken) throw { payload: { tag: 'broken', val: error.message } };
      log.error(`${error}, ${error.stack?.split('\n')[0]}`);
      throw error;
    }
  };
}
