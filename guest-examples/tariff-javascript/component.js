// The module that componentize-js builds the component from.

import { write } from 'nephometer:metering/log@0.2.0';
import { exported } from '../nephometer-javascript/nephometer.js';
import { Tariff } from './tariff.js';

const bindings = exported(Tariff, write);
export const component = bindings.component;
export const dictionary = bindings.dictionary;
export const transform = bindings.transform;
export const stateful = bindings.stateful;
