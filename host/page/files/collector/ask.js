// Asks the collector's API. Who may see what is decided there, by the token of each request.

// Samples in one answer while a file is written, and in the file at most.
const PAGE = 10000;
const MOST = 500000;

// Only this tab has the token, and only until it is closed.
export const token = {
  get: () => sessionStorage.getItem("collector-token"),
  set: (value) => sessionStorage.setItem("collector-token", value),
  forget: () => sessionStorage.removeItem("collector-token"),
};

export class Refusal extends Error {
  constructor(status, reason) {
    super(reason);
    this.status = status;
  }
}

async function replyOf(path, pairs) {
  const query = new URLSearchParams(pairs.filter(([, value]) => value !== null && value !== undefined && value !== ""));
  const headers = token.get() ? { "x-auth-token": token.get() } : {};
  const reply = await fetch(`${path}?${query}`, { headers, cache: "no-store", credentials: "omit" });
  if (reply.ok) return reply;
  const body = await reply.json().catch(() => ({}));
  throw new Refusal(reply.status, body.error_message?.faultstring ?? body.error?.message ?? `status ${reply.status}`);
}

// Parameters are pairs, since some are repeated.
export const ask = async (path, pairs = []) => (await replyOf(path, pairs)).json();
export const askFile = async (path, pairs) => (await replyOf(path, pairs)).blob();

export const iso = (time) => new Date(time * 1000).toISOString().slice(0, 19);

// Conditions on owner and times.
export function conditions({ meter, project, resource, from, to }) {
  const all = [["meter", "eq", meter], ["project_id", "eq", project], ["resource_id", "eq", resource],
    ["timestamp", "ge", from === undefined ? undefined : iso(from)], ["timestamp", "lt", to === undefined ? undefined : iso(to)]];
  return all.filter(([, , value]) => value !== undefined && value !== "")
    .flatMap(([field, op, value]) => [["q.field", field], ["q.op", op], ["q.value", value]]);
}

export const statistics = (choice, { period, groupby = [] }) => ask(`/v2/meters/${encodeURIComponent(choice.meter)}/statistics`, [...conditions({ ...choice, meter: undefined }),
  ["period", period], ...groupby.map((name) => ["groupby", name])]);
export const samples = (choice, limit) => ask("/v2/samples", [...conditions(choice), ["limit", limit]]);
export const gaps = (choice) => ask("/v1/gaps", conditions(choice));

// All samples of a choice, newest first. An answer has a bounded number of them, so the next one begins at the oldest
// of the one before; what both have is taken once.
export async function everySample(choice, progress) {
  const found = new Map();
  let { to } = choice;
  for (;;) {
    const some = await samples({ ...choice, to }, PAGE);
    const before = found.size;
    for (const one of some) found.set(one.id, one);
    progress(found.size);
    if (some.length < PAGE) return { rows: [...found.values()], whole: true };
    if (found.size >= MOST || found.size === before) return { rows: [...found.values()], whole: false };
    // The end of a range is not a part of it, and times are asked for by whole seconds.
    to = Math.floor(Date.parse(`${some.at(-1).timestamp}Z`) / 1000) + 1;
  }
}

function cell(value) {
  if (value === null || value === undefined) return "";
  const plain = String(value);
  // A leading sign of a formula would be one in spreadsheets, too.
  const formula = typeof value === "string" && /^[=+@-]/.test(plain);
  return formula || /[",\n\r]/.test(plain) ? `"${formula ? "'" : ""}${plain.replaceAll('"', '""')}"` : plain;
}

export const csv = (columns, rows) => [columns, ...rows.map((row) => columns.map((name) => row[name]))]
  .map((cells) => `${cells.map(cell).join(",")}\n`).join("");
