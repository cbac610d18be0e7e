// What the exports of all worlds share.

import * as log from './log.js';
import { OptionErrors } from './options.js';

/** A description as the bindings require it. */
export function describe({ optionsSchema, stateVersion = 0, facts = {}, ...rest }) {
  const schema = optionsSchema ? JSON.stringify(optionsSchema) : '';
  return { ...rest, optionsSchema: schema, stateVersion, facts: Object.entries(facts) };
}

/** Settings as the bindings require them. */
export function configured({ meters = [], metadata = [], texts = 'none', facts = {} } = {}) {
  return { meters, metadata, texts, facts: Object.entries(facts) };
}

/**
 * Converts errors to the form that the bindings require: errors in options, and those for which
 * `payloadOf` returns one. Any other error is logged before it ends the instance.
 */
export function logged(call, payloadOf) {
  return (...args) => {
    try {
      return call(...args);
    } catch (error) {
      const payload = error instanceof OptionErrors ? error.errors : payloadOf(error);
      if (payload !== undefined) throw { payload };
      log.error(`${error}, ${error.stack?.split('\n')[0]}`);
      throw error;
    }
  };
}
