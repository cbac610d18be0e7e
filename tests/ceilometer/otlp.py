#!/usr/bin/env python3
"""Reads one request of OTLP a line, as JSON, the way a collector does: any field that OpenTelemetry's own description of
the protocol does not have is an error. Prints a line for each data point."""
import json
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

for line in sys.stdin:
    request = json_format.Parse(line, ExportMetricsServiceRequest())
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                for point in getattr(metric, kind).data_points:
                    attributes = {one.key: one.value.string_value for one in point.attributes}
                    temporality = metric.sum.aggregation_temporality if kind == "sum" else None
                    print(json.dumps({
                        "name": metric.name, "kind": kind, "temporality": temporality, "unit": metric.unit,
                        "time": point.time_unix_nano, "value": point.as_double, **attributes,
                    }))
