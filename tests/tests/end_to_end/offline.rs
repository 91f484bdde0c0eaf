//! The offline command `authmesh token verify`: a verdict from a saved key set, and an exit code for scripts.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use authmesh_tests::forge;
use authmesh_tests::idp::{Idp, Order};
use authmesh_tests::process::command;
use authmesh_tests::tools;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const ENDS_WITHIN: Duration = Duration::from_secs(15);

const VALID: i32 = 0;
const REFUSED: i32 = 1;
const USAGE: i32 = 2;

#[derive(Debug)]
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// `authmesh token verify ARGUMENTS` with the token on standard input, where no process list shows it.
async fn verify(arguments: &[&str], token: &str) -> Run {
    let mut child = Command::from(command(tools::authmesh_binary()))
        .args(["token", "verify"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().unwrap();
    // A command that rejects its arguments may end before it reads: the exit code tells.
    let _ = stdin.write_all(token.as_bytes()).await;
    drop(stdin);
    let output = tokio::time::timeout(ENDS_WITHIN, child.wait_with_output())
        .await
        .unwrap_or_else(|_| panic!("`token verify {arguments:?}` did not end in time"))
        .unwrap();
    let run = Run {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    if let [_, _, signature] = token.split('.').collect::<Vec<_>>()[..]
        && signature.len() > 16
    {
        let shown = run.stdout.contains(signature) || run.stderr.contains(signature);
        assert!(!shown, "`token verify {arguments:?}` shows the token");
    }
    run
}

fn save(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_tell_valid_from_refused_from_misused() {
    let idp = Idp::start().await;
    let scratch = tempfile::tempdir().unwrap();
    let jwks = save(scratch.path(), "jwks.json", &idp.jwks().await);
    let issuer = idp.issuer();
    let good = idp.token(Order::default()).await;
    let strict = ["--jwks", &jwks, "--issuer", &issuer, "--audience", "orders-api", "-"];

    let expect = async |code: i32, arguments: &[&str], token: &str, why: &str| {
        let run = verify(arguments, token).await;
        assert_eq!(run.code, Some(code), "{why}: {run:?}");
        run
    };
    for alg in ["RS256", "ES256", "EdDSA"] {
        let token = idp
            .token(Order {
                alg,
                ..Order::default()
            })
            .await;
        expect(VALID, &strict, &token, alg).await;
    }
    expect(
        VALID,
        &strict,
        &format!("{good}\n"),
        "a line end, as editors and `echo` leave it",
    )
    .await;
    expect(
        VALID,
        &["--jwks", &jwks, "--jws-only", "-"],
        &good,
        "the signature alone",
    )
    .await;
    expect(
        VALID,
        &[
            "--jwks",
            &jwks,
            "--issuer",
            &issuer,
            "--audience",
            "orders-api",
            "--algorithms",
            "RS256",
            "-",
        ],
        &good,
        "RS256 allowed",
    )
    .await;

    let elsewhere = idp
        .token(Order {
            audience: "billing-api",
            ..Order::default()
        })
        .await;
    expect(REFUSED, &strict, &elsewhere, "another audience").await;
    expect(
        REFUSED,
        &strict,
        &forge::with_broken_signature(&good),
        "a broken signature",
    )
    .await;
    expect(
        REFUSED,
        &strict,
        &forge::with_claim(&good, "sub", "root"),
        "another subject",
    )
    .await;
    expect(REFUSED, &strict, &forge::unsigned(&good, "none"), "alg none").await;
    expect(
        REFUSED,
        &strict,
        &forge::hs256(&good, idp.first_rsa_pem().as_bytes()),
        "HS256 with the public key",
    )
    .await;
    expect(
        REFUSED,
        &strict,
        &forge::with_kid(&good, "unheard-of"),
        "a key that is not in the file",
    )
    .await;
    expect(REFUSED, &strict, "not a token", "garbage").await;
    expect(
        REFUSED,
        &[
            "--jwks",
            &jwks,
            "--issuer",
            "https://elsewhere.example",
            "--audience",
            "orders-api",
            "-",
        ],
        &good,
        "another issuer",
    )
    .await;
    expect(
        REFUSED,
        &[
            "--jwks",
            &jwks,
            "--issuer",
            &issuer,
            "--audience",
            "orders-api",
            "--algorithms",
            "ES256",
            "-",
        ],
        &good,
        "RS256 not allowed",
    )
    .await;

    let missing = scratch.path().join("missing.json");
    let missing = missing.to_str().unwrap();
    let run = expect(USAGE, &["--jwks", missing, "-"], &good, "no such file").await;
    assert!(
        run.stderr.contains("missing.json"),
        "the message does not name the file: {run:?}"
    );
    let broken = save(scratch.path(), "broken.json", "{\"keys\":");
    let run = expect(USAGE, &["--jwks", &broken, "-"], &good, "a file that is no key set").await;
    assert!(
        run.stderr.contains("broken.json"),
        "the message does not name the file: {run:?}"
    );
    expect(USAGE, &["--no-such-option", "-"], &good, "an unknown option").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_json_output_is_one_object_with_the_verdict() {
    let idp = Idp::start().await;
    let scratch = tempfile::tempdir().unwrap();
    let jwks = save(scratch.path(), "jwks.json", &idp.jwks().await);
    let issuer = idp.issuer();
    let good = idp.token(Order::default()).await;
    let arguments = [
        "--jwks",
        &jwks,
        "--issuer",
        &issuer,
        "--audience",
        "orders-api",
        "--json",
        "-",
    ];
    for (token, code) in [(good.clone(), VALID), (forge::with_broken_signature(&good), REFUSED)] {
        let run = verify(&arguments, &token).await;
        assert_eq!(run.code, Some(code), "{run:?}");
        let verdict: serde_json::Value = serde_json::from_str(&run.stdout)
            .unwrap_or_else(|error| panic!("--json did not print JSON ({error}): {run:?}"));
        assert!(verdict.is_object(), "{run:?}");
    }
}
