// What transformers and publishers throw.

/**
 * This batch cannot be transformed, this envelope never delivered; the next one may. Samples of a batch
 * are dropped, an envelope becomes a dead letter.
 */
export class Rejected extends Error {}

/** Nothing can be transformed or delivered until an operator acts. */
export class Broken extends Error {}

/** The state cannot be saved or restored. */
export class StateError extends Error {}

/** A failure that may pass: the envelope is kept and sent again, with the same id. */
export class RetryLater extends Error {
  /** `afterMs` is the delay that the receiver requested, in milliseconds; the host chooses if it is undefined. */
  constructor(reason, afterMs) {
    super(reason);
    this.afterMs = afterMs;
  }
}
