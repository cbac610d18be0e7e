// The module that componentize-js builds the component from.

import { write } from 'nephometer:metering/log@0.2.0';
import { exported } from './nephometer/nephometer.js';
import { Scaler } from './transformer.js';

const bindings = exported(Scaler, write);
export const component = bindings.component;
export const dictionary = bindings.dictionary;
export const transform = bindings.transform;
export const stateful = bindings.stateful;
