// The component's own log. Without a host the lines go to a small memory, for tests to look at.

const REMEMBERED = 1000;
let lines = [];
let sink = (level, message) => {
  if (lines.length < REMEMBERED) lines.push([level, message]);
};

/** Sends all lines to the host's log; `exported` does it. */
export function sendTo(write) {
  sink = write;
}

/** Writes one line; the level is trace, debug, info, warn or error. */
export function write(level, message) {
  sink(level, message);
}

/** What has been logged since this was last asked, without a host: the first 1,000 lines. */
export function taken() {
  const taken = lines;
  lines = [];
  return taken;
}

/** Every detail, for the author. */
export const trace = (message) => write('trace', message);
/** For finding faults. */
export const debug = (message) => write('debug', message);
/** Worth knowing. */
export const info = (message) => write('info', message);
/** Something is not as it should be; work goes on. */
export const warn = (message) => write('warn', message);
/** Something failed. */
export const error = (message) => write('error', message);
