"""Renders the chart in every shape, by Helm 3 and by Helm 4, and judges what comes out against the schemas of Kubernetes.

One process for all of it: Helm 4 is a library, and the schemas are read once. Takes one JSON object on standard input:

    helm3      the program
    chart      the chart's directory
    authmesh   the program whose settings the chart's schema must know
    versions   of Kubernetes, such as 1.33
    bad        list of values that must be refused
    manifests  list of files with further manifests to judge
    broken     list of manifests that must not pass

and prints one: `shapes` (by name, rendered by `helm3` and `helm4`), `invalid`, `unknown` (kinds without a schema), `judged` (how many),
`found` (of each of `broken`, how often it was found), `refusals` (for each of `bad`, what both said; null where one took it), `lint`,
`schema` (as it should be), `values` (the defaults), `manifests` (by file name).
"""

import copy
import functools
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import helm_python
import jsonschema
import yaml
from kubernetes_validate import utils as kubernetes

import schema as values_schema

RELEASE, NAMESPACE = "orders", "prod"
CUSTOM = Path(__file__).parent / "crds"
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# The library reads a schema anew for each object; there are thousands of objects and few schemas.
kubernetes.schema_contents = functools.cache(kubernetes.schema_contents)


def documents(text):
    return [document for document in yaml.load_all(text, Loader=Loader) if document]


class Helm3:
    def __init__(self, program, chart):
        self.program, self.chart = program, chart

    def run(self, *arguments):
        # No home of anybody's: neither plugins nor repositories may matter.
        with tempfile.TemporaryDirectory() as home:
            environment = {"PATH": "/usr/bin:/bin", "HOME": home}
            return subprocess.run([self.program, *arguments], capture_output=True, text=True, env=environment)

    def render(self, file):
        done = self.run("template", RELEASE, self.chart, "--namespace", NAMESPACE, "--kube-version", "1.33.0", "--values", file)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return documents(done.stdout)

    def lint(self, file):
        done = self.run("lint", self.chart, "--strict", "--namespace", NAMESPACE, "--values", file)
        return None if done.returncode == 0 else done.stdout + done.stderr


class Helm4:
    def __init__(self, chart):
        self.path, self.chart = chart, helm_python.Chart.load(chart)

    def render(self, file):
        values = yaml.load(Path(file).read_text(), Loader=Loader)
        # Where Helm checks the schema is not where it renders.
        self.chart.validate_schema(values)
        rendered = self.chart.render(values, name=RELEASE, namespace=NAMESPACE, revision=1, is_install=True)
        self.notes = next((text for path, text in rendered.items() if path.endswith("NOTES.txt")), "")
        return [document for path, text in rendered.items() if path.endswith(".yaml") for document in documents(text)]

    def lint(self, file):
        values = yaml.load(Path(file).read_text(), Loader=Loader)
        report = helm_python.lint(self.path, values, strict=True, namespace=NAMESPACE)
        bad = [message["error"] for message in report.get("messages") or [] if message["severity"] >= 2]
        return "\n".join(bad + (report.get("errors") or [])) or None


def refusal(render, file):
    try:
        render(file)
    except (RuntimeError, helm_python.HelmError) as error:
        return str(error)
    return None


class Judge:
    def __init__(self, versions):
        self.versions, self.invalid, self.unknown, self.seen = versions, [], set(), set()

    def judge(self, where, document):
        text = json.dumps(document, sort_keys=True)
        if text in self.seen:
            return
        self.seen.add(text)
        kind = f"{document.get('apiVersion')} {document.get('kind')}"
        custom = CUSTOM / f"{document.get('kind', '').lower()}.json"
        if custom.is_file() and "." in document.get("apiVersion", "").split("/")[0]:
            self.custom(where, kind, document, json.loads(custom.read_text()))
            return
        for version in self.versions:
            try:
                kubernetes.validate(document, version, strict=True)
            except kubernetes.ValidationError as error:
                path = ".".join(str(part) for part in error.path)
                self.invalid.append(f"{where}: {kind} {document['metadata']['name']}, Kubernetes {version}: {path}: {error.message}")
            except kubernetes.SchemaNotFoundError:
                self.unknown.add(kind)

    def custom(self, where, kind, document, rules):
        if rules["apiVersion"] != document["apiVersion"]:
            self.invalid.append(f"{where}: {kind}: the schema at hand is of {rules['apiVersion']}")
            return
        body = {key: value for key, value in document.items() if key not in ("apiVersion", "kind", "metadata")}
        for error in jsonschema.Draft202012Validator(rules["schema"]).iter_errors(body):
            path = ".".join(str(part) for part in error.path)
            self.invalid.append(f"{where}: {kind} {document['metadata']['name']}: {path}: {error.message}")


def patched(patch):
    """A Deployment of somebody's after the sidecar's patch, as `kubectl patch` merges it."""
    labels = {"app": "orders"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "orders"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "orders", "image": "orders:1"}]},
            },
        },
    }

    def merge(into, what):
        for key, value in what.items():
            if isinstance(value, dict):
                merge(into.setdefault(key, {}), value)
            elif isinstance(value, list):
                into.setdefault(key, []).extend(value)
            else:
                into[key] = value

    merge(deployment, copy.deepcopy(patch))
    return deployment


def main():
    order = json.load(sys.stdin)
    helm3, helm4 = Helm3(order["helm3"], order["chart"]), Helm4(order["chart"])
    judge = Judge(order["versions"])
    answer = {"shapes": {}, "refusals": [], "lint": {}}
    files = {file.name.removesuffix("-values.yaml"): str(file) for file in sorted((Path(order["chart"]) / "ci").iterdir())}
    with ThreadPoolExecutor(4) as pool, tempfile.TemporaryDirectory() as scratch:
        rendered = {name: pool.submit(helm3.render, file) for name, file in files.items()}
        linted = {name: pool.submit(helm3.lint, file) for name, file in files.items()}
        bad = []
        for index, values in enumerate(order["bad"]):
            file = Path(scratch) / f"{index}.yaml"
            file.write_text(yaml.safe_dump(values))
            bad.append((str(file), pool.submit(refusal, helm3.render, str(file))))
        for name, file in files.items():
            shape = {"helm4": helm4.render(file), "helm3": rendered[name].result(), "notes": helm4.notes}
            for document in shape["helm3"]:
                judge.judge(name, document)
                if "patch.yaml" in document.get("data", {}):
                    judge.judge(f"{name}, patched", patched(yaml.load(document["data"]["patch.yaml"], Loader=Loader)))
                    shape["patch"] = yaml.load(document["data"]["patch.yaml"], Loader=Loader)
            answer["shapes"][name] = shape
            answer["lint"][name] = {"helm3": linted[name].result(), "helm4": helm4.lint(file)}
        answer["refusals"] = [{"helm3": three.result(), "helm4": refusal(helm4.render, file)} for file, three in bad]
    answer["manifests"] = {Path(file).name: documents(Path(file).read_text()) for file in order["manifests"]}
    for name, found in answer["manifests"].items():
        for document in found:
            judge.judge(name, document)
    answer["found"] = []
    for document in order["broken"]:
        control = Judge(order["versions"])
        control.judge("broken", document)
        answer["found"].append(len(control.invalid))
    answer["values"] = yaml.load((Path(order["chart"]) / "values.yaml").read_text(), Loader=Loader)
    answer.update(invalid=judge.invalid, unknown=sorted(judge.unknown), judged=len(judge.seen))
    answer["schema"] = values_schema.schema(order["authmesh"], order["chart"])
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
