// The agent's page: reads its state as server-sent events and draws it. It changes nothing on the agent.

import { $, badge, bytes, duration, element, keyed, round, save, seconds, show, text } from "/common.js";

const RECONNECT_MS = 1500;
const DOMAINS_SHOWN = 200;
const GAPS_SHOWN = 60;

let token = takeToken();
let before = null; // The state a few seconds ago, for rates.
let state = null;
let domainsVersion = null;
let gaps = [];

// ---- Numbers for people ----------------------------------------------------------------------

const now = () => state?.time ?? Date.now() / 1000;
const clock = (time) => new Date(time * 1000).toLocaleString("sv").slice(now() - time < 72000 ? 11 : 0);
const ago = (iso) => (iso ? `${clock(seconds(iso))} (${duration(now() - seconds(iso))} ago)` : "never");
const perSecond = (value, earlier) => {
  const passed = before ? state.time - before.time : 0;
  return passed > 0 && earlier !== undefined ? Math.max(0, value - earlier) / passed : 0;
};
const total = (counts) => Object.values(counts ?? {}).reduce((sum, count) => sum + count, 0);
const everything = (meters) => meters.some((meter) => meter === "*");
function metersText(missing) {
  if (everything(missing.meters)) return "all meters";
  const more = missing.meter_count - missing.meters.length;
  return missing.meters.join(", ") + (more > 0 ? ` and ${more} more` : "");
}

// ---- Access ----------------------------------------------------------------------------------

function takeToken() {
  const found = /^#token=(.+)$/.exec(location.hash);
  if (found) {
    sessionStorage.setItem("token", decodeURIComponent(found[1]));
    // So that the token stays out of the history and of what people copy.
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem("token");
}

function ask(path, options = {}) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  return fetch(path, { ...options, headers, cache: "no-store" });
}

async function get(path) {
  const reply = await ask(path);
  if (!reply.ok) throw new Error(`${reply.status}: ${(await reply.text()).trim()}`);
  return reply.json();
}

function showDoor(reason) {
  $("door").hidden = false;
  $("content").hidden = true;
  text($("door-problem"), token ? reason : "");
  badge($("health"), "locked");
}

// ---- The stream ------------------------------------------------------------------------------

async function follow() {
  let away = null;
  for (;;) {
    try {
      const reply = await ask("/v1/events");
      if (reply.status === 401) {
        showDoor("The agent does not know this token.");
        return;
      }
      if (!reply.ok) throw new Error((await reply.text()).trim());
      away = null;
      $("door").hidden = true;
      $("content").hidden = false;
      await read(reply.body);
      throw new Error("the agent has ended the connection");
    } catch (error) {
      away ??= Date.now() / 1000;
      const since = new Date(away * 1000).toLocaleTimeString("sv");
      text($("connection"), `No answer from the agent since ${since}: ${error.message}. Trying again.`);
    }
    await new Promise((done) => setTimeout(done, RECONNECT_MS));
  }
}

async function read(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const events = rest.split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
      if (data) receive(JSON.parse(data));
    }
  }
}

function receive(next) {
  // Counters begin again with a restart.
  if (state && Math.abs(next.started - state.started) > 2) before = null;
  else if (state && (!before || next.time - before.time > 12)) before = state;
  state = { ...next, sinks: sinksOf(next) };
  text($("connection"), "live");
  draw();
}

// What the status, the ledger and the components have of each sink, in one object.
function sinksOf({ status, components }) {
  return status.sinks.map((sink) => {
    const counted = status.ledger.sinks.find((one) => one.sink === sink.sink) ?? { pending: 0, publishers: [] };
    // While a component replaces another at its place, the newer one is listed last.
    const running = (at) => components.findLast((one) => one.place === `${sink.sink}/${at}`);
    return { ...counted, ...sink, transformers: sink.transformers.map((one, at) => ({ ...running(at), ...one })) };
  });
}

// ---- Drawing ---------------------------------------------------------------------------------

function draw() {
  document.title = `${state.health.status} – Nephometer ${state.host}`;
  text($("host"), `${state.host}, version ${state.status.version}, running for ${duration(state.time - state.started)}`);
  badge($("health"), state.health.status);
  drawAttention();
  drawFacts();
  drawPipeline();
  drawReloads();
  drawSpools();
  if (state.domains.version !== domainsVersion) {
    domainsVersion = state.domains.version;
    refreshDomains();
    refreshGaps();
  }
}

// What several sources miss for one reason is one thing to people.
function byReason(missing) {
  const found = new Map();
  for (const one of missing) {
    const known = found.get(one.reason);
    found.set(one.reason, known ? {
      ...known, meters: [...known.meters, ...one.meters], meter_count: known.meter_count + one.meter_count,
      since: known.since < one.since ? known.since : one.since,
    } : one);
  }
  return [...found.values()];
}

// The words of gaps, in a sentence about a domain.
const SENTENCES = {
  stuck: "is stuck", timeout: "does not answer in time", failed: "cannot be read", partial: "lacks values", metadata: "lacks metadata of Nova",
  no_disk_statistics: "has disks without statistics", no_interface_statistics: "has interfaces without statistics",
};

function drawAttention() {
  const items = [];
  for (const domain of state.domains.unhealthy) {
    const name = domain.name ? `${domain.name} (${domain.id})` : domain.id;
    for (const missing of byReason(domain.missing)) {
      items.push({
        key: `domain ${domain.id} ${missing.reason}`, bad: !["partial", "metadata"].includes(missing.reason), domain: domain.id,
        text: `${name} ${SENTENCES[missing.reason] ?? missing.reason} since ${ago(missing.since)}. No values of ${metersText(missing)}.`,
      });
    }
  }
  const more = state.domains.unhealthy_count - state.domains.unhealthy.length;
  if (more > 0) items.push({ key: "more", bad: true, text: `${more} more domains lack values: see Domains.` });
  for (const reason of state.health.down) items.push({ key: `down ${reason}`, bad: true, text: reason });
  // Domains have lines of their own.
  for (const reason of state.health.degraded.filter((it) => !it.startsWith("domains without all values"))) {
    items.push({ key: `degraded ${reason}`, bad: false, text: reason });
  }
  if (state.domains.batches_missed > 0) {
    items.push({ key: "missed", bad: false, text: `This page had no time for ${state.domains.batches_missed} batches. None was lost for publishers.` });
  }
  const healthy = state.domains.counts.healthy;
  if (items.length === 0) items.push({ key: "fine", good: true, text: `Nothing. All ${healthy} domains have all their values.` });
  keyed($("attention"), items, (item) => item.key,
    (item) => element("li", { class: item.good ? "" : item.bad ? "bad" : "warn" },
      item.domain ? element("button", { class: "link", type: "button", onclick: () => openDomain(item.domain) }, item.text) : item.text),
    (node, item) => text(node.querySelector("button") ?? node, item.text));
}

function drawFacts() {
  const samples = state.sources.reduce((sum, one) => sum + one.samples, 0);
  const earlier = before?.sources.reduce((sum, one) => sum + one.samples, 0);
  const publishers = state.sinks.flatMap((sink) => sink.publishers);
  const cycles = state.status.polling.intervals;
  const confirmed = publishers.reduce((sum, one) => sum + one.confirmed, 0);
  const facts = {
    Domains: String(total(state.domains.counts)),
    "Samples a second": round(perSecond(samples, earlier)),
    "Samples polled": samples.toLocaleString("en"),
    "Messages acknowledged": confirmed.toLocaleString("en"),
    "Messages waiting": publishers.reduce((sum, one) => sum + one.pending, 0).toLocaleString("en"),
    "Last polling cycle": cycles.length ? `${duration(Math.min(...cycles.map((one) => one.age_seconds)))} ago` : "none so far",
    "Cycle takes": cycles.length ? `${round(Math.max(...cycles.map((one) => one.cycle_seconds / one.cycles)) * 1000)} ms` : "–",
    "Processor": `${round(perSecond(state.process.cpu_seconds, before?.process.cpu_seconds) * 100, 2)} %`,
    Memory: bytes(state.process.resident_bytes ?? 0),
  };
  keyed($("facts"), Object.entries(facts), ([name]) => name,
    ([name]) => element("div", {}, element("dt", {}, name), element("dd")),
    (node, [, value]) => text(node.lastChild, value));
}

function columnBoxes() {
  const sources = state.sources.map((source) => ({
    id: `source ${source.source}`, kind: "Source", title: source.source, links: source.sinks.map((sink) => `sink ${sink}`),
    lines: [`every ${duration(source.interval_seconds)}`,
      `${round(perSecond(source.samples, before?.sources.find((one) => one.source === source.source)?.samples))} samples/s`],
  }));
  const earlierSink = (name) => before?.sinks.find((one) => one.sink === name);
  const sinks = state.sinks.map((sink) => ({
    id: `sink ${sink.sink}`, kind: "Sink", title: sink.sink, state: sink.state,
    links: sink.publishers.map((publisher) => `publisher ${sink.sink} ${publisher.publisher}`),
    lines: [
      ...sink.transformers.map((one) => {
        const earlier = earlierSink(sink.sink)?.transformers.find((old) => old.component === one.component);
        return `${one.component} ${one.digest}: ${round(perSecond(one.rows_in ?? 0, earlier?.rows_in))} → ${round(perSecond(one.rows_out ?? 0, earlier?.rows_out))}/s`
          + (one.failures ? `, ${one.failures} failures` : "");
      }),
      `${sink.pending.toLocaleString("en")} samples wait`,
    ],
  }));
  const publishers = state.sinks.flatMap((sink) => sink.publishers.map((publisher) => {
    const earlier = earlierSink(sink.sink)?.publishers.find((old) => old.publisher === publisher.publisher);
    return {
      id: `publisher ${sink.sink} ${publisher.publisher}`, kind: "Publisher", sink: sink.sink, title: publisher.publisher, links: [],
      lines: [`${round(perSecond(publisher.confirmed, earlier?.confirmed))} messages/s acknowledged`,
        `${publisher.pending.toLocaleString("en")} wait` + (publisher.failed_attempts ? `, ${publisher.failed_attempts} attempts failed` : "")],
    };
  }));
  return [["Sources", sources], ["Sinks and transformers", sinks], ["Publishers", publishers]];
}

function drawPipeline() {
  const columns = columnBoxes();
  const create = (box) => element("button", { class: "box", type: "button", onclick: () => openBox(box) },
    element("strong", {}, box.title), box.state ? element("span") : null, element("small"));
  const update = (node, box) => {
    if (box.state) badge(node.querySelector("span"), box.state);
    const list = node.querySelector("small");
    keyed(list, box.lines.map((line, at) => [String(at), line]), ([at]) => at, () => element("span"), (line, [, value]) => text(line, value));
  };
  keyed($("pipeline"), columns, ([title]) => title, ([title]) => element("div", { class: "column", role: "group", "aria-label": title, "data-title": title }),
    (node, [, boxes]) => keyed(node, boxes, (box) => box.id, create, update));
  drawLines(columns.flatMap(([, boxes]) => boxes));
}

function drawLines(boxes) {
  const area = $("pipeline");
  const frame = area.getBoundingClientRect();
  const nodes = new Map([...area.querySelectorAll(".box")].map((node) => [node.dataset.key, node.getBoundingClientRect()]));
  const paths = boxes.flatMap((box) => box.links.map((to) => [nodes.get(box.id), nodes.get(to)])).filter(([from, to]) => from && to)
    .map(([from, to]) => {
      const [x, y] = [from.right - frame.left, from.top + from.height / 2 - frame.top];
      const [u, v] = [to.left - frame.left, to.top + to.height / 2 - frame.top];
      return `M${x} ${y}C${(x + u) / 2} ${y} ${(x + u) / 2} ${v} ${u} ${v}`;
    });
  const drawn = paths.join("");
  if (area.dataset.drawn === drawn) return;
  area.dataset.drawn = drawn;
  area.querySelector("svg")?.remove();
  area.append(element("svg", { "aria-hidden": "true" }, ...paths.map((d) => element("path", { d }))));
}

function drawReloads() {
  keyed($("reloads"), state.reloads.length ? state.reloads : [null], (one) => (one ? one.at : "none"),
    (one) => (one ? element("li", {}, element("strong", {}, `${clock(seconds(one.at))}, ${one.cause}`),
      ...one.changes.map((line) => element("div", {}, line)),
      ...one.problems.map((line) => element("div", { class: "problem" }, `refused: ${line}`)))
      : element("li", { class: "quiet" }, "None since the start.")));
}

function drawSpools() {
  $("spools-none").hidden = state.spools.length > 0;
  keyed($("spools"), state.spools, (one) => one.spool,
    (one) => element("tr", {}, element("th", { scope: "row" }, one.spool), element("td", { class: "number" }), element("td", { class: "number" }),
      element("td"), element("td", { class: "number" })),
    (node, one) => [one.held.toLocaleString("en"), bytes(one.bytes), one.oldest ? ago(one.oldest) : "–", one.set_aside.toLocaleString("en")]
      .forEach((value, at) => text(node.children[at + 1], value)));
}

// ---- Domains and their values ----------------------------------------------------------------

async function refreshDomains() {
  const found = await get(`/v1/domains?limit=${DOMAINS_SHOWN}&text=${encodeURIComponent($("search").value)}`);
  const shown = found.domains.length < found.count ? `, ${found.domains.length} shown` : "";
  text($("domain-count"), `${found.count} of ${found.all}${shown}`);
  keyed($("domains"), found.domains, (one) => one.id,
    (one) => element("tr", {},
      element("th", { scope: "row" }, element("button", { class: "link", type: "button", onclick: () => openDomain(one.id) })),
      element("td"), element("td", {}, element("span")), element("td"), element("td")),
    (node, one) => {
      text(node.querySelector("button"), one.name ?? one.id);
      node.querySelector("button").title = one.id;
      text(node.children[1], one.project ?? "–");
      badge(node.querySelector("span"), one.state);
      text(node.children[3], one.since ? ago(one.since) : "–");
      text(node.children[4], one.newest ? ago(one.newest) : "none so far");
    });
}

async function openDomain(id) {
  const [{ domains: [domain] }, { series, full }] = await Promise.all([
    get(`/v1/domains?limit=1&text=${encodeURIComponent(id)}`), get(`/v1/series?domain=${encodeURIComponent(id)}`)]);
  const plot = element("div");
  const rows = series.map((one) => element("tr", {},
    element("th", { scope: "row" }, element("button", { class: "link", type: "button", onclick: () => drawPlot(plot, one) }, one.meter)),
    element("td", {}, one.resource), element("td", { class: "number" }, one.value === null ? "–" : `${round(one.value, 6)} ${one.unit}`),
    element("td", {}, one.time === null ? "–" : clock(one.time))));
  const missing = byReason(domain?.missing ?? []).map((one) => element("p", { class: "problem" },
    `${one.reason} since ${ago(one.since)}: no values of ${metersText(one)}`));
  show(domain?.name ?? id, element("p", {}, element("code", {}, id)), ...missing, plot,
    element("table", {}, element("thead", {}, element("tr", {}, ...["Meter", "Resource", "Newest value", "Time"].map((head, at) =>
      element("th", { scope: "col", class: at === 2 ? "number" : "" }, head)))), element("tbody", {}, ...rows)),
    full ? element("p", { class: "quiet" }, "The page keeps values of a bounded number of series; some domains have none.") : null);
  if (series.length) drawPlot(plot, series.find((one) => one.meter === "cpu") ?? series[0]);
}

async function drawPlot(place, series) {
  const found = await get(`/v1/values?meter=${encodeURIComponent(series.meter)}&resource=${encodeURIComponent(series.resource)}`);
  let { points, unit } = found;
  if (found.type === "cumulative") {
    // A counter is shown by its rate; a decrease is a new start of the counter.
    points = points.slice(1).map(([time, value], at) => [time, (value - points[at][1]) / (time - points[at][0])]).filter(([, rate]) => rate >= 0);
    unit = `${unit}/s`;
  }
  const title = element("h3", {}, `${series.meter} of ${series.resource}, ${unit}`);
  if (points.length === 0) {
    place.replaceChildren(title, element("p", { class: "quiet" }, "Too few values so far."));
    return;
  }
  const values = points.map(([, value]) => value);
  const [low, high, first, last] = [Math.min(...values), Math.max(...values), points[0][0], points.at(-1)[0]];
  const x = (time) => (last > first ? ((time - first) / (last - first)) * 98 + 1 : 50);
  const y = (value) => (high > low ? 95 - ((value - low) / (high - low)) * 90 : 50);
  const drawn = points.map(([time, value]) => `${x(time)},${y(value)}`).join(" ");
  const summary = `${points.length} values from ${clock(first)} to ${clock(last)}, lowest ${round(low)}, highest ${round(high)} ${unit}`;
  place.replaceChildren(title,
    element("svg", { class: "plot", viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img", "aria-label": summary },
      element("polyline", { points: points.length > 1 ? drawn : `0,50 100,50` })),
    element("div", { class: "plot-scale" }, element("span", {}, clock(first)), element("span", {}, `${round(low)} to ${round(high)} ${unit}`), element("span", {}, clock(last))));
}

function openBox({ kind, title, sink }) {
  const named = (list, key, name) => list.find((one) => one[key] === name);
  const found = kind === "Source" ? named(state.sources, "source", title)
    : kind === "Sink" ? named(state.sinks, "sink", title) : named(named(state.sinks, "sink", sink)?.publishers ?? [], "publisher", title);
  if (!found) return;
  const table = (object) => element("table", {}, element("tbody", {}, ...Object.entries(object).filter(([, value]) => value !== null && !(Array.isArray(value) && typeof value[0] === "object"))
    .map(([key, value]) => element("tr", {}, element("th", { scope: "row" }, key.replaceAll("_", " ")), element("td", {}, plain(value))))));
  const parts = kind === "Sink" ? found.transformers.flatMap((one) => [element("h3", {}, `Transformer ${one.component}`), table(one)]) : [];
  show(`${kind} ${title}`, table(found), ...parts);
}

function plain(value) {
  if (Array.isArray(value)) return value.join(", ");
  if (typeof value === "object") return Object.entries(value).filter(([, count]) => count).map(([key, count]) => `${key}: ${count}`).join(", ") || "none";
  return typeof value === "number" ? value.toLocaleString("en") : String(value);
}

// ---- Gaps ------------------------------------------------------------------------------------

async function refreshGaps() {
  gaps = (await get("/v1/gaps")).gaps;
  drawGaps();
}

function drawGaps() {
  const span = Number($("span").value);
  const [end, begin] = [now(), now() - span];
  const lanes = new Map();
  for (const gap of gaps) {
    const [from, until] = [seconds(gap.from), seconds(gap.until)];
    if (until < begin) continue;
    const lane = lanes.get(gap.resource) ?? lanes.set(gap.resource, { resource: gap.resource, name: gap.name, gaps: [], newest: 0 }).get(gap.resource);
    lane.newest = Math.max(lane.newest, until);
    lane.gaps.push({ ...gap, from, until });
  }
  if (lanes.size === 0) {
    $("gaps").replaceChildren(element("p", { class: "quiet" }, `None in the last ${$("span").selectedOptions[0].textContent}.`));
    return;
  }
  const shown = [...lanes.values()].sort((a, b) => b.newest - a.newest).slice(0, GAPS_SHOWN);
  const rows = shown.flatMap((lane) => {
    const name = lane.resource === "*" ? "all domains" : lane.name ?? lane.resource;
    const bars = lane.gaps.map((gap) => {
      const label = `${name}: ${gap.reason}, ${clock(gap.from)} to ${clock(gap.until)}, ${everything(gap.meters) ? "all meters" : gap.meters.join(", ")}, source ${gap.source}`;
      const bar = element("button", { type: "button", class: `bar ${gap.reason}`, "aria-label": label, title: label, onclick: () => show("Missing values", element("p", {}, label)) });
      bar.style.left = `${(Math.max(0, gap.from - begin) / span) * 100}%`;
      bar.style.width = `${((Math.min(end, gap.until) - Math.max(begin, gap.from)) / span) * 100}%`;
      return bar;
    });
    return [element("span", { title: lane.resource }, name), element("div", { class: "lane" }, ...bars)];
  });
  const axis = element("div", { class: "axis" }, element("span", {}, clock(begin)), element("span", {}, clock(end)));
  const more = lanes.size - shown.length;
  $("gaps").replaceChildren(element("div", { class: "timeline" }, ...rows, element("span"), axis),
    more > 0 ? element("p", { class: "quiet" }, `${more} more resources: nephometer gaps`) : "");
}

// ---- Start -----------------------------------------------------------------------------------

const complain = (error) => text($("connection"), `This part of the page could not be read: ${error.message}`);
window.addEventListener("unhandledrejection", (event) => complain(event.reason));
$("door-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  sessionStorage.setItem("token", token);
  follow();
});
$("support").addEventListener("click", async () => {
  const reply = await ask("/support");
  if (!reply.ok) throw new Error(`${reply.status}: ${(await reply.text()).trim()}`);
  save(await reply.blob(), `nephometer-${state?.host ?? "agent"}.tar.gz`);
});
$("search").addEventListener("input", refreshDomains);
$("span").addEventListener("change", drawGaps);
window.addEventListener("resize", () => state && drawPipeline());
follow();
