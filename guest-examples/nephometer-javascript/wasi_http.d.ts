// Types of wasi_http.js, for TypeScript.

import type { Request, Response } from './http.js';

export function sendOverWasi(request: Request): Response;
