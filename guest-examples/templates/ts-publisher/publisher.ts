// `{{name}}`: posts the samples of each envelope as one JSON array.
//
// `{{name}}://HOST:PORT/PATH?options`; the README describes the options and the handling of responses.

import { type Delivery, type Publisher, type Settings, type UrlOptions, http } from './nephometer/nephometer.js';

export class Poster implements Publisher {
  static description = {
    name: '{{name}}',
    version: '0.1.0',
    summary: 'posts samples as JSON',
    optionsSchema: { type: 'object', properties: http.OPTIONS },
  };

  // The host adds each sample as JSON text; `rows(batch)` iterates over the columns.
  settings: Settings = { texts: 'samples' };
  readonly receiver: http.Receiver;

  constructor(options: UrlOptions) {
    this.receiver = new http.Receiver(options);
    options.warnOfUnknown(Object.keys(http.OPTIONS));
    options.check();
  }

  publish({ id, texts }: Delivery) {
    // The id is the same on every attempt, so that a receiver can drop repetitions.
    const headers = { 'content-type': 'application/json', 'idempotency-key': id };
    if (texts.length > 0) this.receiver.post(`[${texts.join(',\n')}]`, headers);
  }
}
