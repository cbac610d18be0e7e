"""A receiver to try the publisher with: returns 204 for every POST and prints its samples.

    python3 receiver.py                 # until Ctrl-C
    python3 receiver.py COMMAND ...     # while the command runs; exits with its status

To see how failures are handled, set another status: STATUS=503 python3 receiver.py
"""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# As in pipeline.yaml.
ADDRESS = ("127.0.0.1", 8190)
STATUS = int(os.environ.get("STATUS", "204"))

seen = set()


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            samples = json.loads(body)
            lines = ["  {name} of {resource_id}: {volume} {unit}".format_map(one) for one in samples]
        except (ValueError, KeyError, TypeError) as error:
            self.respond(400, [f"  not an array of samples: {error!r}"])
            return
        self.respond(STATUS, lines)

    def respond(self, status, lines):
        self.send_response_only(status)
        self.send_header("content-length", "0")
        self.end_headers()
        key = self.headers.get("idempotency-key")
        again = key in seen
        seen.add(key)
        about = f"received{' again' * again}: POST {self.path}, {key}, returned {status}"
        print("\n".join([about] if again else [about, *lines]), flush=True)


def main(command):
    try:
        server = ThreadingHTTPServer(ADDRESS, Receiver)
    except OSError as error:
        sys.exit(f"receiver.py: {ADDRESS[0]}:{ADDRESS[1]}: {error.strerror}; change it here and in pipeline.yaml")
    with server:
        try:
            if command:
                threading.Thread(target=server.serve_forever, daemon=True).start()
                return subprocess.run(command).returncode
            print("listening on {}:{}".format(*ADDRESS), flush=True)
            server.serve_forever()
        except KeyboardInterrupt:
            return 130


sys.exit(main(sys.argv[1:]))
