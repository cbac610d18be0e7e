// Types of http.js, for TypeScript.

import type { UrlOptions } from './nephometer.js';

export interface Request {
  method: string;
  tls: boolean;
  authority: string;
  path: string;
  headers: Record<string, string>;
  body: Uint8Array;
  timeout: number;
  readAtMost?: number;
}

export interface Response {
  status: number;
  headers?: Record<string, string>;
  body?: Uint8Array;
}

export const OPTIONS: Record<string, object>;
export function sendWith(send: (request: Request) => Response): void;
export function send(request: Request): Response;
export function accepted(response: Response): Response;
export function retryAfter(response: Response): number | undefined;

export class Receiver {
  constructor(options: UrlOptions);
  readonly tls: boolean;
  readonly authority: string;
  readonly path: string;
  readonly timeout: number;
  post(body: string | Uint8Array, headers?: Record<string, string>): Response;
}
