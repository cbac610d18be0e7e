// Types of the helper library, for TypeScript. Those of the contract are generated from its WIT.

import type { Description as WitDescription, OptionError, TextForm } from 'nephometer:metering/component@0.2.0';
import type { Level } from 'nephometer:metering/log@0.2.0';
import type { Meter, MeterType } from 'nephometer:metering/types@0.2.0';

export type { Level, Meter, MeterType, OptionError };
export * as http from './http.js';

/** What a component reports about itself; the schema is an object. */
export type Description = Pick<WitDescription, 'name' | 'version' | 'summary'> & {
  optionsSchema?: object;
  stateVersion?: number;
  facts?: Record<string, string>;
};

/** What a configured component requires; see `exported` and `exportedPublisher`. */
export interface Settings {
  meters?: string[];
  metadata?: string[];
  texts?: TextForm;
  facts?: Record<string, string>;
}

type Write = (level: Level, message: string) => void;

export const NO_ORIGIN: number;

export class Resource {
  constructor(content: { id: string; source: string; projectId?: string; userId?: string; metadata?: object | string });
  readonly id: string;
  readonly source: string;
  readonly projectId?: string;
  readonly userId?: string;
  readonly metadata: any;
  readonly metadataText: string;
}

/** The columns of a batch, and the entries that their numbers stand for. */
export interface Batch {
  meters: Meter[];
  resources: Resource[];
  meter: Uint32Array;
  resource: Uint32Array;
  time: BigUint64Array;
  monotonic: BigUint64Array;
  volume: Float64Array;
  exact: Map<number, bigint>;
  removed: string[];
}

export interface Row {
  readonly number: number;
  readonly meterNumber: number;
  readonly resourceNumber: number;
  readonly meter: Meter;
  readonly resource: Resource;
  readonly time: bigint;
  readonly monotonic: bigint | undefined;
  readonly volume: number;
  readonly integer: bigint | undefined;
}

export function rows(batch: Batch): IterableIterator<Row>;

/** What `transform` and `flush` return. */
export interface Outcome {
  readonly tag: 'unchanged' | 'keep' | 'derive' | 'replace';
  readonly val?: unknown;
}

export const UNCHANGED: Outcome;
export function keep(rows: Iterable<number>): Outcome;

export class AnswerBuilder {
  constructor(batch?: Batch);
  meter(meter: Meter): number;
  resource(resource: Resource): number;
  keep(row: Row): void;
  derive(row: Row, meter: number, volume: number): void;
  deriveInteger(row: Row, meter: number, value: bigint): void;
  create(meter: number, resource: number, time: bigint, volume: number): void;
  createInteger(meter: number, resource: number, time: bigint, value: bigint): void;
  finish(): Outcome;
}

export class PerEntry<Entry extends object, Value> {
  constructor(compute: (entry: Entry) => Value);
  get(entry: Entry): Value;
}

export class Complaint {
  constructor(level: Level, what: string);
  add(row: Row, reason?: string): void;
  write(): void;
}

export class OptionErrors extends Error {
  readonly errors: OptionError[];
}

export class OptionReader {
  constructor(value: unknown, pointer?: string, errors?: OptionError[]);
  refuse(...keysAndReason: (string | number)[]): void;
  check(): void;
  keys(): string[];
  value(key: string): unknown;
  object(key: string): OptionReader;
  objects(key: string): OptionReader[];
  text(key: string): string | undefined;
  number(key: string): number | undefined;
  warnOfUnknown(known: string[]): void;
}

export class UrlOptions {
  constructor(options: unknown);
  host(): string;
  port(otherwise: number): number;
  path(): string;
  user(): string | undefined;
  text(key: string): string | undefined;
  number(key: string): number | undefined;
  flag(key: string): boolean;
  value(key: string): unknown;
  refuse(key: string, reason: string): void;
  check(): void;
  warnOfUnknown(known: string[]): void;
}

export class Rejected extends Error {}
export class Broken extends Error {}
export class StateError extends Error {}
export class RetryLater extends Error {
  constructor(reason: string, afterMs?: number);
  readonly afterMs?: number;
}

export interface Transformer {
  settings?: Settings;
  transform(batch: Batch): Outcome;
  flush?(now: bigint): Outcome | undefined;
  save?(): Uint8Array;
  restore?(version: number, state: Uint8Array): void;
}

/** The exports of the world, in the types of the contract. */
export function exported(
  Transformer: { description: Description; new (options: OptionReader): Transformer },
  write: Write,
): {
  component: typeof import('nephometer:metering/component@0.2.0');
  dictionary: object;
  transform: object;
  stateful: object;
};

/** One envelope. */
export interface Delivery {
  id: string;
  attempt: number;
  batch: Batch;
  texts: string[];
}

export interface Publisher {
  settings?: Settings;
  publish(delivery: Delivery): void;
}

export function exportedPublisher(
  Publisher: { description: Description; new (options: UrlOptions): Publisher },
  write: Write,
): { component: typeof import('nephometer:metering/component@0.2.0'); publish: object };

export namespace log {
  function write(level: Level, message: string): void;
  function taken(): [Level, string][];
  function trace(message: string): void;
  function debug(message: string): void;
  function info(message: string): void;
  function warn(message: string): void;
  function error(message: string): void;
}
