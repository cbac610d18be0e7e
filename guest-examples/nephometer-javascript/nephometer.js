// Helper library for transformers and publishers in JavaScript.
//
// Write a class as `exported` describes it, and export it in a module of its own:
//
//     import { write } from 'nephometer:metering/log@0.2.0';
//     const bindings = exported(MyTransformer, write);
//     export const component = bindings.component, dictionary = bindings.dictionary;
//     export const transform = bindings.transform, stateful = bindings.stateful;
//
// A publisher is a class as `exportedPublisher` describes it; wasi_http.js sends its requests. The rest of
// the library:
//
// * `rows` iterates over the rows of a batch, each with its meter and its resource;
// * `AnswerBuilder` builds the answer and numbers new meters and resources by their content;
// * `PerEntry` computes a value once for each meter or resource;
// * `OptionReader` reads the options and collects all errors, each with its place; `UrlOptions` reads
//   those of a publisher;
// * `http` sends requests, and turns responses into results;
// * `Complaint` writes one log line for all rows of a batch with the same problem;
// * `log` writes to the component's log.
//
// All of it works in Node.js, too, so components are tested with node:test, without a host. A
// component has no clock, no timers, no console and no network. Times are bigints.

export { AnswerBuilder } from './answer.js';
export { NO_ORIGIN, Resource, rows } from './batch.js';
export { Complaint } from './complaint.js';
export { PerEntry } from './dictionary.js';
export * as http from './http.js';
export * as log from './log.js';
export { OptionErrors, OptionReader } from './options.js';
export { exportedPublisher } from './publisher.js';
export { Broken, Rejected, RetryLater, StateError } from './refusals.js';
export { UNCHANGED, exported, keep } from './transformer.js';
export { UrlOptions } from './url.js';
