"""Writes values.schema.json: the chart's own values as they stand in values.yaml, and the settings of authmesh.toml as the
program itself lists them (`authmesh config default`).

    python3 schema.py path/to/authmesh path/to/helm/authmesh          prints the schema
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import yaml

# Settings that the chart sets itself. Whoever wants another one has a value of the chart for it.
OWNED = {
    "cluster.name", "cluster.node", "cluster.key_ring_file", "server.listen", "admin.listen", "admin.token_file", "logout.listen",
    "redis.url", "redis.username", "redis.password_file", "redis.ca_file", "redis.client_cert_file", "redis.client_key_file",
    "gossip.bind", "gossip.advertise", "gossip.seeds", "gossip.expect", "marks.snapshot",
}

STRING = {"type": "string"}
PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
WORDS = {"type": "object", "additionalProperties": STRING}
ANY_OBJECT = {"type": "object"}
OBJECTS = {"type": "array", "items": ANY_OBJECT}
QUANTITY = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?([EPTGMk]i?|m)?$"}
NAME = {"type": "string", "pattern": r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)?$"}
KEY = {"type": "string", "pattern": r"^[-._a-zA-Z0-9]+$"}
COUNT = {"type": "integer", "minimum": 0}
RATIO = {"type": "number", "minimum": 0, "maximum": 1}
PULL = {"enum": ["Always", "IfNotPresent", "Never"]}
DIGEST = {"type": "string", "pattern": r"^(sha256:[0-9a-f]{64})?$"}
ISSUER_REF = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"name": STRING, "kind": {"enum": ["Issuer", "ClusterIssuer"]}, "group": STRING},
}


def one_of(*words):
    return {"enum": list(words)}


def at_least(least):
    return {"type": "integer", "minimum": least}


# What the default in values.yaml does not tell.
TELLS_MORE = {
    "commonLabels": WORDS,
    "nameOverride": NAME,
    "fullnameOverride": NAME,
    "imagePullSecrets": {"type": "array", "items": {"type": "object", "additionalProperties": False, "properties": {"name": NAME}, "required": ["name"]}},
    "cluster.name": {"type": "string", "pattern": "^[a-z0-9-]{0,64}$"},
    "workload.kind": one_of("StatefulSet", "Deployment", "Sidecar"),
    "workload.replicas": at_least(1),
    "workload.annotations": WORDS,
    "workload.podAnnotations": WORDS,
    "workload.podLabels": WORDS,
    "workload.nodeSelector": WORDS,
    "workload.tolerations": OBJECTS,
    "workload.affinity": ANY_OBJECT,
    "workload.topologySpread.whenUnsatisfiable": one_of("ScheduleAnyway", "DoNotSchedule"),
    "workload.minReadySeconds": COUNT,
    "workload.preStopSeconds": COUNT,
    "workload.terminationGracePeriodSeconds": COUNT,
    "workload.extraEnv": OBJECTS,
    "workload.extraVolumes": OBJECTS,
    "workload.extraVolumeMounts": OBJECTS,
    "resources": ANY_OBJECT,
    "bindAddress": one_of("0.0.0.0", "[::]"),
    "service.type": one_of("ClusterIP", "NodePort", "LoadBalancer"),
    "service.port": PORT,
    "service.annotations": WORDS,
    "service.internalTrafficPolicy": one_of("Cluster", "Local"),
    "admin.port": PORT,
    "logout.port": PORT,
    "logout.annotations": WORDS,
    "gossip.port": PORT,
    "gossip.expect": {"type": ["integer", "null"], "minimum": 1, "maximum": 1024},
    "gossip.extraSeeds": {"type": "array", "maxItems": 63, "items": {"type": "string", "pattern": ":[0-9]+$"}},
    "redis.url": {
        "oneOf": [
            {"type": "string", "pattern": "^(rediss?://.+)?$"},
            {"type": "array", "maxItems": 16, "items": {"type": "string", "pattern": "^rediss?://.+$"}},
        ]
    },
    "redis.tls.certManager.issuerRef": ISSUER_REF,
    "valkey.primaries": {"type": "integer", "minimum": 3, "maximum": 16},
    "valkey.replicasPerPrimary": {"type": "integer", "minimum": 0, "maximum": 3},
    "valkey.nodeTimeoutMilliseconds": at_least(500),
    "valkey.maxmemory": {"type": "string", "pattern": "^[0-9]+(kb|mb|gb)$"},
    "valkey.antiAffinity": one_of("preferred", "required"),
    "valkey.tls.mode": one_of("generated", "certManager", "existingSecret"),
    "valkey.tls.issuerRef": ISSUER_REF,
    "valkey.persistence.size": QUANTITY,
    "valkey.resources": ANY_OBJECT,
    "valkey.nodeSelector": WORDS,
    "valkey.tolerations": OBJECTS,
    "snapshot.volume": one_of("emptyDir", "persistentVolumeClaim"),
    "snapshot.size": QUANTITY,
    "secretFiles": {
        "type": "array",
        "items": {
            "type": "object",
            "additionalProperties": False,
            "required": ["name", "secretName"],
            "properties": {
                "name": {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$", "not": {"const": "authmesh"}},
                "secretName": NAME,
            },
        },
    },
    "serviceAccount.annotations": WORDS,
    "podDisruptionBudget.maxUnavailable": {"oneOf": [at_least(1), {"type": "string", "pattern": "^[1-9][0-9]?%$"}]},
    "autoscaling.minReplicas": at_least(1),
    "autoscaling.maxReplicas": at_least(1),
    "autoscaling.targetCPUUtilizationPercentage": {"type": "integer", "minimum": 1, "maximum": 100},
    "networkPolicy.askers": OBJECTS,
    "networkPolicy.scrapers": OBJECTS,
    "networkPolicy.logoutSenders": OBJECTS,
    "networkPolicy.operators": OBJECTS,
    "networkPolicy.issuerPeers": OBJECTS,
    "networkPolicy.redisPeers": OBJECTS,
    "networkPolicy.extraIngress": OBJECTS,
    "networkPolicy.extraEgress": OBJECTS,
    "metrics.serviceMonitor.labels": WORDS,
    "metrics.prometheusRule.labels": WORDS,
    "metrics.prometheusRule.disabled": {"type": "array", "items": {"type": "string", "pattern": "^Authmesh[A-Za-z]+$"}},
    "metrics.prometheusRule.thresholds.missRatio": RATIO,
    "metrics.prometheusRule.thresholds.couldNotAskRatio": RATIO,
    "metrics.dashboard.labels": WORDS,
    "metrics.dashboard.annotations": WORDS,
    "test.clientCredentials.authMethod": one_of("client_secret_basic", "client_secret_post"),
    "test.path": {"type": "string", "pattern": "^/"},
}


def settings(program):
    """Every setting as (table, key, how its values are described)."""
    text = subprocess.run([program, "config", "default"], check=True, capture_output=True, text=True).stdout
    table, words = None, []
    for line in text.splitlines():
        heading = re.fullmatch(r"#?\[+([a-z_.]+)\]+", line)
        setting = re.fullmatch(r"#?([a-z_]+) = .*", line)
        if heading:
            table, words = heading[1], []
        elif setting and table:
            takes = [index for index, word in enumerate(words) if word.startswith("# Takes ")]
            about = " ".join(word[2:] for word in words[takes[-1]:-1]) if takes else ""
            yield table, setting[1], about
            words = []
        elif line.startswith("# "):
            words.append(line)
        elif not line:
            words = []


def schema_of(takes):
    if takes.startswith("Takes true or false"):
        return {"type": "boolean"}
    count = re.match(r"Takes a whole number from (\d+) to (\d+)", takes)
    if count:
        return {"type": "integer", "minimum": int(count[1]), "maximum": int(count[2])}
    if takes.startswith("Takes a list of "):
        return {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    choice = re.match(r"Takes one of (.+?) in quotes", takes)
    if choice:
        return {"enum": choice[1].split(", ")}
    if takes.startswith("Takes a duration"):
        return {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"}
    if takes.startswith("Takes a size"):
        return {"type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$"}
    return {"type": "string"}


def closed():
    return {"type": "object", "additionalProperties": False, "properties": {}}


def program_part(program):
    """`issuers`, `routes` and `config`, in the words of the file."""
    lists = {name: closed() for name in ("issuers", "routes")}
    sections = closed()
    for table, key, takes in settings(program):
        if f"{table}.{key}" in OWNED:
            continue
        first, *rest = table.split(".")
        place = lists[first] if first in lists else sections["properties"].setdefault(first, closed())
        for name in rest:
            place = place["properties"].setdefault(name, closed())
        place["properties"][key] = schema_of(takes)
    lists["routes"]["required"] = ["path"]
    both = {name: {"type": "array", "items": items} for name, items in lists.items()}
    return {**both, "config": sections}


def chart_part(value, path=""):
    if path in TELLS_MORE:
        return TELLS_MORE[path]
    if isinstance(value, dict):
        schema = closed()
        for key, below in value.items():
            schema["properties"][key] = chart_part(below, f"{path}.{key}" if path else key)
        return schema
    last = path.rsplit(".", 1)[-1]
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, (int, float)):
        return {"type": "number", "minimum": 0}
    if last == "pullPolicy":
        return PULL
    if last == "digest":
        return DIGEST
    if last.endswith("SecretKey"):
        return KEY
    if last.endswith(("Secret", "storageClassName")):
        return NAME
    if isinstance(value, str):
        return STRING
    raise SystemExit(f"{path}: values.yaml does not tell what this takes, and TELLS_MORE says nothing")


def schema(program, chart):
    values = yaml.safe_load((Path(chart) / "values.yaml").read_text())
    whole = chart_part({key: value for key, value in values.items() if key not in ("issuers", "routes", "config")})
    whole["properties"].update(program_part(program))
    # Helm passes these along.
    whole["properties"]["global"] = ANY_OBJECT
    whole = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of the chart authmesh", **whole}
    return json.dumps(whole, indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema(sys.argv[1], sys.argv[2]))
