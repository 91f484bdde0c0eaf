//! What is played to each subject, in the same order and at the same time.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use authmesh_tests::idp_double::{Asked, IdpDouble, Manner, Page};
use serde_json::json;

use crate::Effort;
use crate::load::{Outcome, Work, carry_out};
use crate::own::{self, Own};
use crate::rival::Rival;

/// Nodes of each subject.
pub(crate) const NODES: usize = 64;
/// Callers at each node, at the start.
const CALLERS: usize = 64;
/// Between two calls at one node, in milliseconds.
const EVERY: u64 = 100;
/// How long the provider takes in the second scene; who waits half of it has waited for it.
const SLOW: Duration = Duration::from_secs(2);
/// So many tokens that a node hardly sees one twice.
const TOKENS: usize = 5_000;
/// Requests that come closer than this are of one event: 64 timers that were started within a moment tick within one.
const ONE_EVENT: Duration = Duration::from_secs(8);

/// Who is measured.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    /// Authmesh, sharing the Redis at this URL or nothing.
    Own { redis: Option<String> },
    Rival {
        program: std::path::PathBuf,
        which: &'static str,
    },
}

impl Subject {
    pub(crate) fn all(redis: String, rivals: Option<&Path>) -> Vec<Self> {
        let own = [Some(redis), None].map(|redis| Self::Own { redis });
        let others = ["jwt-authorizer", "jwt-authorizer-1s", "tower-oauth2-resource-server"];
        let rival = |program: &Path, which| Self::Rival {
            program: program.to_owned(),
            which,
        };
        let others = rivals
            .into_iter()
            .flat_map(|program| others.map(|which| rival(program, which)));
        own.into_iter().chain(others).collect()
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Own { redis: Some(_) } => "authmesh, one Redis",
            Self::Own { redis: None } => "authmesh, each node alone",
            Self::Rival { which, .. } => match *which {
                "jwt-authorizer" => "jwt-authorizer 0.15",
                "jwt-authorizer-1s" => "jwt-authorizer 0.15, refresh_interval 1 s",
                _ => "tower-oauth2-resource-server 0.12",
            },
        }
    }

    /// How often an hour keys are fetched again as shipped, though nothing has happened.
    fn refreshes_an_hour(&self) -> f64 {
        match self {
            // `KeyPolicy::soft_lifetime`
            Self::Own { .. } => 3600.0 / authmesh::KeyPolicy::default().soft_lifetime.as_secs_f64(),
            // `jwks_refresh_interval`: 60 s
            Self::Rival { which, .. } if which.starts_with("tower") => 60.0,
            // `RefreshStrategy::KeyNotFound`
            Self::Rival { .. } => 0.0,
        }
    }

    /// Whether a key that is not at hand makes it ask. Otherwise a rotation waits for the timer, and costs nothing more.
    fn asks_for_unknown_keys(&self) -> bool {
        !self.name().starts_with("tower")
    }
}

/// Requests that a provider has seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Calls {
    pub(crate) key_sets: u64,
    pub(crate) discoveries: u64,
}

impl Calls {
    fn so_far(idp: &IdpDouble) -> Self {
        Self {
            key_sets: idp.key_sets(),
            discoveries: idp.discoveries(),
        }
    }

    fn since(idp: &IdpDouble, before: Self) -> Self {
        let now = Self::so_far(idp);
        Self {
            key_sets: now.key_sets - before.key_sets,
            discoveries: now.discoveries - before.discoveries,
        }
    }

    pub(crate) fn all(self) -> u64 {
        self.key_sets + self.discoveries
    }
}

/// What was seen of a subject.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) subject: Subject,
    pub(crate) start: Outcome,
    pub(crate) start_calls: Calls,
    pub(crate) refresh: Outcome,
    /// Calls that one refresh costs, if there was one.
    pub(crate) refresh_calls: Option<f64>,
    pub(crate) rotation: Outcome,
    /// Calls that the rotation costs beyond those of refreshes.
    pub(crate) rotation_calls: Calls,
    pub(crate) flood: Outcome,
    pub(crate) flood_calls: Calls,
    pub(crate) flood_rotation: Outcome,
}

impl Seen {
    /// Calls of an hour with one rotation, computed.
    pub(crate) fn calls_an_hour(&self) -> f64 {
        self.subject.refreshes_an_hour() * self.refresh_calls.unwrap_or(0.0) + self.rotation_calls.all() as f64
    }
}

enum Nodes {
    Own(Vec<Arc<Own>>),
    Rival(Box<Rival>),
}

impl Nodes {
    async fn carry_out(&self, work: &Work) -> Outcome {
        match self {
            Self::Own(nodes) => carry_out(nodes, work).await,
            Self::Rival(rival) => rival.carry_out(work).await,
        }
    }
}

/// Plays every scene.
pub(crate) async fn play(subject: Subject, effort: Effort) -> Seen {
    let idp = IdpDouble::start().await;
    idp.max_age(Some(30));
    let nodes = match &subject {
        Subject::Own { redis } => Nodes::Own(own::start(NODES, &idp, redis.as_deref()).await),
        Subject::Rival { program, which } => Nodes::Rival(Box::new(Rival::start(program, which, NODES, &idp).await)),
    };

    let token = idp.token("start");
    let start = nodes
        .carry_out(&Work::Burst {
            callers: CALLERS,
            token,
        })
        .await;
    let start_calls = Calls::so_far(&idp);

    idp.behave(Manner::Late(SLOW));
    let began = Instant::now();
    let known = load(tokens(&idp), effort.refresh);
    // Some ask when the lifetime ends, some when they meet a key that they do not know: both happen here.
    let (refresh, _) = tokio::join!(nodes.carry_out(&known), async {
        tokio::time::sleep(effort.refresh / 6).await;
        idp.rotate(true);
        let new = first(idp.token("new"), SLOW * 2);
        nodes.carry_out(&new).await
    });
    let refresh_calls = calls_each(&idp, began);
    idp.behave(Manner::Prompt);
    // What is still on its way must not be counted for the next scene.
    tokio::time::sleep(SLOW).await;

    let before = Calls::so_far(&idp);
    idp.rotate(true);
    let work = first(idp.token("rotated"), effort.rotation);
    let rotation = nodes.carry_out(&work).await;
    let asks = subject.asks_for_unknown_keys();
    let rotation_calls = if asks {
        Calls::since(&idp, before)
    } else {
        Calls::default()
    };

    let before = Calls::so_far(&idp);
    let garbage = (0..TOKENS)
        .map(|n| idp.token_of_unknown_kid(&format!("nobody-{n}")))
        .collect();
    let work = load(garbage, effort.flood);
    let (flood, flood_rotation) = tokio::join!(nodes.carry_out(&work), async {
        tokio::time::sleep(effort.flood / 3).await;
        idp.rotate(true);
        let work = first(idp.token("in the flood"), effort.flood * 2 / 3);
        nodes.carry_out(&work).await
    });
    let flood_calls = Calls::since(&idp, before);
    Seen {
        subject,
        start,
        start_calls,
        refresh,
        refresh_calls,
        rotation,
        rotation_calls,
        flood,
        flood_calls,
        flood_rotation,
    }
}

fn load(tokens: Vec<String>, time: Duration) -> Work {
    Work::Load {
        tokens,
        millis: millis(time),
        every: EVERY,
        slow: millis(SLOW) / 2,
    }
}

fn first(token: String, within: Duration) -> Work {
    Work::First {
        token,
        within: millis(within),
        every: EVERY,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).expect("a short time")
}

fn tokens(idp: &IdpDouble) -> Vec<String> {
    (0..TOKENS)
        .map(|n| idp.token_with(json!({"sub": format!("user-{n}"), "jti": n.to_string()})))
        .collect()
}

/// Calls since then, divided by the number of events that they belong to.
fn calls_each(idp: &IdpDouble, since: Instant) -> Option<f64> {
    let times: Vec<Instant> = idp
        .asked()
        .iter()
        .filter(|asked: &&Asked| asked.page != Page::Other && asked.at >= since)
        .map(|asked| asked.at)
        .collect();
    let later = times.windows(2).filter(|pair| pair[1] - pair[0] > ONE_EVENT).count();
    (!times.is_empty()).then(|| times.len() as f64 / (later + 1) as f64)
}
