//! What is rendered, whatever the shape.

use std::collections::{BTreeMap, BTreeSet};

use authmesh_tests::chart::Shape;
use serde_json::Value;

use super::cases::{NAME, rendered};

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn name(object: &Value) -> String {
    format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Whether all labels of the selector stand among the labels. An empty selector matches everything, and is never meant.
fn selects(selector: &Value, labels: &Value) -> bool {
    let selector = selector.as_object().filter(|selector| !selector.is_empty());
    selector.is_some_and(|selector| selector.iter().all(|(key, value)| labels[key] == *value))
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    list(&pod["containers"]).chain(list(&pod["initContainers"]))
}

#[test]
fn there_are_at_least_twelve_shapes_and_nothing_to_complain_about() {
    let rendered = rendered();
    assert!(rendered.shapes.len() >= 12, "{}", rendered.shapes.len());
    for (shape, lint) in &rendered.lint {
        for (helm, said) in lint {
            assert_eq!(*said, None, "{helm} lint, {shape}");
        }
    }
}

#[test]
fn both_helms_render_the_same() {
    for (name_of, shape) in &rendered().shapes {
        let sorted = |objects: &[Value]| -> BTreeMap<String, Value> {
            let mut all = BTreeMap::new();
            for object in objects {
                let mut object = object.clone();
                // What is random is another at each rendering, and so is its hash.
                if object["kind"] == "Secret" {
                    object["data"] = Value::Null;
                    object["stringData"] = Value::Null;
                }
                assert!(
                    all.insert(name(&object), object.clone()).is_none(),
                    "{name_of}: {} twice",
                    name(&object)
                );
            }
            all
        };
        let (three, four) = (sorted(&shape.helm3), sorted(&shape.helm4));
        for (key, object) in &three {
            assert_eq!(Some(object), four.get(key), "{name_of}: {key}");
        }
        assert_eq!(three.len(), four.len(), "{name_of}");
    }
}

#[test]
fn every_manifest_obeys_the_schemas_of_three_versions_of_kubernetes() {
    let rendered = rendered();
    assert!(rendered.invalid.is_empty(), "{}", rendered.invalid.join("\n"));
    assert!(rendered.unknown.is_empty(), "without a schema: {:?}", rendered.unknown);
    assert!(rendered.judged > 100, "{} manifests", rendered.judged);
    assert!(!rendered.found.is_empty());
    for (index, found) in rendered.found.iter().enumerate() {
        assert!(
            *found > 0,
            "the mistake in broken manifest {index} was not found: the judge is asleep"
        );
    }
}

#[test]
fn pods_are_restricted() {
    for (shape_name, shape) in &rendered().shapes {
        for (whose, _, pod) in shape.pods() {
            let at = format!("{shape_name}: {whose}");
            if whose != "the patch" {
                assert_eq!(pod["automountServiceAccountToken"], false, "{at}");
                assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{at}");
                assert_eq!(
                    pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault",
                    "{at}"
                );
                assert_eq!(pod["enableServiceLinks"], false, "{at}");
            }
            for forbidden in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"] {
                assert!(pod[forbidden].is_null(), "{at}: {forbidden}");
            }
            for volume in list(&pod["volumes"]) {
                assert!(volume["hostPath"].is_null(), "{at}");
            }
            let mut count = 0;
            for container in containers(pod) {
                count += 1;
                let security = &container["securityContext"];
                assert_eq!(security["runAsNonRoot"], true, "{at}");
                assert_eq!(security["readOnlyRootFilesystem"], true, "{at}");
                assert_eq!(security["allowPrivilegeEscalation"], false, "{at}");
                assert_eq!(security["capabilities"]["drop"][0], "ALL", "{at}");
                assert!(security["privileged"].is_null(), "{at}");
                assert!(container["resources"]["limits"]["memory"].is_string(), "{at}");
                assert!(container["resources"]["requests"]["cpu"].is_string(), "{at}");
                let image = text(&container["image"]);
                assert!(
                    image.contains([':', '@']) && !image.ends_with(":latest"),
                    "{at}: {image}"
                );
            }
            assert!(count > 0, "{at}: no container");
        }
    }
}

#[test]
fn selectors_find_the_pods_that_they_are_meant_for_and_no_others() {
    for (shape_name, shape) in &rendered().shapes {
        let pods = shape.pods();
        let found = |selector: &Value| -> Vec<&str> {
            pods.iter()
                .filter(|(_, labels, _)| selects(selector, labels))
                .map(|(whose, ..)| whose.as_str())
                .collect()
        };
        for object in &shape.helm3 {
            let at = format!("{shape_name}: {}", name(object));
            let spec = &object["spec"];
            let selector = match text(&object["kind"]) {
                "Service" => &spec["selector"],
                "NetworkPolicy" => &spec["podSelector"]["matchLabels"],
                "PodDisruptionBudget" | "StatefulSet" | "Deployment" | "PodMonitor" => &spec["selector"]["matchLabels"],
                "ServiceMonitor" => {
                    let services: Vec<_> = shape
                        .all("Service")
                        .filter(|service| selects(&spec["selector"]["matchLabels"], &service["metadata"]["labels"]))
                        .map(|service| text(&service["metadata"]["name"]))
                        .collect();
                    assert_eq!(services.len(), 1, "{at} selects {services:?}");
                    continue;
                }
                _ => continue,
            };
            let valkey = text(&object["metadata"]["name"]).contains("valkey");
            let found = found(selector);
            assert_eq!(found.len(), 1, "{at} selects {found:?}");
            assert_eq!(found[0].contains("valkey"), valkey, "{at} selects {found:?}");
            assert!(
                !found[0].starts_with("Pod ") && !found[0].starts_with("Job "),
                "{at} selects {found:?}"
            );
        }
    }
}

#[test]
fn ports_lead_to_ports() {
    for (shape_name, shape) in &rendered().shapes {
        for service in shape.all("Service") {
            let at = format!("{shape_name}: {}", name(service));
            let pods = shape.pods();
            let (_, _, pod) = pods
                .iter()
                .find(|(_, labels, _)| selects(&service["spec"]["selector"], labels))
                .expect("a pod");
            for port in list(&service["spec"]["ports"]) {
                // Without a target the port itself is meant.
                let target = if port["targetPort"].is_null() {
                    &port["port"]
                } else {
                    &port["targetPort"]
                };
                let protocol = |port: &Value| port["protocol"].as_str().unwrap_or("TCP").to_owned();
                let there = containers(pod)
                    .flat_map(|container| list(&container["ports"]))
                    .any(|own| {
                        (own["name"] == *target || own["containerPort"] == *target) && protocol(own) == protocol(port)
                    });
                assert!(there, "{at}: no container has the port {target}");
            }
        }
        let (_, node) = shape.node();
        let config = shape.config();
        for port in list(&node["ports"]) {
            let number = format!(":{}\"", port["containerPort"]);
            assert!(
                config.contains(&number),
                "{shape_name}: nothing listens at {number}: {config}"
            );
        }
    }
}

#[test]
fn liveness_depends_on_nothing_but_the_process() {
    for (shape_name, shape) in &rendered().shapes {
        let (_, node) = shape.node();
        assert_eq!(node["livenessProbe"]["httpGet"]["path"], "/livez", "{shape_name}");
        assert_eq!(node["startupProbe"]["httpGet"]["path"], "/livez", "{shape_name}");
        assert_eq!(node["readinessProbe"]["httpGet"]["path"], "/readyz", "{shape_name}");
        for probe in ["livenessProbe", "startupProbe", "readinessProbe"] {
            assert_eq!(node[probe]["httpGet"]["port"], 8400, "{shape_name}");
        }
    }
}

/// The image has no shell, so nothing may call one.
#[test]
fn nodes_are_paused_by_the_kubelet_before_they_stop() {
    for (shape_name, shape) in &rendered().shapes {
        let (pod, node) = shape.node();
        assert!(node["command"].is_null(), "{shape_name}");
        let stop = &node["lifecycle"]["preStop"];
        assert!(stop["exec"].is_null(), "{shape_name}");
        let pause = stop["sleep"]["seconds"].as_i64().unwrap_or(0);
        assert_eq!(
            pause,
            if shape_name == "persistent-ipv6" { 0 } else { 5 },
            "{shape_name}"
        );
        if let Some(grace) = pod["terminationGracePeriodSeconds"].as_i64() {
            assert!(grace >= pause + 10, "{shape_name}: {grace}");
        }
    }
}

#[test]
fn members_find_each_other_before_they_are_ready() {
    for (shape_name, shape) in &rendered().shapes {
        let gossips = shape.config().contains("[gossip]");
        let headless = shape
            .all("Service")
            .find(|service| text(&service["metadata"]["name"]).ends_with("-gossip"));
        if gossips {
            let headless = headless.expect("a Service for seeds");
            assert_eq!(headless["spec"]["clusterIP"], "None", "{shape_name}");
            assert_eq!(headless["spec"]["publishNotReadyAddresses"], true, "{shape_name}");
            let seed = format!("{}.prod.svc:", text(&headless["metadata"]["name"]));
            assert!(shape.config().contains(&seed), "{shape_name}: {}", shape.config());
            for set in shape
                .all("StatefulSet")
                .filter(|set| !text(&set["metadata"]["name"]).contains("valkey"))
            {
                // One after the other, none would be ready without Redis.
                assert_eq!(set["spec"]["podManagementPolicy"], "Parallel", "{shape_name}");
            }
        }
    }
}

fn policy<'a>(shape: &'a Shape, name: &str) -> &'a Value {
    &shape.one("NetworkPolicy", name)["spec"]
}

fn ports(rule: &Value) -> BTreeSet<i64> {
    list(&rule["ports"]).filter_map(|port| port["port"].as_i64()).collect()
}

#[test]
fn only_members_reach_the_gossip_port_and_only_operators_the_admin_port() {
    let shapes = &rendered().shapes;
    for (shape_name, shape) in shapes {
        let Some(policy) = shape.find("NetworkPolicy", NAME) else {
            continue;
        };
        let (_, node) = shape.node();
        let listening: BTreeSet<i64> = list(&node["ports"])
            .filter_map(|port| port["containerPort"].as_i64())
            .collect();
        let mut open = BTreeSet::new();
        for rule in list(&policy["spec"]["ingress"]) {
            let ports = ports(rule);
            if ports.contains(&7946) || ports.contains(&7950) {
                let from: Vec<&Value> = list(&rule["from"]).collect();
                assert_eq!(from.len(), 1, "{shape_name}");
                let labels = &from[0]["podSelector"]["matchLabels"];
                assert!(labels["authmesh.dev/cluster"].is_string(), "{shape_name}");
                let protocols: BTreeSet<&str> = list(&rule["ports"]).map(|port| text(&port["protocol"])).collect();
                assert_eq!(protocols, BTreeSet::from(["TCP", "UDP"]), "{shape_name}");
            }
            if ports.contains(&8500) {
                assert_eq!(
                    rule["from"][0]["podSelector"]["matchLabels"]["app"], "console",
                    "{shape_name}"
                );
            }
            open.extend(ports);
        }
        assert!(
            open.is_subset(&listening),
            "{shape_name}: open {open:?}, listening {listening:?}"
        );
        let closed: Vec<_> = listening.difference(&open).collect();
        assert!(closed.is_empty(), "{shape_name}: nobody can reach {closed:?}");
    }
    let minimal = policy(&shapes["minimal"], NAME);
    let out: BTreeSet<i64> = list(&minimal["egress"]).flat_map(ports).collect();
    assert_eq!(out, BTreeSet::from([53, 443, 6379, 7946]));
    let many = policy(&shapes["many-settings"], NAME);
    let out: BTreeSet<i64> = list(&many["egress"]).flat_map(ports).collect();
    assert!(out.contains(&8443), "the port of an issuer's URL: {out:?}");
    assert!(out.contains(&4318), "the port of the collector: {out:?}");
    let mtls: BTreeSet<i64> = list(&policy(&shapes["redis-mtls"], NAME)["egress"])
        .flat_map(ports)
        .collect();
    assert!(mtls.contains(&6380), "the port of Redis' URL: {mtls:?}");
    let hpa = policy(&shapes["deployment-hpa"], NAME);
    let askers: Vec<&Value> = list(&hpa["ingress"][0]["from"]).collect();
    assert_eq!(
        askers.len(),
        3,
        "proxies, Prometheus, the test of the chart: {askers:?}"
    );
}

#[test]
fn the_number_of_nodes_is_somebodys_business_and_one_ones_only() {
    for (shape_name, shape) in &rendered().shapes {
        let scaled = shape.all("HorizontalPodAutoscaler").next();
        let kind = ["StatefulSet", "Deployment"]
            .iter()
            .find_map(|kind| shape.find(kind, NAME));
        let Some(workload) = kind else { continue };
        assert_eq!(workload["spec"]["replicas"].is_null(), scaled.is_some(), "{shape_name}");
        if let Some(scaler) = scaled {
            assert_eq!(
                scaler["spec"]["scaleTargetRef"]["kind"], workload["kind"],
                "{shape_name}"
            );
            assert_eq!(scaler["spec"]["scaleTargetRef"]["name"], NAME, "{shape_name}");
        }
    }
}

#[test]
fn a_sidecar_starts_before_and_ends_after_the_containers_of_the_pod() {
    for shape_name in ["sidecar", "sidecar-gossip"] {
        let shape = &rendered().shapes[shape_name];
        let patch = shape.patch.as_ref().expect("a patch");
        let pod = &patch["spec"]["template"]["spec"];
        assert_eq!(pod["initContainers"][0]["name"], "authmesh");
        assert_eq!(pod["initContainers"][0]["restartPolicy"], "Always");
        assert_eq!(
            patch["spec"]["template"]["metadata"]["labels"]["authmesh.dev/cluster"],
            NAME
        );
        // Nothing else of the pod changes, and none of its ports is closed.
        let keys: BTreeSet<&str> = pod.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, BTreeSet::from(["initContainers", "volumes"]));
        assert_eq!(shape.all("NetworkPolicy").count(), 0, "{shape_name}");
        // All that it mounts comes along.
        let volumes: BTreeSet<&str> = list(&pod["volumes"]).map(|volume| text(&volume["name"])).collect();
        for mount in list(&pod["initContainers"][0]["volumeMounts"]) {
            assert!(volumes.contains(text(&mount["name"])), "{mount}");
        }
        for kind in [
            "StatefulSet",
            "Deployment",
            "HorizontalPodAutoscaler",
            "PodDisruptionBudget",
        ] {
            assert_eq!(shape.all(kind).count(), 0, "{shape_name}: {kind}");
        }
    }
}
