// The dictionary of an instance: what the numbers in batches and answers stand for.
//
// An instance of a component has one dictionary. It holds the meters and resources of the host,
// which `exported` adds (in tests, testing.js), and those of the component, which `AnswerBuilder`
// numbers. Authors need `PerEntry` only.

/** The first number of the component's own entries; the host's are below. */
export const FIRST_OWN = 0x80000000;

// Numbering starts again beyond these limits. The contract allows 10,000 meters, 50,000 resources and
// 64 MiB of text, so that one more answer fits.
const MAX_METERS = 8_000;
const MAX_RESOURCES = 25_000;
const MAX_BYTES = 16 * 1024 * 1024;

/** Meters or resources of the component, numbered by their content. */
class OwnEntries {
  #numbers = new Map();
  #fresh = [];
  /** The size of their texts. */
  bytes = 0;

  get size() {
    return this.#numbers.size;
  }

  /** The number of an entry with this content, a new one if there is none. */
  number(content) {
    const key = JSON.stringify(Object.values(content));
    let number = this.#numbers.get(key);
    if (number === undefined) {
      number = FIRST_OWN + this.#numbers.size;
      this.#numbers.set(key, number);
      this.#fresh.push({ number, entry: content });
      this.bytes += new TextEncoder().encode(key).length;
    }
    return number;
  }

  /** Takes the entries that the host does not have yet, each with its number. They count as sent. */
  takeFresh() {
    const fresh = this.#fresh;
    this.#fresh = [];
    return fresh;
  }
}

/** The entries of the host, as arrays indexed by number, and those of the component. */
class Dictionary {
  // Undefined where a number is not in use.
  meters = [];
  resources = [];
  ownMeters = new OwnEntries();
  ownResources = new OwnEntries();

  /** Removes entries by number, then adds entries with their numbers. */
  learn({ forgottenMeters = [], forgottenResources = [], meters = [], resources = [] }) {
    for (const number of forgottenMeters) this.meters[number] = undefined;
    for (const number of forgottenResources) this.resources[number] = undefined;
    for (const { number, entry } of meters) enter(this.meters, number, entry);
    for (const { number, entry } of resources) enter(this.resources, number, entry);
  }

  /**
   * Called before each batch and flush. If the component has too many entries, numbering starts
   * again, and the host replaces its entries. It must not be called within an answer, which would
   * then refer to unknown numbers.
   */
  begin() {
    const bytes = this.ownMeters.bytes + this.ownResources.bytes;
    if (this.ownMeters.size > MAX_METERS || this.ownResources.size > MAX_RESOURCES || bytes > MAX_BYTES) {
      this.forgetOwn();
    }
  }

  forgetOwn() {
    this.ownMeters = new OwnEntries();
    this.ownResources = new OwnEntries();
  }
}

// Without holes, which would make the array slow.
function enter(entries, number, entry) {
  while (entries.length < number) entries.push(undefined);
  entries[number] = entry;
}

export const dictionary = new Dictionary();

/**
 * A value for each meter or resource, computed when it is first needed:
 *
 *     #pricesOf = new PerEntry((resource) => this.#prices.get(resource.projectId));
 *     ...
 *     const prices = this.#pricesOf.get(row.resource);
 *
 * The key is the entry and not its number, which may stand for another entry in a later batch.
 */
export class PerEntry {
  #values = new WeakMap();
  #compute;

  constructor(compute) {
    this.#compute = compute;
  }

  get(entry) {
    const value = this.#values.get(entry);
    if (value !== undefined || this.#values.has(entry)) return value;
    const computed = this.#compute(entry);
    this.#values.set(entry, computed);
    return computed;
  }
}
