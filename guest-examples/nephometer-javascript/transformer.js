// What a transformer answers and throws, and the bridge from it to what the world exports.

import { Resource } from './batch.js';
import * as log from './log.js';
import { OptionErrors, OptionReader } from './options.js';

/** What `transform` returns if all rows pass as they are. */
export const UNCHANGED = { tag: 'unchanged' };

/** What `transform` returns if these rows pass as they are and the others are absorbed: row numbers, ascending. */
export function keep(rows) {
  return { tag: 'keep', val: rows };
}

/** This input cannot be worked on; the next one may. It is about a whole batch. */
export class Rejected extends Error {}

/** No input can be worked on until someone acts. */
export class Broken extends Error {}

/** The state cannot be saved, or is none that this component reads. */
export class StateError extends Error {}

/**
 * What the module of the component exports, for a class with these members:
 *
 * - `static description`: `{name, version, summary, optionsSchema, stateVersion, facts}`, of which the first three
 *   have to be there; the schema is an object;
 * - `constructor(options)`, an `OptionReader`; throws `OptionErrors`, by `options.check()`;
 * - `settings`: `{meters, metadata, facts}`, each of which may be left out;
 * - `transform(batch)`: gives `UNCHANGED`, `keep(rows)` or an answer; throws `Rejected` or `Broken`;
 * - and, if it remembers, `flush(now)`, which gives an answer or undefined, `save()`, which gives the whole state as
 *   bytes, and `restore(version, state)`. The last two throw `StateError`.
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
    transform: {
      transform: logged((batch) => {
        batch.resources = batch.resources.map((resource) => new Resource(resource));
        const outcome = ready().transform(batch);
        return outcome.tag ? outcome : { tag: 'replace', val: lowered(outcome) };
      }),
    },
    stateful: {
      flush: logged((now) => {
        const answer = ready().flush(now);
        return answer && lowered(answer);
      }),
      save: logged(() => ready().save()),
      restore: logged((version, state) => ready().restore(version, state)),
    },
  };
}

// Columns as typed arrays: the bindings copy those whole, and other arrays item by item, at 15 microseconds a row.
function lowered(answer) {
  return {
    meters: answer.meters,
    resources: answer.resources.map((one) => ({ ...one, metadata: one.metadataText })),
    origin: Uint32Array.from(answer.origin),
    meter: Uint32Array.from(answer.meter),
    resource: Uint32Array.from(answer.resource),
    time: BigUint64Array.from(answer.time),
    volume: Float64Array.from(answer.volume),
  };
}

/** Gives refusals the form that the bindings want, and has any other error logged before it ends the instance. */
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
