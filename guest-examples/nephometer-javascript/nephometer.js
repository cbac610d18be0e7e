// What authors of transformers in JavaScript build on.
//
// Write a class as `exported` describes it, and export it in a module of its own:
//
//     import { write } from 'nephometer:metering/log@0.1.0';
//     const made = exported(MyTransformer, write);
//     export const component = made.component, transform = made.transform, stateful = made.stateful;
//
// The rest makes the columns pleasant:
//
// * `rows` walks the columns of a batch, row by row;
// * `AnswerBuilder` makes the answer and numbers new meters and resources by their content;
// * `OptionReader` reads the options and collects all that is wrong, each with its place;
// * `Complaint` makes one line of log of all rows of a batch that have the same trouble;
// * `log` writes to the component's log.
//
// All of it works in Node.js too, so components are tested with node:test and need no host. A component
// has no clock, no timers, no console and no network. Times are bigints.

export { AnswerBuilder } from './answer.js';
export { NO_ORIGIN, Resource, rows } from './batch.js';
export { Complaint } from './complaint.js';
export * as log from './log.js';
export { OptionErrors, OptionReader } from './options.js';
export { Broken, Rejected, StateError, UNCHANGED, exported, keep } from './transformer.js';
