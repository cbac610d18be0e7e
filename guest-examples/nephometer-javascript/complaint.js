// Log lines that summarize rows.

import * as log from './log.js';

/** One log line for all rows of a batch with the same problem. */
export class Complaint {
  #level;
  #what;
  #rows = 0;
  #first = '';

  /** `what` is what happens to the rows. */
  constructor(level, what) {
    this.#level = level;
    this.#what = what;
  }

  /** Counts a row. The first one is named in the line, with the reason; it may be empty. */
  add(row, reason = '') {
    if (this.#rows === 0) {
      this.#first = `${row.meter.name} of ${row.resource.id}${reason && `: ${reason}`}`;
    }
    this.#rows++;
  }

  /** Writes the line, unless there are no rows. */
  write() {
    const more = this.#rows > 1 ? `, and ${this.#rows - 1} more` : '';
    if (this.#rows > 0) log.write(this.#level, `${this.#what}: ${this.#first}${more}`);
  }
}
