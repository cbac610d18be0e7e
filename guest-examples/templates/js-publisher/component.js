// The module that componentize-js builds the component from.

import { write } from 'nephometer:metering/log@0.2.0';
import { exportedPublisher, http } from './nephometer/nephometer.js';
import { sendOverWasi } from './nephometer/wasi_http.js';
import { Poster } from './publisher.js';

http.sendWith(sendOverWasi);
const bindings = exportedPublisher(Poster, write);
export const component = bindings.component;
export const publish = bindings.publish;
