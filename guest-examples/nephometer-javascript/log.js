// The log of the component. Without a host the lines are kept in memory, where tests read them with `taken`.

const MAX_LINES = 1000;
let lines = [];
let sink = (level, message) => {
  if (lines.length < MAX_LINES) lines.push([level, message]);
};

/** Redirects all lines; `exported` sends them to the host. */
export function sendTo(write) {
  sink = write;
}

/** Writes one line; the level is trace, debug, info, warn or error. */
export function write(level, message) {
  sink(level, message);
}

/** Returns what was logged without a host since the last call: the first 1,000 lines. */
export function taken() {
  const taken = lines;
  lines = [];
  return taken;
}

/** Writes a detail, for authors. */
export const trace = (message) => write('trace', message);
/** Writes a line for finding faults. */
export const debug = (message) => write('debug', message);
/** Writes a line worth knowing. */
export const info = (message) => write('info', message);
/** Writes that something is unexpected, but the work goes on. */
export const warn = (message) => write('warn', message);
/** Writes that something failed. */
export const error = (message) => write('error', message);
