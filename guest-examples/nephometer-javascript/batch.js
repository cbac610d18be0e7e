// Batches: columns of numbers over a dictionary of meters and resources.

/** The origin of a row that comes from no input row. */
export const NO_ORIGIN = 0xffffffff;

/** What is measured: `{name, unit, type}`; the type is "gauge", "delta" or "cumulative". */
export function meterKey({ name, unit, type }) {
  return JSON.stringify([name, unit, type]);
}

/** A metered thing with its owner. `metadata` is an object, parsed when it is first asked for. */
export class Resource {
  #metadata;
  #text;

  /** `metadata` may be an object or its JSON text. */
  constructor({ id, source, projectId, userId, metadata = {} }) {
    Object.assign(this, { id, source, projectId, userId });
    if (typeof metadata === 'string') this.#text = metadata;
    else this.#metadata = metadata;
  }

  get metadata() {
    return (this.#metadata ??= JSON.parse(this.#text));
  }

  get metadataText() {
    return (this.#text ??= JSON.stringify(this.#metadata));
  }
}

export function resourceKey(resource) {
  const { id, source, projectId, userId, metadataText } = resource;
  return JSON.stringify([id, source, projectId, userId, metadataText]);
}

/**
 * The rows of a batch, in order, their dictionary entries looked up: `number` is the origin of what
 * is made of a row, `time` is in nanoseconds since the epoch (a bigint), `monotonic` in nanoseconds
 * of a clock that never goes back, undefined where it is not known.
 */
export function* rows(batch) {
  for (let number = 0; number < batch.volume.length; number++) {
    const meterIndex = batch.meter[number];
    const resourceIndex = batch.resource[number];
    yield {
      number,
      meterIndex,
      resourceIndex,
      meter: batch.meters[meterIndex],
      resource: batch.resources[resourceIndex],
      time: batch.time[number],
      monotonic: batch.monotonic[number] || undefined,
      volume: batch.volume[number],
    };
  }
}
