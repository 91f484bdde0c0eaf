//! One trip: the errand's actions carried out. However it ends, also by a panic of the source or at shutdown, the machine is
//! told and the waiters are woken.

use std::sync::Arc;
use std::time::Duration;

use authmesh_proto::fill::Place;
use authmesh_proto::ident::Nonce;
use authmesh_proto::keys::{self, Action, End, Errand, ErrandConfig, FetchEnd, Input, LeaseEnd, Source, Told, Trip};
use authmesh_proto::time::Moment;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use super::level2::{Found, Stand};
use super::{Issuer, Parsed};
use crate::jose::KeySet;
use crate::node::Node;
use crate::ports::{BoxFuture, FetchedBody, GossipPeer, KeyFetch, UpstreamError, UpstreamFault};
use crate::telemetry::{Empty, Timing, span, word};

/// The longest sleep where the errand waits for nothing but an answer.
const LONG: Duration = Duration::from_secs(3_600);
/// How long a first trip waits for the node to be coherent.
const BIRTH_WAIT: Duration = Duration::from_secs(3);

pub(super) struct Flight {
    issuer: Arc<Issuer>,
    node: Arc<Node>,
    trip: Trip,
    config: ErrandConfig,
    errand: Errand,
    owners: Vec<GossipPeer>,
    began: Instant,
    ended: bool,
    stand: Stand,
    place: Option<Place>,
    from_l2: Option<Parsed>,
    from_member: Option<Parsed>,
    from_issuer: Option<Parsed>,
    trouble: Option<UpstreamError>,
    retry_at: Moment,
}

/// What an action brought.
enum Done {
    Looked(Box<Found>),
    Leased(LeaseEnd, Option<Place>),
    Drawn(Option<Duration>),
    Gone,
    Answered(Box<Result<(Told, Parsed), Option<Duration>>>),
    Fetched(Box<Result<Brought, UpstreamError>>),
    Holds(bool),
    Published(bool),
    Nothing,
}

/// What the issuer answered.
struct Brought {
    parsed: Parsed,
    asked: Moment,
    max_age: Option<Duration>,
    /// The generation that the cluster had stated before.
    stated: u64,
}

impl Flight {
    pub(super) fn new(issuer: &Arc<Issuer>, node: &Arc<Node>, trip: Trip, ask_members: bool) -> Self {
        let config = ErrandConfig::of(issuer.machine().policy());
        let owners = if ask_members { issuer.owners(node) } else { Vec::new() };
        let nonce = Nonce(node.random());
        Self {
            issuer: Arc::clone(issuer),
            node: Arc::clone(node),
            trip,
            config,
            errand: Errand::new(config, trip, nonce, owners.len(), node.has_log, Moment::ORIGIN),
            owners,
            began: Instant::now(),
            ended: false,
            stand: Stand::default(),
            place: None,
            from_l2: None,
            from_member: None,
            from_issuer: None,
            trouble: None,
            retry_at: Moment::ORIGIN,
        }
    }

    /// The trip, under a span below that of the caller who causes it.
    pub(super) fn run(mut self) -> impl Future<Output = ()> + Send {
        let span = span!(
            "authmesh.keys.trip",
            authmesh.issuer = self.issuer.label(),
            authmesh.end = Empty
        );
        let node = Arc::clone(&self.node);
        let fly = async move {
            tokio::select! {
                () = self.fly() => {}
                () = node.shutdown.cancelled() => {}
            }
        };
        fly.instrument(span)
    }

    async fn fly(&mut self) {
        self.wait_for_birth().await;
        self.carry_out().await;
    }

    /// A node that was never coherent answers nobody, so its first trip has time. Before its logs are known L2 could only be
    /// called unknown, and each node of a cluster that starts would ask the issuer by itself.
    async fn wait_for_birth(&mut self) {
        if !self.node.has_log || self.node.was_coherent() {
            return;
        }
        let mut coherent = self.node.wakes.coherence();
        // Over either way: without a log the trip goes on as it does in an outage.
        let _ = tokio::time::timeout(BIRTH_WAIT, coherent.wait_for(|coherent| *coherent)).await;
        self.began = Instant::now();
    }

    /// The errand's own clock: it measures nothing but this trip.
    fn now(&self) -> Moment {
        Moment::ORIGIN.plus(self.began.elapsed())
    }

    async fn carry_out(&mut self) {
        let mut work: Option<BoxFuture<'static, Done>> = None;
        loop {
            while let Some(action) = self.errand.poll() {
                if let Some(next) = self.begin(action) {
                    work = Some(next);
                }
            }
            if self.errand.is_over() && work.is_none() {
                return;
            }
            let wait = self.errand.poll_timeout().since(self.now()).min(LONG);
            tokio::select! {
                done = async { match work.as_mut() { Some(work) => work.await, None => std::future::pending().await } } => {
                    work = None;
                    let now = self.now();
                    if let Some(input) = self.land(done) {
                        self.errand.handle(now, input);
                    }
                }
                () = tokio::time::sleep(wait) => {
                    let now = self.now();
                    self.errand.tick(now);
                }
            }
        }
    }

    /// Does what is done at once, and begins what takes time.
    fn begin(&mut self, action: Action) -> Option<BoxFuture<'static, Done>> {
        let (issuer, node) = (Arc::clone(&self.issuer), Arc::clone(&self.node));
        let (nonce, lease) = (self.errand.nonce(), self.config.lease);
        Some(match action {
            Action::Look => {
                let kid = issuer.wanted();
                Box::pin(async move {
                    let holds = move |set: &KeySet| kid.as_ref().is_some_and(|kid| set.names(kid));
                    Done::Looked(Box::new(issuer.look(&node, &holds).await))
                })
            }
            Action::Lease(over) => Box::pin(async move {
                let (end, place) = issuer.lease(&node, nonce, over, lease).await;
                Done::Leased(end, place)
            }),
            Action::Draw => Box::pin(async move { Done::Drawn(issuer.draw(&node).await) }),
            Action::Wait(holder) => Box::pin(async move {
                // Failing is as good as gone: the next look tells.
                let _ = node.ports.store.gone(issuer.names.ticket, holder).await;
                Done::Gone
            }),
            Action::Ask(owner) => {
                let peer = self.owners.get(owner).cloned();
                let why = self.trip.why;
                let span = span!("authmesh.keys.ask", authmesh.issuer = issuer.label());
                let ask = async move {
                    let answer = match peer {
                        Some(peer) => issuer.ask(&node, &peer, why).await,
                        None => Err(None),
                    };
                    Done::Answered(Box::new(answer))
                };
                Box::pin(ask.instrument(span))
            }
            Action::Fetch { no_cache } => {
                // Something new is known to be there: an answer of "not modified" would not be believed.
                let conditional = !self.trip.why.no_cache();
                Box::pin(async move {
                    let fetched = issuer.fetch_timed(&node, no_cache, conditional).await;
                    Done::Fetched(Box::new(fetched))
                })
            }
            Action::Renew => {
                let renew = async move {
                    issuer.renew(&node, nonce, lease).await;
                };
                self.node.tasks.spawn(renew.in_current_span());
                return None;
            }
            Action::Hold => Box::pin(async move { Done::Holds(issuer.renew(&node, nonce, lease).await) }),
            Action::Take(source) => {
                self.take(source);
                return None;
            }
            Action::End { end, proof } => {
                self.end(end, proof);
                return None;
            }
            Action::Publish { changed } => {
                let stand = std::mem::take(&mut self.stand);
                Box::pin(async move { Done::Published(issuer.publish(&node, changed, stand).await) })
            }
            Action::Settle { failed } => {
                let place = self.place?;
                let ttl = match failed {
                    true => self.retry_at.since(node.now().boot),
                    false => self.config.min_interval,
                };
                Box::pin(async move {
                    let ttl = ttl.max(Duration::from_millis(1));
                    issuer.settle_ticket(&node, nonce, place, failed, ttl).await;
                    Done::Nothing
                })
            }
            Action::Release => Box::pin(async move {
                issuer.release(&node, nonce).await;
                Done::Nothing
            }),
        })
    }

    fn land(&mut self, done: Done) -> Option<Input> {
        Some(match done {
            Done::Looked(found) => {
                self.stand = found.stored;
                let (told, parsed) = found.set.unzip();
                self.from_l2 = parsed;
                Input::Looked {
                    set: told,
                    ticket: found.ticket,
                }
            }
            Done::Leased(end, place) => {
                self.place = place.or(self.place);
                Input::Leased(end)
            }
            Done::Drawn(spent) => Input::Drawn(spent),
            Done::Gone => Input::Gone,
            Done::Answered(answer) => Input::Answered((*answer).map(|(told, parsed)| {
                self.from_member = Some(parsed);
                told
            })),
            Done::Fetched(fetched) => Input::Fetched(self.fetched(*fetched)),
            Done::Holds(ours) => Input::Holds(ours),
            Done::Published(stored) => Input::Published(stored),
            Done::Nothing => return None,
        })
    }

    /// What an attempt brought, compared with what is held.
    fn fetched(&mut self, fetched: Result<Brought, UpstreamError>) -> FetchEnd {
        let node = &self.node;
        let brought = match fetched {
            Ok(brought) => brought,
            Err(error) => {
                node.counters.key_fetches_failed.add();
                tracing::warn!(issuer = %self.issuer.url, %error, "the key set could not be fetched; the last good one is kept");
                let transient = matches!(error.fault, UpstreamFault::Unreachable | UpstreamFault::Timeout);
                let retry_after = error.retry_after;
                self.trouble = Some(error);
                let jitter = u32::from_ne_bytes(node.random());
                return FetchEnd::Failed {
                    retry_after,
                    transient,
                    pause: self.issuer.machine().policy().backoff(0, jitter),
                };
            }
        };
        node.counters.key_fetches_ok.add();
        let held = self.issuer.held();
        let set = &brought.parsed.set;
        let changed = held.as_ref().is_none_or(|keys| *keys.set != **set);
        let taken_away = held.is_some_and(|keys| keys.set.added_to(set).next().is_some());
        // What was asked for before a newer generation was stated may be from before it.
        let overtaken = self.issuer.stated(node) > brought.stated;
        FetchEnd::Brought {
            asked: brought.asked,
            max_age: brought.max_age,
            changed: self.numbers(&brought, changed),
            removed: taken_away || overtaken,
        }
    }

    /// Gives a fetched set its generation. Returns whether that is a new one, which the cluster has to hear of.
    fn numbers(&mut self, brought: &Brought, changed: bool) -> bool {
        let held = self.issuer.held();
        let own = held.map_or(0, |keys| keys.generation());
        let stated = self.issuer.stated(&self.node);
        let shared = self.from_l2.as_ref();
        // Another node may have brought the same content, although this one could not make use of it.
        let known =
            shared.filter(|other| *other.set == *brought.parsed.set && other.shared.generation >= stated.max(own));
        let (generation, new) = match known {
            Some(other) => (other.shared.generation, false),
            None if changed || own < stated || own == 0 => (own.max(stated).max(self.stand.generation) + 1, true),
            None => (own, false),
        };
        let shared = keys::KeySet {
            generation,
            ..(*brought.parsed.shared).clone()
        };
        self.from_issuer = Some(Parsed {
            set: Arc::clone(&brought.parsed.set),
            shared: Arc::new(shared),
            refused: Arc::clone(&brought.parsed.refused),
        });
        new
    }

    fn take(&mut self, source: Source) {
        let parsed = match source {
            Source::L2 => &self.from_l2,
            Source::Member => &self.from_member,
            Source::Issuer => &self.from_issuer,
        };
        let Some(parsed) = parsed else { return };
        if source != Source::Issuer {
            self.node.counters.key_sets_taken.add();
        }
        self.issuer.take(&self.node, parsed, source);
    }

    fn end(&mut self, end: End, proof: bool) {
        self.ended = true;
        let word = match &end {
            End::Fetched { .. } => "fetched",
            End::Taken { .. } => "taken",
            End::Failed { .. } => "failed",
            End::Refused { .. } => "refused",
        };
        Span::current().record("authmesh.end", word);
        let held = self.issuer.held().map_or(0, |keys| keys.generation());
        let (end, trouble) = match end {
            End::Fetched { asked, max_age, .. } => {
                let generation = held;
                (
                    End::Fetched {
                        asked,
                        max_age,
                        generation,
                    },
                    None,
                )
            }
            End::Taken { .. } => (end, None),
            End::Failed { .. } => (end, self.trouble.take()),
            End::Refused { retry_after, by_budget } => {
                self.node.counters.key_trips_refused.add();
                let what = match by_budget {
                    true => "the cluster's budget for unknown keys is spent",
                    false => "another node of the cluster has lately asked the issuer in vain",
                };
                let mut trouble = UpstreamError::new(UpstreamFault::Unreachable, what);
                trouble.retry_after = Some(retry_after);
                (end, Some(trouble))
            }
        };
        self.retry_at = self.issuer.land(&self.node, self.trip, end, proof, trouble);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.ended {
            self.trouble = Some(UpstreamError::new(
                UpstreamFault::Unreachable,
                "the fetch was cut short",
            ));
            self.end(End::Failed { retry_after: None }, false);
        }
    }
}

impl Issuer {
    /// What it is called where strings of strangers must not stand: an issuer that was learned by its pattern.
    fn label(&self) -> &str {
        match &self.learned {
            Some(learned) => learned.template_name(),
            None => &self.url,
        }
    }

    async fn fetch_timed(&self, node: &Node, no_cache: bool, conditional: bool) -> Result<Brought, UpstreamError> {
        let span = span!("authmesh.keys.fetch", authmesh.issuer = self.label(), error.type = Empty);
        let began = node.begins();
        let fetched = self.fetch(node, no_cache, conditional).instrument(span.clone()).await;
        let fault = fetched.as_ref().err().map(|error| error.fault.code());
        fault.map(|fault| span.record("error.type", fault));
        let issuer = Some(opentelemetry::Value::from(self.label().to_owned()));
        let attributes = [("issuer", issuer), ("error.type", fault.and_then(word))];
        node.ended(Timing::KeyFetch, began, &attributes);
        fetched
    }

    /// Asks the issuer, once.
    async fn fetch(&self, node: &Node, no_cache: bool, conditional: bool) -> Result<Brought, UpstreamError> {
        let held = self.held();
        let stated = self.stated(node);
        let asked = node.now();
        let request = KeyFetch {
            no_cache,
            etag: held
                .as_ref()
                .filter(|_| conditional)
                .and_then(|keys| keys.shared.etag.clone()),
        };
        let tagged = request.etag.is_some();
        let deadline = self.machine().policy().deadline;
        let fetched = tokio::time::timeout(deadline, self.source.fetch(request))
            .await
            .unwrap_or_else(|_| {
                let what = format!("the fetch took longer than {deadline:?}");
                Err(UpstreamError::new(UpstreamFault::Timeout, what))
            })?;
        if let Some(date) = fetched.date {
            self.issuer_clock().saw_date(date, node.now().boot);
        }
        let max_age = fetched.max_age;
        let shared = |document: Vec<u8>, etag: Option<String>| keys::KeySet {
            generation: 0,
            asked: asked.wall,
            max_age: max_age.map(|age| u32::try_from(age.as_secs()).unwrap_or(u32::MAX)),
            etag: etag.filter(|etag| etag.len() <= keys::MAX_ETAG_BYTES),
            by: node.origin,
            document,
        };
        let parsed = match (fetched.body, held) {
            (FetchedBody::Document(bytes), _) => self.parse(shared(bytes, fetched.etag)).map_err(|error| {
                UpstreamError::new(UpstreamFault::Answer, format!("the key set is refused: {error}"))
            })?,
            (FetchedBody::NotModified, Some(keys)) if tagged => Parsed {
                set: Arc::clone(&keys.set),
                shared: Arc::new(shared(
                    keys.shared.document.clone(),
                    fetched.etag.or_else(|| keys.shared.etag.clone()),
                )),
                refused: Arc::default(),
            },
            (FetchedBody::NotModified, _) => {
                return Err(UpstreamError::new(
                    UpstreamFault::Answer,
                    "304 to a request that named no set",
                ));
            }
        };
        Ok(Brought {
            parsed,
            asked: asked.boot,
            max_age,
            stated,
        })
    }
}
