// `{{name}}`: posts the samples of each envelope as one JSON array.
//
// `{{name}}://HOST:PORT/PATH?options`; the README describes the options and the handling of responses.

import { http } from './nephometer/nephometer.js';

export class Poster {
  static description = {
    name: '{{name}}',
    version: '0.1.0',
    summary: 'posts samples as JSON',
    optionsSchema: { type: 'object', properties: http.OPTIONS },
  };

  // The host adds each sample as JSON text; `rows(batch)` iterates over the columns.
  settings = { texts: 'samples' };

  constructor(options) {
    this.receiver = new http.Receiver(options);
    options.warnOfUnknown(Object.keys(http.OPTIONS));
    options.check();
  }

  publish({ id, texts }) {
    // The id is the same on every attempt, so that a receiver can drop repetitions.
    const headers = { 'content-type': 'application/json', 'idempotency-key': id };
    if (texts.length > 0) this.receiver.post(`[${texts.join(',\n')}]`, headers);
  }
}
