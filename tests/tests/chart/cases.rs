//! What all tests of the chart look at: the shapes, values that must be refused, manifests that must be found broken.

use authmesh_tests::chart::{self, Rendered};
use serde_json::{Value, json};

/// The name of what the tests install.
pub(crate) const NAME: &str = "orders-authmesh";

/// The shapes, rendered once.
pub(crate) fn rendered() -> &'static Rendered {
    let refused: Vec<Value> = refused().into_iter().map(|(values, _)| values).collect();
    chart::rendered(&refused, &broken())
}

/// Good values with others over them, section by section.
fn with(more: Value) -> Value {
    let mut values = json!({
        "issuers": [{"url": "https://login.example.com", "audience": "orders-api"}],
        "redis": {"url": "rediss://redis.example.com:6379"},
    });
    merge(&mut values, more);
    values
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// Values that must be refused, each with words that both Helms must say.
pub(crate) fn refused() -> Vec<(Value, &'static [&'static str])> {
    vec![
        // What a schema says.
        (with(json!({"unknwon": 1})), &["unknwon"]),
        (with(json!({"workload": {"replica": 3}})), &["workload", "replica"]),
        (with(json!({"workload": {"kind": "DaemonSet"}})), &["workload", "kind"]),
        (with(json!({"workload": {"replicas": 0}})), &["workload", "replicas"]),
        (
            with(json!({"config": {"server": {"listen": "0.0.0.0:1"}}})),
            &["server", "listen"],
        ),
        (with(json!({"config": {"servers": {}}})), &["config", "servers"]),
        (
            with(json!({"config": {"cache": {"max_verdict_age": "5 minutes"}}})),
            &["max_verdict_age"],
        ),
        (
            with(json!({"config": {"redis": {"log_entries": 1}}})),
            &["log_entries", "128"],
        ),
        (
            with(json!({"issuers": [{"url": "https://x", "adience": "y"}]})),
            &["adience"],
        ),
        (with(json!({"routes": [{"scopes": ["admin"]}]})), &["routes", "path"]),
        (with(json!({"redis": {"url": "http://redis.example.com"}})), &["redis"]),
        (with(json!({"redis": {"password": "s3cret"}})), &["redis", "password"]),
        (with(json!({"admin": {"port": 70000}})), &["admin", "port"]),
        (with(json!({"image": {"digest": "sha256:1"}})), &["digest"]),
        (with(json!({"bindAddress": "127.0.0.1"})), &["bindAddress"]),
        (
            with(json!({"secretFiles": [{"name": "authmesh", "secretName": "x"}]})),
            &["secretFiles"],
        ),
        (
            with(json!({"snapshot": {"volume": "hostPath"}})),
            &["snapshot", "volume"],
        ),
        // What only a template can say, and what to do about it.
        (
            json!({"redis": {"url": "rediss://r:6379"}}),
            &["issuers is empty", "issuers[0].url"],
        ),
        (
            with(json!({"issuers": [{"audience": "a"}]})),
            &["issuers[0] has neither a url nor a preset"],
        ),
        (
            with(json!({"issuers": [{"url": "https://x"}]})),
            &["issuers[0].audience is empty", "any_audience"],
        ),
        (with(json!({"valkey": {"enabled": true}})), &["exclude each other"]),
        (
            with(json!({"redis": {"url": "rediss://jo:s3cret@r:6379"}})),
            &["user name or password", "redis.existingSecret"],
        ),
        (
            with(json!({"redis": {"url": [], "username": "jo"}})),
            &["no redis.url", "name your Redis"],
        ),
        (
            with(json!({"redis": {"url": []}, "gossip": {"enabled": false}})),
            &["share nothing", "gossip.enabled=true"],
        ),
        (
            with(json!({"redis": {"url": []}, "workload": {"kind": "Sidecar"}})),
            &["gossip.expect is missing"],
        ),
        (
            with(json!({"workload": {"kind": "Sidecar"}, "autoscaling": {"enabled": true}})),
            &["nothing to scale"],
        ),
        (
            with(json!({"autoscaling": {"enabled": true, "minReplicas": 9, "maxReplicas": 3}})),
            &["minReplicas is more than"],
        ),
        (
            with(json!({"workload": {"kind": "Deployment"}, "snapshot": {"volume": "persistentVolumeClaim"}})),
            &["needs workload.kind=StatefulSet"],
        ),
        (
            with(json!({"workload": {"preStopSeconds": 40}})),
            &["terminationGracePeriodSeconds", "preStopSeconds + 10"],
        ),
        (with(json!({"logout": {"enabled": true}})), &["logout.client_ids"]),
        (
            with(json!({"redis": {"url": []}, "valkey": {"enabled": true, "tls": {"mode": "existingSecret"}}})),
            &["valkey.tls.existingSecret is empty"],
        ),
        (
            with(json!({"redis": {"url": []}, "valkey": {"enabled": true, "tls": {"mode": "certManager"}}})),
            &["valkey.tls.issuerRef is empty"],
        ),
        (
            with(json!({"redis": {"tls": {"certManager": {"enabled": true}}}})),
            &["issuerRef is empty"],
        ),
        (
            with(
                json!({"test": {"tokenSecret": "a", "clientCredentials": {"tokenUrl": "https://x", "existingSecret": "b"}}}),
            ),
            &["exclude each other"],
        ),
        (
            with(json!({"test": {"clientCredentials": {"tokenUrl": "https://x"}}})),
            &["client-id and client-secret"],
        ),
        (with(json!({"gossip": {"port": 8400}})), &["same port"]),
    ]
}

/// Manifests with one mistake each: what finds nothing wrong with them finds nothing at all.
fn broken() -> Vec<Value> {
    let meta = json!({"name": "x"});
    vec![
        json!({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"prots": []}}),
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": meta, "spec": {"replicas": "three"}}),
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": {"maxUnavailabel": 1}}),
        json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor", "metadata": meta,
               "spec": {"selector": {}, "endpoints": [{"prot": "http"}]}}),
        json!({"apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": meta, "spec": {"issuerRef": {"name": "x"}}}),
        json!({"apiVersion": "traefik.io/v1alpha1", "kind": "Middleware", "metadata": meta, "spec": {"forwardAuth": {"adress": "x"}}}),
        json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": "PodChaos", "metadata": meta, "spec": {"action": "pod-hug"}}),
    ]
}
