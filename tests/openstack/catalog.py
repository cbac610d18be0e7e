"""catalog.py PORT: fills the Keystone at this port: services and endpoints, users, projects, an application credential.

Writes credentials.json: what clients need. Everything else has fixed names; ids are Keystone's.
"""
import json
import sys

import requests

PORT = int(sys.argv[1])
KEYSTONE = f"http://127.0.0.1:{PORT}/v3"
DOMAIN = {"id": "default"}


def token(user, password, project):
    who = {"user": {"name": user, "domain": DOMAIN, "password": password}}
    scope = {"project": {"name": project, "domain": DOMAIN}}
    body = {"auth": {"identity": {"methods": ["password"], "password": who}, "scope": scope}}
    answer = requests.post(f"{KEYSTONE}/auth/tokens", json=body)
    answer.raise_for_status()
    return answer.headers["X-Subject-Token"], answer.json()["token"]


admin, _ = token("admin", "admin-password", "admin")


def call(method, path, body=None, auth=None):
    answer = requests.request(method, KEYSTONE + path, json=body, headers={"X-Auth-Token": auth or admin})
    answer.raise_for_status()
    return answer.json() if answer.content else None


call("POST", "/regions", {"region": {"id": "RegionTwo"}})
regions = ("RegionTwo", "RegionOne")
existing = {service["type"]: service["id"] for service in call("GET", "/services")["services"]}
services = {"identity": ("keystone", 0, "/v3"), "compute": ("nova", 1, "/v2.1"), "image": ("glance", 2, "")}
for kind, (name, offset, path) in services.items():
    service = existing.get(kind) or call("POST", "/services", {"service": {"type": kind, "name": name}})["service"]["id"]
    for region in regions:
        for interface in ("public", "internal", "admin"):
            # Nothing listens at the others: a test chooses region and interface.
            served = region == "RegionOne" and interface == "internal"
            endpoint = {"service_id": service, "interface": interface, "region_id": region}
            endpoint["url"] = f"http://127.0.0.1:{PORT + offset if served else 9}{path}"
            call("POST", "/endpoints", {"endpoint": endpoint})
roles = {role["name"]: role["id"] for role in call("GET", "/roles")["roles"]}
projects = {}
for name in ("service", "demo"):
    projects[name] = call("POST", "/projects", {"project": {"name": name, "domain_id": "default"}})["project"]["id"]
users = {}
for user, project, role in (("ceilometer", "service", "admin"), ("nova", "service", "admin"), ("demo", "demo", "member")):
    body = {"user": {"name": user, "password": f"{user}-password", "domain_id": "default"}}
    users[user] = call("POST", "/users", body)["user"]["id"]
    call("PUT", f"/projects/{projects[project]}/users/{users[user]}/roles/{roles[role]}")
own, _ = token("ceilometer", "ceilometer-password", "service")
body = {"application_credential": {"name": "nephometer", "secret": "application-secret", "roles": [{"name": "admin"}]}}
credential = call("POST", f"/users/{users['ceilometer']}/application_credentials", body, own)["application_credential"]["id"]
with open("credentials.json", "w") as file:
    json.dump({"application_credential": credential, "projects": projects, "users": users, "token": own}, file)
