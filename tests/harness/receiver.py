#!/usr/bin/python3
"""receiver.py PORT FILE ANSWERS [CERTIFICATE KEY]: an HTTP server for publishers, with TLS if it has a certificate.

Writes each request as a line of JSON to FILE: method, path, headers, body (body64 if it is protobuf). ANSWERS are statuses, `503,400,200`: one for each
request, the last for all that come after. Listens on the loopback address."""
import base64
import http.server
import itertools
import json
import ssl
import sys
import threading

port, path, answers, *tls = sys.argv[1:]
statuses = [int(status) for status in answers.split(",")]
statuses = itertools.chain(statuses, itertools.repeat(statuses[-1]))
log = open(path, "a", encoding="utf-8")
# Requests of several publishers arrive at once; two lines must not be written into each other.
turn = threading.Lock()


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if "protobuf" in self.headers["content-type"]:
            body = {"body64": base64.b64encode(body).decode("ascii")}
        else:
            body = {"body": body.decode("utf-8")}
        headers = {key.lower(): value for key, value in self.headers.items()}
        with turn:
            status = next(statuses)
            line = {"method": self.command, "path": self.path, "headers": headers, **body, "status": status}
            log.write(json.dumps(line) + "\n")
            log.flush()
        answer = b"{}" if status < 400 else b"this one is not wanted"
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_PATCH = do_POST

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Receiver)
if tls:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls)
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
