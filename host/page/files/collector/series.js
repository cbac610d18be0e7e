// Makes what is plotted of a meter of a resource: points, rates, and where samples are missing.

import { seconds } from "/common.js";

// Samples further apart than this many usual distances have a gap between them.
const GAP = 1.75;

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

// Where nothing is stored though there should be something: the usual distance of samples is the median.
function missing(pieces, { from, to, since }) {
  const within = pieces.filter((one) => one.count > 1).map((one) => (one.end - one.start) / (one.count - 1));
  const between = pieces.slice(1).map((one, at) => one.start - pieces[at].end);
  const steps = (within.length ? within : between).filter((step) => step > 0);
  if (steps.length === 0) return [];
  const most = median(steps) * GAP;
  const edges = [
    // Before its first sample a resource was not metered.
    ...(since < from - 0.5 ? [{ end: from }] : []),
    ...pieces,
    { start: to },
  ];
  return edges.slice(1).map((one, at) => ({ from: edges[at].end, to: one.start })).filter((gap) => gap.to - gap.from > most);
}

// The reason of a gap: what its agent has sent or declared for this time, otherwise that nothing is stored.
function explained(gap, declared) {
  const fitting = declared.filter((drop) => seconds(drop.end) >= gap.from && seconds(drop.start) <= gap.to);
  if (fitting.length === 0) return { ...gap, declared: false, reason: "no sample stored" };
  const reasons = [...new Set(fitting.map((drop) => drop.reason))].join(", ");
  if (fitting.every((one) => one.kind === "not_read")) return { ...gap, declared: true, reason: `not read by the agent, ${reasons}` };
  const counts = fitting.filter((drop) => drop.samples !== null);
  const lost = counts.reduce((sum, drop) => sum + drop.samples, 0);
  const text = counts.length ? `: ${lost.toLocaleString("en")} samples of its host` : "";
  return { ...gap, declared: true, reason: `dropped by the agent, ${reasons}${text}` };
}

// A counter by its rate. A decrease is a new start of the counter.
function rates(points, value, time) {
  return points.slice(1).map((point, at) => {
    const before = points[at];
    return { ...point, min: null, max: null, since: time(before), v: (value(point) - value(before)) / (time(point) - time(before)) };
  }).filter((point) => point.v >= 0 && Number.isFinite(point.v));
}

// The series of a resource. `samples` is null if there are too many to be shown one by one.
export function seriesOf({ label, resource, meter, statistics, samples, declared, since }, { from, to, asRate }) {
  const rolls = statistics.map((one) => ({
    label, resource, start: seconds(one.period_start), end: seconds(one.period_end), first: seconds(one.duration_start), last: seconds(one.duration_end),
    t: (seconds(one.duration_start) + seconds(one.duration_end)) / 2, v: one.avg, min: one.min, max: one.max, sum: one.sum, count: one.count,
  })).sort((a, b) => a.start - b.start);
  const raw = (samples ?? []).filter((one) => one.volume !== null)
    .map((one) => ({ label, resource, t: seconds(one.timestamp), v: one.volume })).sort((a, b) => a.t - b.t);
  const pieces = samples ? raw.map(({ t }) => ({ start: t, end: t, count: 1 })) : rolls.map(({ first, last, count }) => ({ start: first, end: last, count }));
  const gaps = missing(pieces, { from, to, since }).map((gap) => explained(gap, declared));
  const shown = { label, resource, meter, gaps, rolls, raw };
  if (!asRate) return shown;
  const whole = (point) => !gaps.some((gap) => gap.from >= point.since - 0.5 && gap.to <= (point.last ?? point.t) + 0.5);
  return {
    ...shown,
    // The largest value of a counter is its last one.
    rolls: rates(rolls, (roll) => roll.max, (roll) => roll.last).filter(whole),
    raw: rates(raw, (point) => point.v, (point) => point.t).filter(whole),
  };
}
