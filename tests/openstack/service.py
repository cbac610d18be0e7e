"""service.py NAME PORT OWNER: serves one API of OpenStack on 127.0.0.1: keystone, nova or glance.

Below /network Glance's port also has what Nova asks of Neutron to list servers: it is the one thing here that is not OpenStack's.

Runs in the folder that `scripts/openstack up` made. Ends with the process OWNER. NAME.requests has one JSON object per request,
without tokens. While the file NAME.fault.HOST is there, requests for the servers of this host get its content as their answer:
`STATUS [HEADER: VALUE]`, or `sleep SECONDS`.
"""
import json
import os
import socketserver
import sys
import threading
import time
from pathlib import Path
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

NAME, PORT, OWNER = sys.argv[1], int(sys.argv[2]), sys.argv[3]
sys.argv = sys.argv[:1]
HERE = Path.cwd()


def neutron(environ, start_response):
    """Lists of Neutron without entries, such as of extensions and security groups."""
    answer = {environ["PATH_INFO"].rstrip("/").split("/")[-1].replace("-", "_"): []}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]


def one_at_a_time(app):
    """Keystone writes with every login, and SQLite lets one of several transactions fail that want to write."""
    lock = threading.Lock()

    def locked(environ, start_response):
        with lock:
            return list(app(environ, start_response))

    return locked


def application():
    if NAME == "keystone":
        os.environ["OS_KEYSTONE_CONFIG_FILES"] = str(HERE / "keystone.conf")
        from keystone.server.wsgi import initialize_public_application

        return one_at_a_time(initialize_public_application())
    if NAME == "nova":
        os.environ["OS_NOVA_DISABLE_EVENTLET_PATCHING"] = "1"
        os.environ["OS_NOVA_CONFIG_DIR"] = str(HERE)
        os.environ["OS_NOVA_CONFIG_FILES"] = f"{sys.prefix}/etc/nova/api-paste.ini;nova.conf"
        from nova.wsgi.osapi_compute import application

        return application
    if NAME == "glance":
        os.environ["OS_GLANCE_CONFIG_DIR"] = str(HERE)
        os.environ["OS_GLANCE_CONFIG_FILES"] = "glance-api.conf"
        from glance.common.wsgi_app import init_app

        image_api = init_app()

        def image_or_network(environ, start_response):
            below = environ["PATH_INFO"].startswith("/network/")
            return (neutron if below else image_api)(environ, start_response)

        return image_or_network
    sys.exit(f"{NAME} is not known")


class Faulty:
    """Answers what a file says, for outages that a host sees."""

    def __init__(self, app):
        self.app = app

    def __call__(self, environ, start_response):
        host = parse_qs(environ["QUERY_STRING"]).get("host", [""])[0]
        try:
            words = (HERE / f"{NAME}.fault.{Path(host).name}").read_text().strip()
        except FileNotFoundError:
            return self.app(environ, start_response)
        if words.startswith("sleep "):
            time.sleep(float(words.split()[1]))
            return self.app(environ, start_response)
        status, _, header = words.partition(" ")
        headers = [tuple(header.split(": ", 1))] if header else []
        start_response(f"{status} Fault", headers + [("Content-Type", "text/plain")])
        return [b"out of order"]


class Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 64


class Handler(WSGIRequestHandler):
    def log_message(self, _, *arguments):
        status = str(arguments[1]) if len(arguments) > 1 else None
        version = self.headers.get("X-OpenStack-Nova-API-Version")
        agent = self.headers.get("User-Agent")
        line = {"method": self.command, "path": self.path, "status": status, "version": version, "agent": agent}
        with open(HERE / f"{NAME}.requests", "a") as log:
            log.write(json.dumps(line) + "\n")


def end_with_owner():
    while Path("/proc", OWNER).exists():
        time.sleep(0.5)
    os._exit(0)


threading.Thread(target=end_with_owner, daemon=True).start()
server = make_server("127.0.0.1", PORT, Faulty(application()), Server, Handler)
print("ready", flush=True)
server.serve_forever()
