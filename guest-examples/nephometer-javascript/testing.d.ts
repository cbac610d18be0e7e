// Types of testing.js, for TypeScript.

import type { Batch, Delivery, MeterType, Outcome } from './nephometer.js';

/** A sample in the keys that `nephometer component run` reads. */
export interface Sample {
  name: string;
  type: MeterType;
  unit: string;
  volume: number | bigint;
  resource_id: string;
  timestamp: string;
  source?: string;
  project_id?: string;
  user_id?: string;
  resource_metadata?: object;
}

export function nanoseconds(timestamp: string): bigint;
export function renumber(seed: number): void;
export function batchOf(samples: Sample[], options?: { removed?: string[] }): Batch;
export function deliveryOf(samples: Sample[], options?: { id?: string; attempt?: number }): Delivery;
export function samplesOf(
  outcome: Outcome | undefined,
  batch?: Batch,
): (Omit<Sample, 'timestamp'> & { time: bigint; origin?: number })[];
