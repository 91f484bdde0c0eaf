"""Makes the schemas in crds/ of the custom resource definitions of their projects (all under the Apache License 2.0): one version of
one kind each, without descriptions and defaults, and strict, so that a misspelled field is found as a cluster finds it.

    python3 crds.py CRD.yaml...        writes crds/KIND.json for each kind that the chart, its examples or the snippets use
"""

import json
import sys
from pathlib import Path

import yaml

WANTED = {
    "ServiceMonitor", "PodMonitor", "PrometheusRule",  # prometheus-operator
    "Certificate",  # cert-manager
    "Middleware", "IngressRoute",  # Traefik
    "AuthorizationPolicy", "EnvoyFilter",  # Istio
    "PodChaos", "NetworkChaos", "StressChaos", "TimeChaos", "DNSChaos",  # Chaos Mesh
}
KEEP = {
    "type", "properties", "items", "required", "enum", "pattern", "minimum", "maximum", "minItems", "maxItems", "minLength", "maxLength",
    "anyOf", "oneOf", "allOf", "not", "additionalProperties", "format",
}


def strict(schema):
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    kept = {}
    for key, value in schema.items():
        if key == "properties":
            kept[key] = {name: strict(below) for name, below in value.items()}
        elif key in ("anyOf", "oneOf", "allOf"):
            # What these add in definitions are demands on fields that `properties` has named already.
            kept[key] = [loose(below) for below in value]
        elif key == "not":
            kept[key] = loose(value)
        elif key in KEEP:
            kept[key] = strict(value)
    if kept.get("format") in ("int32", "int64", "date-time"):
        del kept["format"]
    if "properties" in kept and "additionalProperties" not in kept and not schema.get("x-kubernetes-preserve-unknown-fields"):
        kept["additionalProperties"] = False
    if schema.get("nullable") and isinstance(kept.get("type"), str):
        kept["type"] = [kept["type"], "null"]
    return kept


def loose(schema):
    if isinstance(schema, dict):
        return {
            key: {name: loose(below) for name, below in value.items()} if key == "properties"
            else [loose(below) for below in value] if key in ("anyOf", "oneOf", "allOf")
            else loose(value)
            for key, value in schema.items()
            if key in KEEP
        }
    return schema


for file in sys.argv[1:]:
    for definition in yaml.safe_load_all(Path(file).read_text()):
        spec = (definition or {}).get("spec", {})
        kind = spec.get("names", {}).get("kind")
        if kind not in WANTED:
            continue
        version = next(version for version in spec["versions"] if version["served"] and version["storage"])
        schema = strict(version["schema"]["openAPIV3Schema"])
        for name in ("apiVersion", "kind", "metadata", "status"):
            schema["properties"].pop(name, None)
        schema["required"] = [name for name in schema.get("required", []) if name in schema["properties"]]
        whole = {"apiVersion": f"{spec['group']}/{version['name']}", "kind": kind, "schema": schema}
        Path(__file__).parent.joinpath("crds", f"{kind.lower()}.json").write_text(json.dumps(whole, separators=(",", ":")) + "\n")
