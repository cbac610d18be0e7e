// The module that componentize-js builds the component from.

import { write } from 'nephometer:metering/log@0.2.0';
import { exported } from './nephometer/nephometer.js';
import { Scaler } from './transformer.js';

const made = exported(Scaler, write);
export const component = made.component;
export const dictionary = made.dictionary;
export const transform = made.transform;
export const stateful = made.stateful;
