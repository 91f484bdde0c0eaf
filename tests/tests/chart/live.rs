//! A release without Kubernetes: the chart's Valkey scripts make a cluster of real servers, a node runs from the rendered configuration
//! and mounts, and the script of `helm test` asks it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use authmesh_tests::chart::Shape;
use authmesh_tests::idp::{Idp, Order};
use authmesh_tests::ports::Port;
use authmesh_tests::process::{NotReady, Process, command, started};
use authmesh_tests::tools;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use super::cases::{NAME, rendered};
use super::config::Root;

const READY_WITHIN: Duration = Duration::from_secs(30);
const SERVERS: usize = 6;
const REJOINS_WITHIN: Duration = Duration::from_secs(60);

fn data(shape: &Shape, map: &str, key: &str) -> String {
    shape.one("ConfigMap", map)["data"][key]
        .as_str()
        .expect("a text")
        .to_owned()
}

/// A value of a rendered Secret.
fn secret(shape: &Shape, name: &str, key: &str) -> String {
    let object = shape.one("Secret", name);
    if let Some(text) = object["stringData"][key].as_str() {
        return text.to_owned();
    }
    let coded = object["data"][key]
        .as_str()
        .unwrap_or_else(|| panic!("{name} has no {key}"));
    String::from_utf8(STANDARD.decode(coded).unwrap()).unwrap()
}

/// What the pods of Valkey mount, and where each server keeps its data.
struct Files {
    folder: TempDir,
}

impl Files {
    fn of(shape: &Shape) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (name, at) = (format!("{NAME}-valkey"), folder.path());
        for sub in ["valkey", "tls", "config"] {
            fs::create_dir(at.join(sub)).unwrap();
        }
        for key in ["operator-password", "users.acl"] {
            fs::write(at.join("valkey").join(key), secret(shape, &format!("{name}-auth"), key)).unwrap();
        }
        for key in ["tls.crt", "tls.key", "ca.crt"] {
            fs::write(at.join("tls").join(key), secret(shape, &format!("{name}-tls"), key)).unwrap();
        }
        for key in ["start.sh", "bootstrap.sh"] {
            fs::write(at.join("config").join(key), data(shape, &name, key)).unwrap();
        }
        Self { folder }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// The scripts' variables, with Redis in the place of Valkey: Debian has no Valkey, and the chart uses nothing that only one has.
    fn around(&self, run: &mut Command, peers: &str) {
        run.env("SECRETS", self.folder.path())
            .env("CLI", "redis-cli")
            .env("SERVER", "redis-server")
            .env("PAUSE", "1")
            .env("PEERS", peers);
    }
}

/// One server, started by the rendered script from the rendered configuration.
async fn server(shape: &Shape, files: &Files, index: usize, port: &Port, peers: &str) -> Result<Process, NotReady> {
    let own = files.path(&format!("server-{index}"));
    fs::create_dir_all(&own).unwrap();
    let data_folder = own.join("data");
    fs::create_dir_all(&data_folder).unwrap();
    let config = data(shape, &format!("{NAME}-valkey"), "valkey.conf")
        .replace("tls-port 6379", &format!("tls-port {}", port.number()))
        .replace("dir /data", &format!("dir {}", data_folder.display()))
        .replace("/run/secrets", &files.folder.path().to_string_lossy())
        // Elsewhere each server has an address of its own.
        + "\nbind 127.0.0.1\n";
    fs::write(own.join("valkey.conf"), config).unwrap();
    let mut run = command("sh");
    run.arg(files.path("config/start.sh"))
        .env("CONFIG", &own)
        .env("DATA", &data_folder)
        .env("PORT", port.number().to_string())
        .env("ANNOUNCE", "localhost");
    files.around(&mut run, peers);
    let mut process = Process::spawn(&format!("server {index}"), run);
    process.accepting(port.address(), READY_WITHIN).await?;
    Ok(process)
}

fn output(mut run: Command) -> (bool, String) {
    output_of(&mut run)
}

fn output_of(run: &mut Command) -> (bool, String) {
    let output = run.output().expect("sh runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

fn bootstrap(files: &Files, peers: &str) -> String {
    let mut run = command("sh");
    run.arg(files.path("config/bootstrap.sh")).env("REPLICAS", "1");
    files.around(&mut run, peers);
    let (good, said) = output(run);
    assert!(good, "{said}");
    said
}

fn ready(files: &Files, port: &Port, peers: &str) -> bool {
    let mut run = command("sh");
    run.arg(files.path("config/start.sh"))
        .arg("ready")
        .env("PORT", port.number().to_string());
    files.around(&mut run, peers);
    output(run).0
}

/// A server whose data are gone, as those of a pod that moved, is a replica again without anybody's help.
async fn rejoins(files: &Files, port: &Port) {
    let deadline = Instant::now() + REJOINS_WITHIN;
    loop {
        let mut ask = command("redis-cli");
        ask.args(["--user", "operator", "--no-auth-warning", "--tls"])
            .args(["-p", &port.number().to_string()])
            .env(
                "REDISCLI_AUTH",
                fs::read_to_string(files.path("valkey/operator-password")).unwrap(),
            );
        for (option, file) in [("--cert", "tls.crt"), ("--key", "tls.key"), ("--cacert", "ca.crt")] {
            ask.arg(option).arg(files.path("tls").join(file));
        }
        let said = output_of(ask.args(["info", "replication"])).1;
        if said.contains("role:slave") && said.contains("master_link_status:up") {
            return;
        }
        assert!(Instant::now() < deadline, "it is no replica: {said}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The script of `helm test`, from the rendered ConfigMap, with the variables that the rendered pod has.
fn helm_test(shape: &Shape, node: &str, variables: &[(&str, &str)], folder: &Path) -> (bool, String) {
    tools::require("curl");
    let script = folder.join("verify.sh");
    fs::write(&script, data(shape, &format!("{NAME}-test"), "verify.sh")).unwrap();
    let pod = shape.one("Pod", &format!("{NAME}-test"));
    let mut run = command("sh");
    run.arg(script);
    for variable in pod["spec"]["containers"][0]["env"].as_array().unwrap() {
        run.env(
            variable["name"].as_str().unwrap(),
            variable["value"].as_str().unwrap_or(""),
        );
    }
    run.env("AUTHMESH_URL", node)
        .env("TOKEN_AUTH", "client_secret_post")
        .envs(variables.iter().copied());
    output(run)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_with_its_own_valkey_verifies_a_token_end_to_end() {
    tools::require("redis-server");
    tools::require("redis-cli");
    let shape = &rendered().shapes["valkey"];
    let files = Files::of(shape);

    let (mut servers, ports) = started(async || {
        let ports: Vec<Port> = (0..SERVERS).map(|_| port_with_bus()).collect();
        let peers = peers(&ports);
        let mut servers = Vec::new();
        for (index, port) in ports.iter().enumerate() {
            servers.push(server(shape, &files, index, port, &peers).await?);
        }
        Ok((servers, ports))
    })
    .await;
    let peers = peers(&ports);
    assert!(ready(&files, &ports[0], &peers), "the readiness probe of a server");
    let said = bootstrap(&files, &peers);
    assert!(said.contains("a cluster of 6 servers"), "{said}");
    // The job runs again at each upgrade.
    let said = bootstrap(&files, &peers);
    assert!(said.contains("there is a cluster already"), "{said}");

    // The node, from what its pod mounts.
    let idp = Idp::start().await;
    let auth = format!("{NAME}-valkey-auth");
    let tls = format!("{NAME}-valkey-tls");
    let content = |name: &str| {
        Some(match name {
            "key-ring" => secret(shape, &format!("{NAME}-key-ring"), "key-ring"),
            "admin-token" => secret(shape, &format!("{NAME}-admin"), "token"),
            "redis-password" => secret(shape, &auth, "password"),
            "redis-ca.crt" => secret(shape, &tls, "ca.crt"),
            "redis-client.crt" => secret(shape, &tls, "tls.crt"),
            "redis-client.key" => secret(shape, &tls, "tls.key"),
            _ => return None,
        })
    };
    let root = Root::of(shape, content);
    let (mut node, url) = started(async || {
        let (listen, admin, gossip) = (Port::reserve(), Port::reserve(), Port::reserve());
        let urls: Vec<String> = ports
            .iter()
            .take(3)
            .map(|port| format!("rediss://localhost:{}", port.number()))
            .collect();
        let mut config = String::new();
        for line in root.text(shape.config()).lines() {
            let line = match line {
                "listen = \"0.0.0.0:8400\"" => format!("listen = \"{}\"", listen.address()),
                "listen = \"127.0.0.1:8500\"" => format!("listen = \"{}\"", admin.address()),
                "bind = \"0.0.0.0:7946\"" => format!("bind = \"{}\"", gossip.address()),
                line if line.starts_with("seeds = ") => format!("seeds = [\"{}\"]", gossip.address()),
                line if line.starts_with("url = [\"rediss://") => format!("url = {urls:?}"),
                "url = \"https://login.example.com\"" => format!("url = \"{}\"", idp.issuer()),
                line => line.to_owned(),
            };
            config.push_str(&line);
            config.push('\n');
        }
        config.push_str("\n[danger]\nallow_http = true\n");
        fs::write(root.path("/etc/authmesh/authmesh.toml"), config).unwrap();
        let (_, container) = shape.node();
        let mut run = command(tools::authmesh_binary());
        for argument in container["args"].as_array().unwrap() {
            run.arg(argument.as_str().unwrap());
        }
        let advertise = format!("127.0.0.1:{}", gossip.number());
        for (name, value) in root.variables(container, "127.0.0.1") {
            match name.as_str() {
                "POD_IP" => {}
                "AUTHMESH_GOSSIP_ADVERTISE" => {
                    run.env(name, &advertise);
                }
                _ => {
                    run.env(name, value);
                }
            }
        }
        let mut process = Process::spawn("authmesh", run);
        let url = format!("http://{}", listen.address());
        process.answering(&format!("{url}/readyz"), READY_WITHIN).await?;
        Ok((process, (url, [listen, admin, gossip])))
    })
    .await;
    let url = &url.0;

    // `helm test`, with what it is given: nothing, a client, a token, a token that is refused.
    let folder = tempfile::tempdir().unwrap();
    let given = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name).to_string_lossy().into_owned()
    };
    let credentials = folder.path().to_string_lossy().into_owned();
    given("client-id", "alice");
    given("client-secret", "alice-test-secret");
    let token_url = format!("{}/token", idp.issuer());
    let (good, said) = helm_test(
        shape,
        url,
        &[
            ("TOKEN_URL", &token_url),
            ("CREDENTIALS", &credentials),
            ("TOKEN_RESOURCE", "urn:orders-api"),
        ],
        folder.path(),
    );
    assert!(good && said.contains("verified twice"), "{said}");
    assert!(
        !said.contains("alice-test-secret") && !said.contains("eyJ"),
        "it shows a secret: {said}"
    );

    let nothing = [("TOKEN_URL", ""), ("TOKEN", "/nowhere")];
    let (good, said) = helm_test(shape, url, &nothing, folder.path());
    assert!(good && said.contains("no token was given"), "{said}");

    let token = given("token", &idp.token(Order::default()).await);
    let (good, said) = helm_test(shape, url, &[("TOKEN_URL", ""), ("TOKEN", &token)], folder.path());
    assert!(good && said.contains("verified twice"), "{said}");

    let elsewhere = Order {
        audience: "billing-api",
        ..Order::default()
    };
    let token = given("other", &idp.token(elsewhere).await);
    let (good, said) = helm_test(shape, url, &[("TOKEN_URL", ""), ("TOKEN", &token)], folder.path());
    assert!(!good && said.contains("FAILED") && said.contains("401"), "{said}");
    let (good, said) = helm_test(
        shape,
        "http://127.0.0.1:9",
        &[("TOKEN_URL", ""), ("TOKEN", &token)],
        folder.path(),
    );
    assert!(!good && said.contains("no node is ready"), "{said}");

    // A pod of Valkey moves to another machine, and its emptyDir does not.
    servers[4].kill();
    fs::remove_dir_all(files.path("server-4/data")).unwrap();
    servers[4] = server(shape, &files, 4, &ports[4], &peers)
        .await
        .unwrap_or_else(|trouble| panic!("{trouble}"));
    rejoins(&files, &ports[4]).await;

    // What the NOTES tell to type.
    let mut status = command(tools::authmesh_binary());
    status
        .args(["status", "--config"])
        .arg(root.path("/etc/authmesh/authmesh.toml"));
    let (good, said) = output(status);
    assert!(good && said.contains("orders-authmesh-0"), "{said}");

    // As the kubelet stops it.
    node.signal("TERM");
    let ended = node.ended(Duration::from_secs(20)).await;
    assert!(ended.success(), "{ended}");
    drop(servers);
}

/// A port to which 10,000 can be added: the servers' bus is there, and the chart's scripts leave it there.
fn port_with_bus() -> Port {
    // Those that are too high are kept meanwhile, so that another one comes.
    let mut high = Vec::new();
    loop {
        let port = Port::reserve();
        if port.number() <= 55_535 {
            return port;
        }
        high.push(port);
    }
}

fn peers(ports: &[Port]) -> String {
    let peers: Vec<String> = ports.iter().map(|port| port.address().to_string()).collect();
    peers.join(" ")
}
