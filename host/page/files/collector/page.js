// The collector's page: samples of chosen resources as a plot, a table and files; audits; and the agents. It changes nothing.

import { $, badge, element, keyed, save, show, text } from "/common.js";
import { Refusal, ask, conditions, csv, everySample, gaps, iso, samples, statistics, token } from "/ask.js";
import { drawPlot, utc } from "/plot.js";
import { seriesOf } from "/series.js";
import { startFleet } from "/fleet.js";
import { offerAudits } from "/audit.js";

// Resources in one plot, and in the list of them.
const PLOTTED = 6;
const LISTED = 200;
// Samples of a resource that are shown one by one.
const RAW = 2000;
const ROWS = 500;
const METERS = 5000;
const NAMES = 1000;
// The shortest rollups with at most this many in a plot.
const PERIODS = [60, 300, 600, 1800, 3600, 86400];
const MOST_PERIODS = 800;

let meters = [];
let resources = []; // Those with samples of the meter in the chosen time.
let names = new Map();
let chosen = new Set();
let shown = null; // What is plotted.
let turn = 0; // Answers to an earlier choice are not shown.

const now = () => Math.ceil(Date.now() / 1000);
const meter = () => meters[Number($("meter").value)];
// A project, or null for samples without one.
const project = () => JSON.parse($("project").value || "null");
const nameOf = (id) => names.get(id) ?? id;

// ---- The choice ------------------------------------------------------------------------------

// From and to; whole periods, so that sums by hour and day can be used.
function range() {
  const span = Number($("span").value);
  const own = (id) => Date.parse(`${$(id).value}Z`) / 1000;
  let [from, to] = span ? [now() - span, now()] : [own("from"), own("to")];
  if (!(from < to)) throw new Error("The time has to end after it begins.");
  const wanted = Number($("period").value);
  const period = wanted || (PERIODS.find((one) => (to - from) / one <= MOST_PERIODS / (one < 3600 ? 4 : 1)) ?? 86400);
  if ((to - from) / period > 20000) throw new Error("Choose longer rollups or a shorter time: these are more than 20,000.");
  from = Math.floor(from / period) * period;
  return { from, to, period };
}

// Runs a step of loading; an answer that is no longer asked for is dropped.
async function step(work) {
  const mine = ++turn;
  text($("problem"), "");
  text($("connection"), "loading");
  try {
    await work(() => mine === turn);
    if (mine === turn) text($("connection"), "");
  } catch (error) {
    if (mine !== turn) return;
    text($("connection"), "");
    if (error instanceof Refusal && error.status === 401 && !error.message.startsWith("Not Authorized")) openDoor("The collector does not know this token.");
    else text($("problem"), error.message);
  }
}

async function loadMeters() {
  const known = meter()?.name;
  meters = await ask("/v2/meters", [["unique", "true"], ["limit", METERS]]);
  $("meter").replaceChildren(...meters.map((one, at) => element("option", { value: at }, one.unit ? `${one.name} (${one.unit})` : one.name)));
  const preferred = [known, "cpu_util", "cpu"].map((name) => meters.findIndex((one) => one.name === name)).find((at) => at >= 0);
  $("meter").value = String(preferred ?? 0);
  if (meters.length === 0) throw new Error("This token sees no meter: nothing is stored for it.");
}

async function loadProjects() {
  const { from, to, period } = range();
  const found = await statistics({ meter: meter().name, from, to }, { period: spanOf(from, to, period), groupby: ["project_id"] });
  const counts = new Map();
  for (const { groupby, count } of found) counts.set(groupby.project_id, (counts.get(groupby.project_id) ?? 0) + count);
  const before = $("project").value;
  const options = [...counts].map(([id, count]) => element("option", { value: JSON.stringify(id) }, `${id ?? "none"}, ${count.toLocaleString("en")} samples`));
  $("project").replaceChildren(...options);
  if (options.some((one) => one.value === before)) $("project").value = before;
}

// One period over all of the time.
const spanOf = (from, to, period) => Math.ceil((to - from) / period) * period;

async function loadResources(current) {
  const { from, to, period } = range();
  const owner = project();
  const groupby = owner === null ? ["resource_id", "project_id"] : ["resource_id"];
  const choice = { meter: meter().name, project: owner ?? undefined, from, to };
  const [found, described] = await Promise.all([
    statistics(choice, { period: spanOf(from, to, period), groupby }),
    ask("/v2/resources", [...conditions({ ...choice, meter: undefined }), ["meter_links", 0], ["limit", NAMES]])]);
  if (!current()) return;
  const counts = new Map();
  for (const one of found.filter((row) => owner !== null || row.groupby.project_id === null)) {
    counts.set(one.groupby.resource_id, (counts.get(one.groupby.resource_id) ?? 0) + one.count);
  }
  names = new Map(described.map((one) => [one.resource_id, one.metadata.display_name ?? one.metadata.name]).filter(([, name]) => name));
  resources = [...counts].map(([id, count]) => ({ id, count })).sort((a, b) => (nameOf(a.id) < nameOf(b.id) ? -1 : 1));
  // A resource that has nothing in another time stays chosen: then all of it is a gap.
  if (chosen.size === 0 && resources.length) chosen.add(resources[0].id);
  drawPicks();
}

function drawPicks() {
  const wanted = $("filter").value.toLowerCase();
  const fits = ({ id }) => id.toLowerCase().includes(wanted) || nameOf(id).toLowerCase().includes(wanted);
  const absent = [...chosen].filter((id) => !resources.some((one) => one.id === id)).map((id) => ({ id, count: 0 }));
  const fitting = [...absent, ...resources].filter((one) => fits(one) || chosen.has(one.id));
  const first = fitting.slice(0, LISTED);
  const more = fitting.length > first.length ? `, ${first.length} listed` : "";
  text($("resource-count"), `${chosen.size} of ${resources.length} chosen, at most ${PLOTTED}${more}`);
  keyed($("resources"), first, (one) => one.id,
    (one) => {
      const box = element("input", { type: "checkbox" });
      box.addEventListener("change", () => pick(one.id, box.checked));
      return element("label", {}, box, element("span"));
    },
    (node, one) => {
      const box = node.querySelector("input");
      box.checked = chosen.has(one.id);
      box.disabled = !box.checked && chosen.size >= PLOTTED;
      const name = names.get(one.id);
      text(node.querySelector("span"), `${name ? `${name}, ${one.id}` : one.id} (${one.count.toLocaleString("en")} samples)`);
    });
}

function pick(id, wanted) {
  if (wanted) chosen.add(id);
  else chosen.delete(id);
  drawPicks();
  step(loadSeries);
}

// ---- The plot --------------------------------------------------------------------------------

async function loadSeries(current) {
  const times = range();
  const one = meter();
  const loaded = await Promise.all([...chosen].map(async (id) => {
    const choice = { meter: one.name, project: project() ?? undefined, resource: id, from: times.from, to: times.to };
    const [rolled, raw, declared, [described]] = await Promise.all([
      statistics(choice, { period: times.period }), samples(choice, RAW + 1), gaps(choice),
      ask("/v2/resources", [...conditions({ resource: id, project: choice.project }), ["meter_links", 0], ["limit", 1]])]);
    const since = described ? Date.parse(`${described.first_sample_timestamp}Z`) / 1000 : times.to;
    return { label: nameOf(id), resource: id, meter: one, statistics: rolled, samples: raw.length > RAW ? null : raw, declared, since };
  }));
  if (!current()) return;
  shown = { ...times, to: Math.min(times.to, now()), meter: one, loaded };
  draw();
}

function draw() {
  if (!shown) return;
  const { from, to, period, loaded } = shown;
  const counter = shown.meter.type === "cumulative";
  $("rate-field").hidden = !counter;
  const asRate = counter && $("rate").checked;
  const unit = asRate ? `${shown.meter.unit}/s` : shown.meter.unit;
  const all = loaded.map((one) => seriesOf(one, { from, to, asRate }));
  const rolls = $("rollups").checked || loaded.some((one) => one.samples === null);
  const series = all.map((one) => ({ ...one, rolls: rolls ? one.rolls : [], raw: $("raw").checked || !rolls ? one.raw : [] }));
  text($("plot-title"), loaded.length ? `${shown.meter.name}${unit ? `, ${unit}` : ""}` : "No resource is chosen");
  const count = series.reduce((sum, one) => sum + one.rolls.length + one.raw.length, 0);
  const missing = all.reduce((sum, one) => sum + one.gaps.length, 0);
  const summary = `${shown.meter.name} of ${all.map((one) => one.label).join(", ")} from ${utc(from)} to ${utc(to)} UTC: ${count} points, ${missing} gaps. The table below has the values.`;
  drawPlot($("plot"), { series, from, to, unit, summary, onGap: (label) => show("Missing samples", element("p", {}, label)) });
  const many = loaded.filter((one) => one.samples === null).map((one) => one.label);
  text($("plot-notes"), `${utc(from)} to ${utc(to)} UTC, rollups of ${period} s.`
    + (many.length ? ` More than ${RAW.toLocaleString("en")} samples, shown by rollups only: ${many.join(", ")}. Choose a shorter time for single samples.` : ""));
  drawGaps(all);
  drawValues(series, rolls, asRate);
}

function drawGaps(series) {
  const found = series.flatMap((one) => one.gaps.map((gap) => ({ ...gap, label: one.label }))).sort((a, b) => b.from - a.from);
  const cells = (gap) => [gap.label, utc(gap.from), utc(gap.to), gap.reason].map((value, at) => element(at ? "td" : "th", at ? {} : { scope: "row" }, value));
  $("gaps").replaceChildren(found.length === 0 ? element("p", { class: "quiet" }, "None.")
    : element("div", { class: "scroll short", role: "region", "aria-label": "Table of missing samples", tabindex: 0 }, element("table", {},
      element("thead", {}, element("tr", {}, ...["Resource", "From (UTC)", "To (UTC)", "Reason"].map((head) => element("th", { scope: "col" }, head)))),
      element("tbody", {}, ...found.slice(0, ROWS).map((gap) => element("tr", {}, ...cells(gap)))))));
}

const figure = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en", { maximumFractionDigits: 6 }));

function drawValues(series, rolls, asRate) {
  const head = rolls ? ["From (UTC)", "Resource", ...(asRate ? ["Rate"] : ["Lowest", "Average", "Highest"]), "Samples"] : ["Time (UTC)", "Resource", asRate ? "Rate" : "Value"];
  const rows = series.flatMap((one) => (rolls ? one.rolls.map((roll) => [roll.start, one.label, ...(asRate ? [roll.v] : [roll.min, roll.v, roll.max]), roll.count])
    : one.raw.map((point) => [point.t, one.label, point.v]))).sort((a, b) => b[0] - a[0]);
  $("values-head").replaceChildren(...head.map((name, at) => element("th", { scope: "col", class: at > 1 ? "number" : "" }, name)));
  $("values").replaceChildren(...rows.slice(0, ROWS).map(([time, label, ...values]) => element("tr", {}, element("th", { scope: "row" }, utc(time)),
    element("td", {}, label), ...values.map((value) => element("td", { class: "number" }, figure(value))))));
  text($("values-note"), rows.length > ROWS ? `The newest ${ROWS} of ${rows.length.toLocaleString("en")}; the files have all.` : "");
}

// ---- Files -----------------------------------------------------------------------------------

const RAW_COLUMNS = ["timestamp", "meter", "type", "unit", "volume", "resource_id", "project_id", "user_id", "source", "id", "recorded_at"];
const ROLLUP_COLUMNS = ["period_start", "period_end", "resource_id", "unit", "count", "min", "max", "avg", "sum", "duration_start", "duration_end"];

async function download(kind) {
  if (!shown?.loaded.length) return;
  const { from, to, meter: { name }, loaded } = shown;
  let [rows, whole] = [[], true];
  for (const { resource, statistics: rolled } of loaded) {
    if (kind === "rollups") {
      rows = rows.concat(rolled.map((one) => ({ ...one, resource_id: resource })));
    } else {
      const before = rows.length;
      const found = await everySample({ meter: name, project: project() ?? undefined, resource, from, to },
        (count) => text($("csv-state"), `${(before + count).toLocaleString("en")} samples read`));
      rows = rows.concat(found.rows);
      whole &&= found.whole;
    }
  }
  const file = `${name}-${kind}-${iso(from)}-${iso(to)}.csv`.replace(/[^\w.-]/g, "_");
  save(new Blob([csv(kind === "rollups" ? ROLLUP_COLUMNS : RAW_COLUMNS, rows)], { type: "text/csv" }), file);
  text($("csv-state"), `${rows.length.toLocaleString("en")} rows in ${file}${whole ? "" : ". It is not whole: choose a shorter time"}`);
}

// ---- Start -----------------------------------------------------------------------------------

function openDoor(reason) {
  $("door").hidden = false;
  $("content").hidden = true;
  $("leave").hidden = true;
  text($("door-problem"), token.get() ? reason : "");
  token.forget();
}

async function health() {
  const reply = await fetch("/health", { cache: "no-store" });
  const found = await reply.json();
  badge($("health"), found.healthy ? "healthy" : "down");
  const away = found.brokers.filter((one) => !one.connected).map((one) => `no connection to ${one.broker}`);
  $("health").title = [found.store === "ok" ? null : found.store, ...away].filter(Boolean).join("; ");
}

async function loadAll(current) {
  await loadMeters();
  $("door").hidden = true;
  $("content").hidden = false;
  $("leave").hidden = !token.get();
  await loadProjects();
  offerAudits([...$("project").options].map((one) => JSON.parse(one.value)), project());
  await loadResources(current);
  if (current()) await loadSeries(current);
}

async function start() {
  await health();
  await step(loadAll);
  if (!$("content").hidden) await startFleet();
}

const again = (work) => () => step(async (current) => {
  await work(current);
  if (current()) await loadResources(current);
  if (current()) await loadSeries(current);
});
$("door-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set($("token").value.trim());
  $("token").value = "";
  start();
});
$("leave").addEventListener("click", () => {
  token.forget();
  location.reload();
});
$("meter").addEventListener("change", again(async () => { chosen = new Set(); await loadProjects(); }));
$("project").addEventListener("change", again(async () => { chosen = new Set(); }));
$("span").addEventListener("change", () => {
  $("own").hidden = $("span").value !== "";
  if ($("span").value === "" && !$("from").value) [$("from").value, $("to").value] = [iso(now() - 86400), iso(now())];
  again(loadProjects)();
});
for (const id of ["from", "to"]) $(id).addEventListener("change", again(loadProjects));
$("period").addEventListener("change", () => step(loadSeries));
$("filter").addEventListener("input", drawPicks);
for (const id of ["rollups", "raw", "rate"]) $(id).addEventListener("change", draw);
$("csv-raw").addEventListener("click", () => download("samples"));
$("csv-rollups").addEventListener("click", () => download("rollups"));
window.addEventListener("resize", draw);
window.addEventListener("unhandledrejection", (event) => text($("problem"), `This part of the page could not be read: ${event.reason.message}`));
start();
