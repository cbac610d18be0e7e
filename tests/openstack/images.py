"""images.py PORT: creates the images of the tests in the Glance that belongs to the Keystone at this port."""
import sys

import requests

PORT = int(sys.argv[1])
DOMAIN = {"id": "default"}
who = {"user": {"name": "ceilometer", "domain": DOMAIN, "password": "ceilometer-password"}}
scope = {"project": {"name": "service", "domain": DOMAIN}}
body = {"auth": {"identity": {"methods": ["password"], "password": who}, "scope": scope}}
token = requests.post(f"http://127.0.0.1:{PORT}/v3/auth/tokens", json=body).headers["X-Subject-Token"]
for image in (
    {"id": "155d900f-4e14-4e4c-a73d-069cbf4541e6", "name": "debian-12", "os_distro": "debian", "hw_rng_model": "virtio"},
    {"id": "6b1f9f3c-5a53-4f0e-9a0b-4f2ad0a3a6de", "name": "тест", "kernel_id": "0f3b1ba3-0d3c-4f2f-8f7e-2b9b5a3b7f10",
     "ramdisk_id": "1f3b1ba3-0d3c-4f2f-8f7e-2b9b5a3b7f10", "tags": ["a", "b"], "min_ram": 64},
):
    image = {"disk_format": "qcow2", "container_format": "bare", "visibility": "public", "min_disk": 1, **image}
    answer = requests.post(f"http://127.0.0.1:{PORT + 2}/v2/images", json=image, headers={"X-Auth-Token": token})
    assert answer.status_code == 201, answer.text
