#!/usr/bin/env python3
"""otlp.py json|protobuf: reads one request of OTLP a line (protobuf: in base64), the way a collector does: any field that
OpenTelemetry's own description of the protocol does not have is an error. A request in protobuf has to be the same, byte by
byte, if OpenTelemetry's library writes it again. Prints a line for each data point."""
import base64
import json
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest


def parsed(line):
    if sys.argv[1] == "json":
        return json_format.Parse(line, ExportMetricsServiceRequest())
    body = base64.b64decode(line)
    request = ExportMetricsServiceRequest.FromString(body)
    if request.SerializeToString(deterministic=True) != body:
        sys.exit(f"OpenTelemetry writes this request differently: {line}")
    return request


for line in sys.stdin:
    for resource in parsed(line).resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                for point in getattr(metric, kind).data_points:
                    attributes = {one.key: one.value.string_value for one in point.attributes}
                    temporality = metric.sum.aggregation_temporality if kind == "sum" else None
                    monotonic = metric.sum.is_monotonic if kind == "sum" else None
                    value = getattr(point, point.WhichOneof("value"))
                    print(json.dumps({
                        "name": metric.name, "kind": kind, "temporality": temporality, "monotonic": monotonic,
                        "unit": metric.unit, "time": point.time_unix_nano, "value": value, **attributes,
                    }))
