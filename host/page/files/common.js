// What the pages of agent and collector have in common: nodes, numbers, the dialog.

export const $ = (id) => document.getElementById(id);
const SVG_TAGS = new Set(["svg", "path", "polyline", "circle", "title", "g", "line", "rect", "text", "defs", "pattern"]);

// ---- Building and updating nodes -------------------------------------------------------------

export function element(tag, attributes = {}, ...children) {
  const svg = SVG_TAGS.has(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") node.addEventListener("click", value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// Makes the children of a parent those of a list, by key. Nodes that stay keep the focus.
export function keyed(parent, items, key, create, update) {
  const known = new Map([...parent.children].filter((node) => node.dataset.key).map((node) => [node.dataset.key, node]));
  let last = null;
  for (const item of items) {
    const name = key(item);
    let node = known.get(name);
    known.delete(name);
    if (!node) {
      node = create(item);
      node.dataset.key = name;
    }
    update?.(node, item);
    const next = last ? last.nextSibling : parent.firstChild;
    if (node !== next) parent.insertBefore(node, next);
    last = node;
  }
  for (const node of known.values()) node.remove();
}

export function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

export function badge(node, word) {
  text(node, word);
  const wanted = `badge ${word}`;
  if (node.className !== wanted) node.className = wanted;
}

// ---- Numbers for people ----------------------------------------------------------------------

export const round = (value, digits = 3) => Number(value.toPrecision(digits)).toLocaleString("en", { maximumFractionDigits: 6 });

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return `${round(value)} ${units[unit]}`;
}

export function duration(seconds) {
  if (seconds < 100) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${round(seconds / 3600, 2)} h` : `${Math.round(seconds / 86400)} days`;
}

// Times of agent and collector are UTC without a zone.
export const seconds = (iso) => Date.parse(/Z|[+-]\d\d:\d\d$/.test(iso) ? iso : `${iso}Z`) / 1000;

// ---- The dialog, and files -------------------------------------------------------------------

const dialog = element("dialog", { id: "details", "aria-labelledby": "details-title" });
const title = element("h2", { id: "details-title" });
const body = element("div", { id: "details-body", class: "scroll", role: "region", "aria-label": "Details", tabindex: "0" });
dialog.append(
  element("div", { class: "details-head" },
    title, element("button", { id: "details-close", type: "button", onclick: () => dialog.close() }, "Close")),
  body);
document.body.append(dialog);

export function show(heading, ...children) {
  text(title, heading);
  body.replaceChildren(...children.filter((child) => child !== null));
  if (!dialog.open) dialog.showModal();
}

// Lets the browser keep content as a file.
export function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  URL.revokeObjectURL(link.href);
}
