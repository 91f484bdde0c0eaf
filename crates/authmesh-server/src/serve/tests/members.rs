//! Members and confirmations by the admin API, between nodes that gossip.

use authmesh::memory::Hub;
use authmesh::proto::gossip::GossipConfig;

use super::*;

/// Nodes without a log, each with its admin API.
struct Nodes {
    hub: Hub,
    all: Vec<(AuthMesh, Router)>,
    adapters: Vec<Arc<authmesh::memory::HubGossip>>,
}

impl Nodes {
    async fn start(count: usize) -> Self {
        let mut nodes = Self {
            hub: Hub::new(),
            all: Vec::new(),
            adapters: Vec::new(),
        };
        let mut starting = Vec::new();
        for name in ["a", "b", "c"].into_iter().take(count) {
            let adapter = Arc::new(nodes.hub.node());
            nodes.adapters.push(Arc::clone(&adapter));
            let config = GossipConfig {
                expect: count,
                ..GossipConfig::default()
            };
            let mesh = AuthMesh::builder()
                .name(name)
                .key_ring(KeyRing::new([1; 32], [[2; 32]]).unwrap())
                .issuer(
                    ISSUER,
                    Arc::new(FixedKeys::new(r#"{"keys":[]}"#)),
                    Rules::for_audiences(["dev-api"]),
                )
                .gossip(adapter)
                .gossip_config(config)
                .start();
            starting.push(tokio::spawn(mesh));
        }
        for mesh in starting {
            let mesh = mesh.await.unwrap().unwrap();
            let credential = Arc::new(Secret::new(CREDENTIAL).unwrap());
            let router = admin::router(mesh.clone(), credential, Limits::default());
            nodes.all.push((mesh, router));
        }
        nodes.eventually(|health| health["coherent"] == true).await;
        nodes
    }

    async fn ask(&self, node: usize, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Authorization", format!("Bearer {CREDENTIAL}"))
            .body(Body::from(body.to_string()))
            .unwrap();
        let response = self.all[node].1.clone().oneshot(request).await.unwrap();
        let status = response.status();
        (status, body_of(response).await)
    }

    /// Until the health of every node is like this.
    async fn eventually(&self, holds: impl Fn(&Value) -> bool) {
        for node in 0..self.all.len() {
            self.of(node, &holds).await;
        }
    }

    async fn of(&self, node: usize, holds: impl Fn(&Value) -> bool) {
        let looking = async {
            while !holds(&self.ask(node, "GET", "/v1/health", Value::Null).await.1) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), looking).await.unwrap();
    }

    /// Cuts a node off from the others.
    fn cut(&self, node: usize) {
        use authmesh::ports::Gossip as _;
        let at = self.adapters[node].address().unwrap();
        for (other, adapter) in self.adapters.iter().enumerate() {
            if other != node {
                self.hub.cut(at, adapter.address().unwrap(), true);
            }
        }
    }

    async fn incarnation(&self, name: &str) -> String {
        let (_, list) = self.ask(0, "GET", "/v1/members", Value::Null).await;
        let mut rows = list["members"].as_array().unwrap().iter();
        let row = rows.find(|row| row["node"] == name).unwrap();
        row["incarnation"].as_str().unwrap().to_owned()
    }
}

fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap();
    list.iter().map(|member| member["node"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_receipt_names_who_has_confirmed_and_who_is_missing() {
    let nodes = Nodes::start(3).await;
    let order = json!({ "subject": "alice", "wait_for": "all_live", "deadline_seconds": 20 });
    let (status, receipt) = nodes.ask(0, "POST", "/v1/revocations", order).await;
    assert_eq!(
        (status.as_u16(), &receipt["state"]),
        (200, &json!("committed")),
        "{receipt}"
    );
    assert_eq!(names(&receipt["confirmed_by"]), ["b", "c"], "{receipt}");
    assert!(names(&receipt["missing"]).is_empty(), "{receipt}");

    nodes.cut(2);
    let orders = json!([
        { "subject": "bob", "deadline_seconds": 0.1 },
        { "subject": "carol", "wait_for": "all_live", "deadline_seconds": 0.5 },
    ]);
    let (status, receipts) = nodes.ask(0, "POST", "/v1/revocations", orders).await;
    assert_eq!(status.as_u16(), 200, "{receipts}");
    for receipt in receipts["receipts"].as_array().unwrap() {
        // A majority is not enough.
        assert_eq!(receipt["state"], "unconfirmed", "{receipt}");
        assert_eq!(names(&receipt["missing"]), ["c"], "{receipt}");
        assert_eq!(names(&receipt["confirmed_by"]), ["b"], "{receipt}");
    }
}

#[tokio::test]
async fn waits_that_cannot_be_are_refused() {
    let nodes = Nodes::start(1).await;
    for wrong in [json!(-1), json!(60.5), json!(1e300), json!("2s")] {
        let order = json!({ "subject": "alice", "deadline_seconds": wrong });
        let (status, problem) = nodes.ask(0, "POST", "/v1/revocations", order).await;
        assert_eq!(status.as_u16(), 400, "{problem}");
        let list = json!([{ "subject": "bob" }, { "subject": "alice", "deadline_seconds": wrong }]);
        let (status, problem) = nodes.ask(0, "POST", "/v1/revocations", list).await;
        assert_eq!(status.as_u16(), 400, "{problem}");
    }
    let order = json!({ "subject": "alice", "wait_for": "majority" });
    assert_eq!(nodes.ask(0, "POST", "/v1/revocations", order).await.0.as_u16(), 400);
    let marks = nodes.ask(0, "GET", "/v1/marks", Value::Null).await.1;
    assert!(
        marks["marks"].as_array().unwrap().is_empty(),
        "nothing was revoked: {marks}"
    );
}

#[tokio::test]
async fn a_member_is_forgotten_unless_it_lives() {
    let nodes = Nodes::start(3).await;
    let delete = async |path: String| nodes.ask(0, "DELETE", &path, Value::Null).await;
    let (own, b, c) = (
        nodes.incarnation("a").await,
        nodes.incarnation("b").await,
        nodes.incarnation("c").await,
    );
    for (path, status) in [
        (format!("/v1/members/{b}"), 409),
        (format!("/v1/members/{own}?force=true"), 409),
        (format!("/v1/members/{}", "0".repeat(32)), 404),
        ("/v1/members/c".to_owned(), 404),
        (format!("/v1/members/{b}?force=1"), 400),
        (format!("/v1/members/{b}?really=true"), 400),
    ] {
        let (answered, problem) = delete(path.clone()).await;
        assert_eq!(answered.as_u16(), status, "{path}: {problem}");
    }
    nodes.eventually(|health| health["gossip"]["members"] == 2).await;

    nodes.cut(2);
    for node in [0, 1] {
        nodes.of(node, |health| health["status"] == "blind").await;
    }
    let (status, answer) = delete(format!("/v1/members/{c}?force=true")).await;
    assert_eq!(status.as_u16(), 200, "{answer}");
    assert_eq!(answer["forgotten"], json!({ "node": "c", "incarnation": c }));
    for node in [0, 1] {
        let taken = |health: &Value| health["coherent"] == true && health["gossip"]["members"] == 1;
        nodes.of(node, taken).await;
    }
}

#[tokio::test]
async fn metrics_show_what_gossip_does() {
    let metrics = Metrics::new().unwrap();
    let hub = Hub::new();
    let config = GossipConfig {
        expect: 2,
        ..GossipConfig::default()
    };
    let start = |name: &str, metrics: &Metrics| {
        AuthMesh::builder()
            .name(name)
            .key_ring(KeyRing::new([1; 32], [[2; 32]]).unwrap())
            .gossip(Arc::new(hub.node()))
            .gossip_config(config.clone())
            .issuer(
                ISSUER,
                Arc::new(FixedKeys::new(r#"{"keys":[]}"#)),
                Rules::for_audiences(["dev-api"]),
            )
            .meter(metrics.meter())
            .start()
    };
    let other = Metrics::new().unwrap();
    let (n1, n2) = tokio::join!(start("n1", &metrics), start("n2", &other));
    let (n1, n2) = (n1.unwrap(), n2.unwrap());
    let receipt = n1.revoke(Subject::new(ISSUER, "alice")).await.unwrap();
    assert_eq!(receipt.missing, []);
    let text = metrics.text().unwrap();
    for line in [
        "authmesh_gossip_members{node=\"n1\"} 1",
        "authmesh_gossip_found{node=\"n1\"} 1",
        "authmesh_gossip_waits_for{node=\"n1\"} 0",
        "authmesh_gossip_ring{node=\"n1\"} 1",
        "authmesh_gossip_lease_by_gossip{node=\"n1\"} 1",
        "authmesh_gossip_lease_by_redis{node=\"n1\"} 0",
        "authmesh_gossip_evidence_age_seconds{node=\"n1\"} ",
        "authmesh_gossip_datagrams_total{node=\"n1\",result=\"unopened\"} 0",
        "authmesh_gossip_io_bytes_total{direction=\"sent\",node=\"n1\"} ",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("redis_proof_age"), "there is no Redis\n{text}");
    let heard = "authmesh_statements_total{direction=\"heard\",node=\"n2\"} 1";
    assert!(other.text().unwrap().contains(heard), "{}", other.text().unwrap());
    drop(n2);
}
