// Audits: what is proved of a project's samples. The collector verifies; this part shows what it has found.

import { $, element, save, seconds, text } from "/common.js";
import { ask, askFile, iso } from "/ask.js";
import { utc } from "/plot.js";

const MONTHS = 13;
const ROWS = 200;
const RESULTS = { complete: ["complete", "ok"], complete_with_declared_gaps: ["complete with declared gaps", "late"], not_provable: ["not provable", "failed"] };

let turn = 0; // An answer to an earlier question is not shown.
let audited = null; // What the result is about.

const count = (value) => value.toLocaleString("en");
const total = (list, of) => list.reduce((sum, one) => sum + of(one), 0);
const monthStart = (back) => {
  const day = new Date();
  return Date.UTC(day.getUTCFullYear(), day.getUTCMonth() - back, 1) / 1000;
};

// ---- The question ----------------------------------------------------------------------------

function range() {
  const month = $("audit-month").value;
  if (month !== "") return [monthStart(Number(month)), monthStart(Number(month) - 1)];
  const times = ["audit-from", "audit-to"].map((id) => Date.parse(`${$(id).value}Z`) / 1000);
  if (!(times[0] < times[1])) throw new Error("The time has to end after it begins.");
  return times;
}

// Projects that are known, and the one that is chosen above.
export function offerAudits(projects, chosen) {
  $("audit-projects").replaceChildren(...projects.filter(Boolean).map((id) => element("option", { value: id })));
  $("audit-project").value ||= chosen ?? "";
  if ($("audit-month").options.length) return;
  // The present month is not over: nothing is signed behind its end yet.
  const months = Array.from({ length: MONTHS }, (_, at) => element("option", { value: at + 1 }, iso(monthStart(at + 1)).slice(0, 7)));
  $("audit-month").append(...months, element("option", { value: "" }, "from, to"));
}

async function run() {
  const mine = ++turn;
  text($("audit-problem"), "");
  text($("audit-file-state"), "");
  $("audit-result").hidden = true;
  try {
    const [from, to] = range();
    const pairs = [["project", $("audit-project").value.trim()], ["from", iso(from)], ["to", iso(to)]];
    text($("audit-state"), "verifying");
    const found = await ask("/v1/audit", pairs);
    if (mine !== turn) return;
    audited = pairs;
    show(found);
  } catch (error) {
    if (mine === turn) text($("audit-problem"), error.message);
  } finally {
    if (mine === turn) text($("audit-state"), "");
  }
}

// ---- The answer ------------------------------------------------------------------------------

function table(title, head, rows) {
  if (rows.length === 0) return [];
  const cells = (row) => row.map((value, at) => element(at ? "td" : "th", at ? { class: typeof value === "number" ? "number" : "wrap" } : { scope: "row" },
    typeof value === "number" ? count(value) : value));
  const more = rows.length > ROWS ? [element("p", { class: "quiet" }, `The first ${ROWS} of ${count(rows.length)}; the file has all.`)] : [];
  return [element("h3", {}, title),
    element("div", { class: "scroll short", role: "region", "aria-label": `Table: ${title}`, tabindex: 0 }, element("table", {},
      element("thead", {}, element("tr", {}, ...head.map((name, at) => element("th", { scope: "col", class: typeof rows[0][at] === "number" ? "number" : "" }, name)))),
      element("tbody", {}, ...rows.slice(0, ROWS).map((row) => element("tr", {}, ...cells(row)))))), ...more];
}

// How often each reason was found, of whom, and from when to when.
function byReason(list, of) {
  const reasons = new Map();
  for (const one of list) reasons.set(one.reason, [...(reasons.get(one.reason) ?? []), one]);
  return [...reasons].sort((a, b) => b[1].length - a[1].length).map(([reason, all]) => {
    const times = (name) => all.map((one) => seconds(one[name]));
    return [reason, all.length, of(all), utc(times("from").reduce((a, b) => Math.min(a, b))), utc(times("to").reduce((a, b) => Math.max(a, b)))];
  });
}

const names = (list) => {
  const all = [...new Set(list)];
  return all.length > 3 ? `${all.slice(0, 3).join(", ")} and ${count(all.length - 3)} more` : all.join(", ");
};

function show(found) {
  const [words, colour] = RESULTS[found.result];
  text($("audit-verdict"), words);
  $("audit-verdict").className = `badge ${colour}`;
  const [project, from, to] = audited.map(([, value]) => value.replace("T", " "));
  text($("audit-scope"), `project ${project}, ${from} to ${to} (UTC)`);
  const missing = found.series.flatMap((one) => one.missing.map((span) => ({ ...span, resource: one.resource })));
  const facts = { "Samples proved": total(found.series, (one) => one.sums.samples), "Samples not proved": total(found.series, (one) => one.unproved),
    Resources: new Set(found.series.map((one) => one.resource)).size, Streams: found.streams.length, "Signed batches": total(found.streams, (one) => one.batches),
    "Times without samples": missing.length, "Stored after closing": total(found.corrections, ([, samples]) => samples) };
  $("audit-facts").replaceChildren(...Object.entries(facts).map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, count(value)))));
  $("audit-tables").replaceChildren(
    ...table("Faults", ["Fault", "Times", "First"], found.faults.map((one) => [one.id, one.count, one.first])),
    ...table("Gaps of the streams", ["Reason", "Times", "Hosts", "From (UTC)", "To (UTC)"], byReason(found.gaps, (all) => names(all.map((one) => one.host)))),
    ...table("Times without samples", ["Reason", "Times", "Resources", "From (UTC)", "To (UTC)"], byReason(missing, (all) => names(all.map((one) => one.resource)))),
    ...table("Transformers", ["Transformer", "Host", "SHA-256"], found.transformers.map((one) => [one.component, one.host, one.digest])),
    ...(found.notes.length ? [element("h3", {}, "Notes"), element("ul", { class: "plain" }, ...found.notes.map((note) => element("li", {}, note)))] : []));
  $("audit-result").hidden = false;
}

async function download() {
  text($("audit-problem"), "");
  text($("audit-file-state"), "writing");
  try {
    const file = `${["audit", ...audited.map(([, value]) => value)].join("-")}.ndjson`.replace(/[^\w.-]/g, "_");
    save(await askFile("/v1/audit/evidence", audited), file);
    text($("audit-file-state"), file);
  } catch (error) {
    text($("audit-file-state"), "");
    text($("audit-problem"), error.message);
  }
}

$("audit-form").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
$("audit-month").addEventListener("change", () => {
  $("audit-own").hidden = $("audit-month").value !== "";
  if ($("audit-month").value === "" && !$("audit-from").value) {
    // Behind the last hour that is over there is something signed.
    const hour = Math.floor(Date.now() / 3600000) * 3600;
    [$("audit-from").value, $("audit-to").value] = [iso(monthStart(0)), iso(hour)];
  }
});
$("audit-file").addEventListener("click", download);
