// The agents: which are silent, late, or drop samples. Only admin and auditor see them; for others this part stays hidden.

import { $, badge, duration, element, keyed, round, seconds, show, text } from "/common.js";
import { Refusal, ask } from "/ask.js";
import { utc } from "/plot.js";

const SHOWN = 200;
const REFRESH_MS = 15000;
let timer = null;

const short = (value) => (value === null ? "–" : value < 10 ? `${round(value, 2)} s` : duration(value));
const ago = (iso, at) => `${utc(seconds(iso))} (${duration(at - seconds(iso))} ago)`;
const reasons = (drops) => Object.entries(drops).map(([reason, count]) => `${reason}: ${count.toLocaleString("en")}`).join(", ");

async function refresh() {
  const found = await ask("/v1/agents", [["text", $("agent-text").value], ["state", $("agent-state").value], ["limit", SHOWN]]);
  const at = seconds(found.time);
  const more = found.agents.length < found.count ? `, ${found.agents.length} shown, worst first` : "";
  text($("agent-count"), `${found.count.toLocaleString("en")} of ${found.all.toLocaleString("en")}${more}`);
  keyed($("agent-facts"), Object.entries(found.states), ([state]) => state,
    ([state]) => element("div", {}, element("dt", {}, state[0].toUpperCase() + state.slice(1)), element("dd")),
    (node, [, count]) => text(node.lastChild, count.toLocaleString("en")));
  keyed($("agents"), found.agents, (one) => one.streams[0].stream,
    (one) => element("tr", {}, element("th", { scope: "row" }, element("button", { class: "link", type: "button", onclick: () => open(one.streams[0].stream) })),
      element("td", {}, element("span")), element("td"), element("td", { class: "number" }), element("td", { class: "number" }), element("td", { class: "wrap" })),
    (node, one) => {
      agents.set(one.streams[0].stream, [one, at]);
      text(node.querySelector("button"), one.host ?? `stream ${one.streams[0].stream}`);
      badge(node.querySelector("span"), one.state);
      [ago(one.last_seen, at), short(one.delay), one.dropped.toLocaleString("en"), reasons(one.drops) || "–"].forEach((value, cell) => text(node.children[cell + 2], value));
    });
}

const agents = new Map();

function open(key) {
  const [one, at] = agents.get(key);
  const head = ["Sink", "Publisher", "Interval", "Last message (UTC)", "Delay", "Samples lost", "Stream"];
  const rows = one.streams.map((stream) => [stream.sink ?? "–", stream.publisher ?? "–", short(stream.interval),
    `${ago(stream.last_seen, at)}${stream.silent ? ", silent" : ""}`, short(stream.delay), stream.dropped.toLocaleString("en"), stream.stream]);
  show(`Agent ${one.host ?? key}`,
    element("p", {}, `Host id ${one.host_id ?? "unknown"}, version ${one.version ?? "unknown"}. State: ${one.state}.`),
    Object.keys(one.drops).length ? element("p", { class: "problem" }, `Lost within a day: ${reasons(one.drops)}`) : null,
    element("table", {}, element("thead", {}, element("tr", {}, ...head.map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, ...rows.map((cells) => element("tr", {}, ...cells.map((value, column) => element(column ? "td" : "th", column ? {} : { scope: "row" }, value)))))));
}

export async function startFleet() {
  clearInterval(timer);
  try {
    await refresh();
  } catch (error) {
    // A token of a project sees no hosts.
    $("fleet").hidden = true;
    if (error instanceof Refusal && error.status === 403) return;
    throw error;
  }
  $("fleet").hidden = false;
  timer = setInterval(() => document.visibilityState === "visible" && refresh(), REFRESH_MS);
}

$("agent-text").addEventListener("input", refresh);
$("agent-state").addEventListener("change", refresh);
