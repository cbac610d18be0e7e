#!/usr/bin/env python3
"""upstream.py CONF FILE QUERY: publishes the samples of FILE, one a line of JSON, with Ceilometer's own publisher
`gnocchi://?QUERY`."""
import json
import sys

from ceilometer import sample
from ceilometer import service
from ceilometer.publisher import gnocchi
from oslo_utils import netutils

conf = service.prepare_service([], config_files=[sys.argv[1]])
publisher = gnocchi.GnocchiPublisher(conf, netutils.urlsplit(f"gnocchi://?{sys.argv[3]}"))
samples = []
for line in open(sys.argv[2], encoding="utf-8"):
    one = json.loads(line)
    samples.append(sample.Sample(
        name=one["name"], type=one["type"], unit=one["unit"], volume=one["volume"], user_id=one["user_id"],
        project_id=one["project_id"], resource_id=one["resource_id"], timestamp=one["timestamp"],
        resource_metadata=one["resource_metadata"], source=one["source"]))
publisher.publish_samples(samples)
