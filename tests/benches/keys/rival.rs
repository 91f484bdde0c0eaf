//! The other program: built once, then driven line by line.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use authmesh_tests::idp_double::{AUDIENCE, IdpDouble};
use authmesh_tests::process::command;
use authmesh_tests::rivals;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin};
use tokio::sync::oneshot;

use crate::load::{Outcome, Work};

/// Builds the other crates. Nothing where they do not build, such as without a network: the rows are left out then.
pub(crate) fn build() -> Option<PathBuf> {
    let program = rivals::build("authmesh-rivals");
    if program.is_none() {
        eprintln!("keys: the other crates do not build, see above; they are not measured");
    }
    program
}

/// A process with many nodes of another crate. It ends with this value.
pub(crate) struct Rival {
    _child: Child,
    input: tokio::sync::Mutex<(u64, ChildStdin)>,
    waiting: Waiting,
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Outcome>>>>;

impl Rival {
    pub(crate) async fn start(program: &Path, which: &str, nodes: usize, idp: &IdpDouble) -> Self {
        let mut run = command(program);
        run.args([which, &nodes.to_string(), &idp.issuer(), AUDIENCE]);
        let mut run = tokio::process::Command::from(run);
        run.stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped());
        let mut child = run.kill_on_drop(true).spawn().expect("the other program starts");
        let output = child.stdout.take().expect("standard output is piped");
        let mut lines = BufReader::new(output).lines();
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("ready"), "{which}");
        let waiting = Waiting::default();
        let answers = Arc::clone(&waiting);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let (number, outcome): (u64, Outcome) = serde_json::from_str(&line).expect("a number and an outcome");
                if let Some(waiter) = answers.lock().unwrap().remove(&number) {
                    // Nobody waits any more: the run is over.
                    let _ = waiter.send(outcome);
                }
            }
            // Whoever still waits is told by the end of its sender.
            answers.lock().unwrap().clear();
        });
        let input = child.stdin.take().expect("standard input is piped");
        Self {
            _child: child,
            input: tokio::sync::Mutex::new((0, input)),
            waiting,
        }
    }

    pub(crate) async fn carry_out(&self, work: &Work) -> Outcome {
        let (sender, outcome) = oneshot::channel();
        let mut input = self.input.lock().await;
        input.0 += 1;
        let number = input.0;
        self.waiting.lock().unwrap().insert(number, sender);
        let line = serde_json::to_string(&(number, work)).expect("JSON") + "\n";
        input
            .1
            .write_all(line.as_bytes())
            .await
            .expect("the other program reads");
        drop(input);
        outcome.await.expect("the other program ended; its error stands above")
    }
}
