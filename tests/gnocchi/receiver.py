#!/usr/bin/python3
"""receiver.py PORT FILE [KEYSTONE [CERTIFICATE KEY]]: answers what Gnocchi answered in ../../guest-examples/gnocchi/tests/requests.jsonl.

With KEYSTONE, such as http://127.0.0.1:5000/v3, a request needs a token that this Keystone knows. Serves TLS if it has a certificate.
Writes each request as a line of JSON to FILE: method, path, status, body."""
import http.server
import json
import ssl
import sys
import threading
import urllib.request
from urllib.parse import unquote, urlsplit

port, path, *more = sys.argv[1:]
keystone, tls = (more[0] if more else None), more[1:]
log = open(path, "a", encoding="utf-8")
turn = threading.Lock()
policies, resources = set(), set()


def is_known(token):
    if not token:
        return False
    made = urllib.request.Request(f"{keystone}/auth/tokens", headers={"X-Auth-Token": token, "X-Subject-Token": token})
    try:
        with urllib.request.urlopen(made, timeout=30) as response:
            return response.status == 200
    except OSError:
        return False


def answer(method, path, body):
    parts = [unquote(part) for part in urlsplit(path).path.split("/")[2:]]
    match [method, *parts]:
        case ["POST", "archive_policy", ""]:
            known = body["name"] in policies
            policies.add(body["name"])
            return (409, {"code": 409, "title": "Conflict"}) if known else (201, body)
        case ["POST", "resource", kind]:
            # Required by the type of resource that ceilometer-upgrade makes.
            if kind == "instance" and not body.get("flavor_id"):
                reason = "required key not provided @ data['flavor_id']"
                description = {"cause": "Invalid input", "reason": reason, "detail": ["flavor_id"]}
                return 400, {"code": 400, "title": "Bad Request", "description": description}
            known = (kind, body["id"]) in resources
            resources.add((kind, body["id"]))
            return (409, {"code": 409, "title": "Conflict"}) if known else (201, {**body, "type": kind})
        case ["PATCH", "resource", kind, name]:
            return (200, body) if (kind, name) in resources else (404, {"code": 404})
        case ["POST", "batch", "resources", "metrics", "measures"]:
            known = {name for _, name in resources}
            unknown = [{"resource_id": name, "original_resource_id": name} for name in body if name not in known]
            description = {"cause": "Unknown resources", "detail": unknown}
            return (400, {"code": 400, "title": "Bad Request", "description": description}) if unknown else (202, None)
    return 404, {"code": 404}


class Gnocchi(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with turn:
            if keystone and not is_known(self.headers["x-auth-token"]):
                status, response = 401, {"code": 401}
            else:
                status, response = answer(self.command, self.path, body)
            log.write(json.dumps({"method": self.command, "path": self.path, "status": status, "body": body}) + "\n")
            log.flush()
        text = b"" if response is None else json.dumps(response).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_PATCH = do_POST

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Gnocchi)
if tls:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls)
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
