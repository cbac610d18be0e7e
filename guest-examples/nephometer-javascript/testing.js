// Batches from samples, and samples from answers, for tests without a host. Samples are objects in the keys that
// `nephometer component run` reads and prints.

import { NO_ORIGIN, Resource, meterKey, resourceKey } from './batch.js';

/** Nanoseconds since the epoch of an ISO 8601 timestamp with its offset, to the millisecond. */
export function nanoseconds(timestamp) {
  return BigInt(Date.parse(timestamp)) * 1_000_000n;
}

/** A batch with one row per sample. */
export function batchOf(samples) {
  const batch = { meters: [], resources: [], meter: [], resource: [], time: [], monotonic: [], volume: [], gone: [] };
  for (const sample of samples) {
    const { name, unit, type } = sample;
    const resource = new Resource({
      id: sample.resource_id,
      source: sample.source ?? 'openstack',
      projectId: sample.project_id,
      userId: sample.user_id,
      metadata: sample.resource_metadata,
    });
    batch.meter.push(number(batch.meters, { name, unit, type }, meterKey));
    batch.resource.push(number(batch.resources, resource, resourceKey));
    batch.time.push(nanoseconds(sample.timestamp));
    batch.monotonic.push(0n);
    batch.volume.push(sample.volume);
  }
  return batch;
}

function number(entries, wanted, key) {
  const at = entries.findIndex((one) => key(one) === key(wanted));
  return at < 0 ? entries.push(wanted) - 1 : at;
}

/** The samples that an outcome stands for; `time` is in nanoseconds, `origin` is undefined for rows that come from none. */
export function samplesOf(outcome, batch) {
  if (!outcome) return [];
  let answer = outcome;
  if (outcome.tag) {
    const origin = outcome.tag === 'keep' ? outcome.val : [...batch.volume.keys()];
    const pick = (column) => origin.map((row) => column[row]);
    const [meter, resource, time, volume] = [batch.meter, batch.resource, batch.time, batch.volume].map(pick);
    answer = { meters: [], resources: [], origin, meter, resource, time, volume };
  }
  const meters = [...(batch?.meters ?? []), ...answer.meters];
  const resources = [...(batch?.resources ?? []), ...answer.resources];
  const columns = [answer.origin, answer.meter, answer.resource, answer.time, answer.volume];
  const lengths = new Set(columns.map((column) => column.length));
  if (lengths.size !== 1) throw new Error(`columns of unequal length: ${[...lengths]}`);
  return answer.origin.map((origin, row) => {
    const resource = resources[answer.resource[row]];
    return {
      ...meters[answer.meter[row]],
      resource_id: resource.id,
      source: resource.source,
      project_id: resource.projectId,
      user_id: resource.userId,
      resource_metadata: resource.metadata,
      time: answer.time[row],
      volume: answer.volume[row],
      origin: origin === NO_ORIGIN ? undefined : origin,
    };
  });
}
