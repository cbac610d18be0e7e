// The module that componentize-js builds the component from.

import { write } from 'nephometer:metering/log@0.2.0';
import { exported } from '../nephometer-javascript/nephometer.js';
import { Tariff } from './tariff.js';

const made = exported(Tariff, write);
export const component = made.component;
export const dictionary = made.dictionary;
export const transform = made.transform;
export const stateful = made.stateful;
