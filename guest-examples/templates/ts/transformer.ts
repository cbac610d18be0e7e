// `{{name}}`: multiplies every volume by the option `factor`. It counts rows and emits the count at
// the end of each polling cycle. The count is the state, which survives reloads.

import {
  type Batch, type OptionReader, type Settings, type Transformer, AnswerBuilder, Resource, StateError, rows,
} from './nephometer/nephometer.js';

const schema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  type: 'object',
  additionalProperties: false,
  properties: {
    factor: { description: 'What every volume is multiplied by.', type: 'number', default: 1 },
  },
};

export class Scaler implements Transformer {
  static description = {
    name: '{{name}}',
    version: '0.1.0',
    summary: 'scales volumes',
    optionsSchema: schema,
    stateVersion: 1,
  };

  // All meters; `{ meters: [...] }` may name some.
  settings: Settings = {};
  rows = 0;
  readonly factor: number;

  constructor(options: OptionReader) {
    this.factor = options.number('factor') ?? 1;
    if (this.factor === 0) options.refuse('factor', 'is 0, which would make all volumes 0');
    options.check();
  }

  transform(batch: Batch) {
    const answer = new AnswerBuilder(batch);
    for (const row of rows(batch)) {
      answer.derive(row, row.meterNumber, row.volume * this.factor);
      this.rows += 1;
    }
    return answer.finish();
  }

  flush(now: bigint) {
    const answer = new AnswerBuilder();
    const meter = answer.meter({ name: '{{name}}.rows', unit: 'row', type: 'cumulative' });
    const resource = answer.resource(new Resource({ id: '{{name}}', source: 'openstack' }));
    answer.create(meter, resource, now, this.rows);
    return answer.finish();
  }

  save() {
    return new TextEncoder().encode(JSON.stringify({ rows: this.rows }));
  }

  restore(version: number, state: Uint8Array) {
    if (version !== 1) throw new StateError(`state of version ${version}; this component reads 1`);
    this.rows = JSON.parse(new TextDecoder().decode(state)).rows;
  }
}
