// Draws series with their rollups, samples and gaps as SVG. Times are seconds, and shown as UTC.

import { element, round } from "/common.js";

const HEIGHT = 260;
// The lanes and the slider below the plot have the same edges in the stylesheet.
const EDGE = { left: 64, right: 12, top: 10, bottom: 26 };
const TIME_STEPS = [60, 300, 600, 1800, 3600, 10800, 21600, 43200, 86400, 172800, 604800, 1209600, 2678400];

export const utc = (time) => new Date(time * 1000).toISOString().replace("T", " ").slice(0, 19);

// Round numbers between two values, at most about `count`.
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step / 1e6; value += step) found.push(Math.abs(value) < step / 1e6 ? 0 : value);
  return found;
}

function timeTicks(from, to, count) {
  const step = TIME_STEPS.find((one) => (to - from) / one <= count) ?? TIME_STEPS.at(-1);
  const found = [];
  for (let time = Math.ceil(from / step) * step; time <= to; time += step) found.push(time);
  const text = (time) => (step < 86400 ? utc(time).slice(11, 16) : utc(time).slice(5, 10));
  return found.map((time) => [time, text(time)]);
}

// Points in a row without a gap between them.
function segments(points, gaps) {
  const found = [];
  let last = null;
  for (const point of points) {
    const broken = last && gaps.some((gap) => gap.from >= last.t - 0.5 && gap.to <= point.t + 0.5);
    if (!last || broken) found.push([]);
    found.at(-1).push(point);
    last = point;
  }
  return found;
}

function domain(series) {
  const values = series.flatMap((one) => [...one.rolls.flatMap((roll) => [roll.min ?? roll.v, roll.max ?? roll.v]), ...one.raw.map((point) => point.v)]);
  let low = values.reduce((least, value) => Math.min(least, value), Infinity);
  let high = values.reduce((most, value) => Math.max(most, value), -Infinity);
  if (!(low < high)) [low, high] = Number.isFinite(low) ? [low - Math.abs(low || 1) / 10, low + Math.abs(low || 1) / 10] : [0, 1];
  const room = (high - low) * 0.04;
  // A value that cannot be negative is not shown on a scale that is.
  return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
}

function drawn(one, number, x, y) {
  const at = (t, v) => `${x(t).toFixed(1)} ${y(v).toFixed(1)}`;
  const parts = [];
  for (const some of segments(one.rolls, one.gaps)) {
    const banded = some.filter((roll) => roll.min !== null);
    if (banded.length > 1) {
      const upper = banded.map((roll) => at(roll.t, roll.max));
      const lower = banded.map((roll) => at(roll.t, roll.min)).reverse();
      parts.push(element("path", { class: `band s${number}`, d: `M${[...upper, ...lower].join("L")}Z` }));
    }
    if (some.length > 1) parts.push(element("path", { class: `line s${number}`, d: `M${some.map((roll) => at(roll.t, roll.v)).join("L")}` }));
    else parts.push(element("circle", { class: `dot s${number}`, cx: x(some[0].t), cy: y(some[0].v), r: 3 }));
  }
  if (one.rolls.length === 0) {
    for (const some of segments(one.raw, one.gaps)) parts.push(element("path", { class: `line s${number}`, d: `M${some.map((point) => at(point.t, point.v)).join("L")}` }));
  }
  const radius = one.raw.length > 400 ? 1.2 : one.rolls.length ? 1.6 : 2.2;
  for (const point of one.raw) parts.push(element("circle", { class: `dot s${number}`, cx: x(point.t).toFixed(1), cy: y(point.v).toFixed(1), r: radius }));
  return element("g", { class: "series", "data-label": one.label }, ...parts);
}

function axes(frame, unit) {
  const { x, y, low, high, from, to, width } = frame;
  const bottom = HEIGHT - EDGE.bottom;
  const lines = ticks(low, high, 5).flatMap((value) => [
    element("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y(value), y2: y(value) }),
    element("text", { class: "label", x: EDGE.left - 6, y: y(value) + 4, "text-anchor": "end" }, short(value))]);
  const times = timeTicks(from, to, Math.max(2, Math.floor(width / 110))).flatMap(([time, label]) => [
    element("line", { class: "grid", x1: x(time), x2: x(time), y1: EDGE.top, y2: bottom }),
    element("text", { class: "label", x: Math.min(x(time), width - 24), y: HEIGHT - 8, "text-anchor": "middle" }, label)]);
  return element("g", { "data-unit": unit }, ...lines, ...times);
}

function short(value) {
  const size = Math.abs(value);
  const [factor, letter] = size >= 1e12 ? [1e12, "T"] : size >= 1e9 ? [1e9, "G"] : size >= 1e6 ? [1e6, "M"] : size >= 1e4 ? [1e3, "k"] : [1, ""];
  return `${round(value / factor, 4)}${letter}`;
}

// The values of all series nearest to a time.
function reading(series, time, unit) {
  const parts = series.map((one) => {
    const nearest = (points) => points.reduce((best, point) => (best && Math.abs(best.t - time) <= Math.abs(point.t - time) ? best : point), null);
    const gap = one.gaps.find(({ from, to }) => from < time && time < to);
    const [roll, point] = [nearest(one.rolls), nearest(one.raw)];
    const band = roll && roll.min !== null ? ` (${round(roll.min, 5)} to ${round(roll.max, 5)})` : "";
    const value = point && (!roll || Math.abs(point.t - time) < 1) ? `${round(point.v, 6)} ${unit}` : roll ? `${round(roll.v, 6)} ${unit}${band}` : "no value";
    return `${one.label}: ${gap ? gap.reason : value}`;
  });
  return `${utc(time)} UTC. ${parts.join("; ")}`;
}

function legend(series) {
  return element("ul", { class: "legend" }, ...series.map((one, number) => element("li", {},
    element("svg", { viewBox: "0 0 28 8", "aria-hidden": "true" }, element("path", { class: `line s${number}`, d: "M0 4L28 4" })), one.label)));
}

function lanes(series, from, to, onGap) {
  const rows = series.flatMap((one) => {
    const bars = one.gaps.map((gap) => {
      const label = `${one.label}: ${utc(gap.from)} to ${utc(gap.to)} UTC, ${gap.reason}`;
      const bar = element("button", { type: "button", class: `bar ${gap.declared ? "" : "partial"}`, "aria-label": label, title: label, onclick: () => onGap(label) });
      bar.style.left = `${((gap.from - from) / (to - from)) * 100}%`;
      bar.style.width = `${((gap.to - gap.from) / (to - from)) * 100}%`;
      return bar;
    });
    return bars.length ? [element("span", {}, one.label), element("div", { class: "lane" }, ...bars)] : [];
  });
  return rows.length ? element("div", { class: "timeline lanes" }, ...rows) : null;
}

// Draws series of { label, rolls: [{ t, v, min, max }], raw: [{ t, v }], gaps: [{ from, to, reason, declared }] }.
export function drawPlot(place, { series, from, to, unit, summary, onGap }) {
  const width = Math.max(280, place.clientWidth);
  const [low, high] = domain(series);
  const x = (time) => EDGE.left + ((time - from) / (to - from)) * (width - EDGE.left - EDGE.right);
  const y = (value) => HEIGHT - EDGE.bottom - ((value - low) / (high - low)) * (HEIGHT - EDGE.top - EDGE.bottom);
  const hatch = element("pattern", { id: "hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    element("rect", { class: "hatch", width: 2, height: 6 }));
  const gaps = series.flatMap((one) => one.gaps).map((gap) => element("rect", {
    class: "gap", x: x(gap.from), width: Math.max(1, x(gap.to) - x(gap.from)), y: EDGE.top, height: HEIGHT - EDGE.top - EDGE.bottom, fill: "url(#hatch)" }, element("title", {}, gap.reason)));
  const mark = element("line", { class: "mark", y1: EDGE.top, y2: HEIGHT - EDGE.bottom });
  const svg = element("svg", { class: "chart", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": summary },
    element("defs", {}, hatch), axes({ x, y, low, high, from, to, width }, unit), ...gaps, ...series.map((one, number) => drawn(one, number, x, y)), mark);
  const times = [...new Set(series.flatMap((one) => [...one.rolls, ...one.raw].map((point) => point.t)))].sort((a, b) => a - b);
  const output = element("p", { class: "reading" });
  const slider = element("input", { type: "range", min: 0, max: Math.max(0, times.length - 1), value: Math.max(0, times.length - 1), "aria-label": "Time of the values below the plot" });
  const point = () => {
    const time = times[Number(slider.value)];
    if (time === undefined) return;
    mark.setAttribute("x1", x(time));
    mark.setAttribute("x2", x(time));
    output.textContent = reading(series, time, unit);
    slider.setAttribute("aria-valuetext", output.textContent);
  };
  slider.addEventListener("input", point);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const time = from + (((event.clientX - box.left) / box.width) * width - EDGE.left) / (width - EDGE.left - EDGE.right) * (to - from);
    slider.value = times.reduce((best, one, at) => (Math.abs(one - time) < Math.abs(times[best] - time) ? at : best), 0);
    point();
  });
  point();
  const parts = [legend(series), svg, lanes(series, from, to, onGap), times.length ? element("div", { class: "cursor" }, slider) : null, output];
  place.replaceChildren(...parts.filter(Boolean));
}
