// `tariff`: the cost of processor time, by project and hour of the day.
//
// Every `cpu` sample of type delta becomes a gauge `cost`, priced by its project and the UTC hour of
// its time. A sample of a project without prices is dropped and logged; the host counts it as
// absorbed. All other samples pass. Each flush emits a `cost.total` per project, the sum of all its
// costs. The state is JSON, in the same format as in the other languages.

import {
  AnswerBuilder,
  Complaint,
  PerEntry,
  Resource,
  StateError,
  UNCHANGED,
  rows,
} from '../nephometer-javascript/nephometer.js';
import { readPrices } from './prices.js';
import { schema } from './schema.js';

const STATE_VERSION = 1;
const HOUR = 3_600_000_000_000n; // nanoseconds
const PER_HOUR = Number(HOUR);

export class Tariff {
  static description = {
    name: 'tariff',
    version: '0.1.0',
    summary: 'cost of processor time',
    optionsSchema: schema,
    stateVersion: STATE_VERSION,
  };

  settings = { meters: ['cpu'] };
  #currency;
  #prices;
  #rates = new PerEntry((resource) => this.#rateOf(resource));
  #totals = new Map();

  constructor(options) {
    this.#currency = options.text('currency');
    this.#prices = readPrices(options.object('prices'));
    options.check();
  }

  transform(batch) {
    const priced = batch.meters.map((meter) => meter?.name === 'cpu' && meter.type === 'delta');
    if (!priced.includes(true)) return UNCHANGED;
    const refused = new Complaint('warn', 'dropping samples without a cost');
    const answer = new AnswerBuilder(batch);
    const costMeter = answer.meter({ name: 'cost', unit: this.#currency, type: 'gauge' });
    let begin = 0n;
    let end = 0n;
    let hour;
    for (const row of rows(batch)) {
      if (!priced[row.meterNumber]) {
        answer.keep(row);
        continue;
      }
      const rate = this.#rates.get(row.resource);
      if (!rate) {
        const project = row.resource.projectId;
        refused.add(row, project ? `project "${project}" has no prices` : 'no project');
        continue;
      }
      // Most rows have the hour of the row before, and dividing such large integers is slow.
      const { time } = row;
      if (time < begin || time >= end) {
        begin = time - (time % HOUR);
        end = begin + HOUR;
        hour = Number((begin / HOUR) % 24n);
      }
      const cost = (row.volume / PER_HOUR) * rate.prices[hour];
      // A cost that is not finite would invalidate the whole answer, and totals never decrease.
      if (!(cost >= 0 && cost < Infinity)) {
        refused.add(row, `volume is ${row.volume}`);
        continue;
      }
      rate.total ??= this.#totalOf(row.resource);
      rate.total.add(cost);
      answer.derive(row, costMeter, cost);
    }
    refused.write();
    return answer.finish();
  }

  /** The prices of a resource by hour, and after its first cost the total of its project. */
  #rateOf({ projectId }) {
    const prices = this.#prices.get(projectId);
    return prices && { prices, total: undefined };
  }

  #totalOf({ projectId, source }) {
    if (!this.#totals.has(projectId)) this.#totals.set(projectId, new Total(source));
    return this.#totals.get(projectId);
  }

  flush(now) {
    if (this.#totals.size === 0) return undefined;
    const answer = new AnswerBuilder();
    const meter = answer.meter({ name: 'cost.total', unit: this.#currency, type: 'cumulative' });
    for (const [project, total] of this.#sorted()) {
      const resource = answer.resource(new Resource({ id: project, source: total.source, projectId: project }));
      answer.create(meter, resource, now, total.value());
    }
    return answer.finish();
  }

  save() {
    // A list, because an object would put keys that look like numbers first.
    const totals = this.#sorted().map(([project, one]) => [project, one.source, one.sum, one.rest]);
    return new TextEncoder().encode(JSON.stringify({ currency: this.#currency, totals }));
  }

  restore(version, bytes) {
    if (version !== STATE_VERSION) {
      throw new StateError(`state of version ${version}; this component reads ${STATE_VERSION}`);
    }
    const { currency, totals } = parsed(bytes);
    if (currency !== this.#currency) {
      throw new StateError(`the totals are in ${currency}, the options specify ${this.#currency}`);
    }
    this.#totals = totals;
  }

  #sorted() {
    return [...this.#totals].sort(([one], [other]) => (one < other ? -1 : 1));
  }
}

function parsed(bytes) {
  try {
    const { currency, totals } = JSON.parse(new TextDecoder().decode(bytes));
    return { currency, totals: new Map(totals.map(([project, ...fields]) => [project, Total.of(...fields)])) };
  } catch {
    throw new StateError('the state is damaged');
  }
}

/** A compensated sum (Neumaier): `rest` holds the rounding errors, so small costs are not lost. */
class Total {
  constructor(source, sum = 0, rest = 0) {
    Object.assign(this, { source, sum, rest });
  }

  static of(source, sum, rest) {
    if (![sum, rest].every(Number.isFinite)) throw new TypeError('no numbers');
    return new Total(source, sum, rest);
  }

  add(cost) {
    const old = this.sum;
    const sum = old + cost;
    this.rest += old >= cost ? old - sum + cost : cost - sum + old;
    this.sum = sum;
  }

  value() {
    return this.sum + this.rest;
  }
}
