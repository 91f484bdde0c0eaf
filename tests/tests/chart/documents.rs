//! Documents that must not lag behind: the chart's README, the snippets.

use authmesh_tests::chart;
use serde_json::Value;

use super::cases::rendered;

/// Every value by its path; what is free-form ends the path.
fn paths(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, below) in map {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                paths(below, &path, found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

#[test]
fn the_readme_explains_every_value() {
    let readme = chart::read("helm/authmesh/README.md");
    let mut all = Vec::new();
    paths(&rendered().values, "", &mut all);
    assert!(all.len() > 100, "{}", all.len());
    let missing: Vec<_> = all
        .iter()
        .filter(|path| !readme.contains(&format!("| `{path}` |")))
        .collect();
    assert!(
        missing.is_empty(),
        "helm/authmesh/README.md says nothing of {missing:?}"
    );
    // And of none that there is not.
    let rows = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |").map(|(path, _)| path));
    let stale: Vec<_> = rows
        .filter(|path| !path.contains(' ') && !all.iter().any(|own| own == path))
        .collect();
    assert!(stale.is_empty(), "helm/authmesh/README.md explains {stale:?}");
}

/// So that what a client sends under any of them never reaches a service.
#[test]
fn every_snippet_names_every_identity_header() {
    let names = ["Subject", "Issuer", "Client", "Scopes", "Session", "Email", "Expires"];
    for snippet in [
        "nginx.conf",
        "Caddyfile",
        "authmesh.lua",
        "envoy.yaml",
        "traefik.yaml",
        "istio.yaml",
        "ingress-nginx.yaml",
    ] {
        let text = chart::read(&format!("docs/snippets/{snippet}")).to_ascii_lowercase();
        for name in names {
            let header = format!("x-auth-{}", name.to_ascii_lowercase());
            assert!(text.contains(&header), "{snippet} lacks {header}");
        }
    }
}

/// Envoy's own tests cover Istio's filter only as long as it is the same one.
#[test]
fn the_filter_for_istio_is_the_one_that_is_tested_with_envoy() {
    let lines = |name: &str| -> Vec<String> {
        chart::read(&format!("docs/snippets/{name}"))
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("- remove: ") || line.starts_with("- append: "))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(lines("istio.yaml"), lines("envoy.yaml"));
    assert_eq!(lines("istio.yaml").len(), 10);
    for both in [
        "headers_with_underscores_action: DROP_HEADER",
        "path_with_escaped_slashes_action: REJECT_REQUEST",
    ] {
        assert!(chart::read("docs/snippets/istio.yaml").contains(both), "{both}");
        assert!(chart::read("docs/snippets/envoy.yaml").contains(both), "{both}");
    }
    let filter = &rendered().manifests["istio.yaml"][0];
    assert_eq!(
        filter["spec"]["configPatches"][0]["patch"]["value"]["name"],
        "envoy.filters.http.header_mutation"
    );
}

#[test]
fn the_examples_of_the_chart_are_manifests() {
    let names: Vec<_> = rendered().manifests.keys().collect();
    for name in [
        "traefik.yaml",
        "istio.yaml",
        "ingress-nginx.yaml",
        "redis.yaml",
        "network.yaml",
    ] {
        assert!(names.iter().any(|own| *own == name), "{name} is not among {names:?}");
    }
}

/// The image has one user, and it is the one that the chart runs it as.
#[test]
fn the_image_and_the_chart_agree() {
    let file = chart::read("Dockerfile");
    let last = file.rsplit("\nFROM ").next().unwrap();
    assert!(last.starts_with("gcr.io/distroless/static"), "{last}");
    assert!(last.contains(":nonroot") && last.contains("USER 65532:65532"), "{last}");
    assert!(last.contains("ENTRYPOINT [\"/usr/local/bin/authmesh\"]"), "{last}");
    assert!(
        !last.contains("ENV "),
        "variables of the image would win over everybody's configuration"
    );
    assert!(
        file.contains("target-feature=+crt-static") && file.contains("--locked"),
        "{file}"
    );
    let shape = &rendered().shapes["minimal"];
    let (pod, node) = shape.node();
    assert_eq!(pod["securityContext"]["runAsUser"], 65_532);
    assert_eq!(node["args"], serde_json::json!(["serve"]));
}

#[test]
fn the_notes_tell_commands_that_are_there() {
    for (name, shape) in &rendered().shapes {
        let notes = &shape.notes;
        assert!(notes.contains("-- authmesh doctor"), "{name}: {notes}");
        assert!(
            !notes.contains("%!") && !notes.contains("<no value>"),
            "{name}: {notes}"
        );
        let sidecar = shape.patch.is_some();
        assert_eq!(notes.contains("--patch-file"), sidecar, "{name}: {notes}");
        assert_eq!(notes.contains("rollout status"), !sidecar, "{name}: {notes}");
        assert_eq!(
            notes.contains("members forget"),
            !shape.config().contains("[redis]"),
            "{name}: {notes}"
        );
    }
}
