//! The bus: sharded pub/sub, over connections of its own for each subscription, one to each primary.
//!
//! The pub/sub of client libraries can go silent without a word after a fault of a server. So each connection is asked for a
//! sign of life four times a second, and given up when none comes, when the server takes a subscription back, and when
//! somebody else serves the slots. The sign is a command with a key: a replica takes subscriptions like a primary, and for
//! half a second after a change of roles hears no bells.

mod ear;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use authmesh::ports::{BoxFuture, Bus, BusEvent, BusStream, PortError};
use authmesh_proto::ident::ChannelId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use crate::RedisAdapter;
use crate::address::Address;
use crate::error::Trouble;
use crate::link::map::Map;
use crate::link::{Link, Place};
use ear::{Ear, Hub, Subscribed, Wanted};

/// Bells that wait for a slow subscriber. Of more, it is told that some were lost.
const BELLS: usize = 4096;
/// Rounds of subscribing until a new subscription must be whole: nodes of a cluster may send it on.
const FIRST_ROUNDS: u32 = 3;
/// The wait after a round that did not bring everything; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How often the cluster is looked at for changes that nobody told of.
const LOOK: Duration = Duration::from_secs(60);

impl Bus for RedisAdapter {
    fn subscribe(&self) -> BoxFuture<'_, Result<BusStream, PortError>> {
        Box::pin(async move {
            let (bells, stream) = mpsc::channel(BELLS);
            let mut subscription = Subscription {
                adapter: self.clone(),
                hub: Arc::new(Hub::new(bells)),
                ears: BTreeMap::new(),
                retired: Vec::new(),
            };
            let mut error = None;
            for _ in 0..FIRST_ROUNDS {
                let map = self.link().map().await?;
                if subscription.is_whole(&map) {
                    break;
                }
                error = subscription.round(&map).await.1;
            }
            if let Some(error) = error {
                return Err(error);
            }
            // Ends when the stream is dropped.
            tokio::spawn(subscription.keep());
            Ok(Box::pin(ReceiverStream::new(stream)) as BusStream)
        })
    }
}

struct Subscription {
    adapter: RedisAdapter,
    hub: Arc<Hub>,
    ears: BTreeMap<Address, Ear>,
    /// Those that ended. What they still hear is heard until others listen in their place.
    retired: Vec<Ear>,
}

impl Subscription {
    /// Keeps a subscription alive until nobody listens any more.
    async fn keep(mut self) {
        let bells = self.hub.bells.clone();
        tokio::select! {
            () = bells.closed() => {}
            () = self.watch() => {}
        }
    }

    async fn watch(&mut self) {
        let link = self.adapter.link().clone();
        let hub = Arc::clone(&self.hub);
        let mut maps = link.maps();
        let mut look = tokio::time::interval_at(tokio::time::Instant::now() + LOOK, LOOK);
        loop {
            tokio::select! {
                () = hub.wake.notified() => {}
                Ok(()) = maps.changed() => {}
                _ = look.tick() => link.search_soon(),
            }
            // Cleared first: what is lost while we wait for room is told again.
            if hub.lost.swap(false, Ordering::AcqRel) && !self.broken().await {
                return;
            }
            let whole = link.known_map().is_some_and(|map| self.is_whole(&map));
            if whole {
                continue;
            }
            if !self.broken().await || !self.heal().await {
                return;
            }
        }
    }

    /// Tells that bells may be missing. `false`: nobody listens.
    async fn broken(&self) -> bool {
        self.hub.bells.send(BusEvent::Broken).await.is_ok()
    }

    /// Whether every channel is listened to where it is served.
    fn is_whole(&self, map: &Map) -> bool {
        ChannelId::all().all(|channel| self.is_served(map, channel))
    }

    fn is_served(&self, map: &Map, channel: ChannelId) -> bool {
        let ear = map
            .primary(Place::of(channel))
            .and_then(|address| self.ears.get(address));
        ear.is_some_and(|ear| ear.listens_to(channel))
    }

    /// Subscribes until everything is listened to. `false`: nobody listens.
    async fn heal(&mut self) -> bool {
        tracing::warn!(peer = self.adapter.link().peer(), "the bus broke; subscribing again");
        let link = self.adapter.link().clone();
        let mut wait = FIRST_WAIT;
        loop {
            if let Ok(map) = link.map().await {
                if self.is_whole(&map) {
                    self.retired.clear();
                    return true;
                }
                let (gained, error) = tokio::select! {
                    done = self.round(&map) => done,
                    // Whoever does not answer must not hold the others up once somebody else serves its slots.
                    () = newer(&link, &map) => (true, None),
                };
                if let Some(error) = error {
                    tracing::debug!(%error, "not every bell can be heard; trying again");
                }
                // Whatever rang in between was missed.
                if gained && !self.broken().await {
                    return false;
                }
                if self.is_whole(&map) {
                    continue;
                }
                if gained {
                    wait = FIRST_WAIT;
                }
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = newer(&link, &map) => {}
                }
            } else {
                tokio::time::sleep(wait).await;
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Subscribes once to whatever is not listened to, at all primaries at the same time. Whether there is more now than
    /// before, and what stands in the way of the rest.
    async fn round(&mut self, map: &Map) -> (bool, Option<PortError>) {
        let ended: Vec<Address> = self
            .ears
            .iter()
            .filter(|(address, ear)| ear.has_ended() || !serves(map, address))
            .map(|(address, _)| address.clone())
            .collect();
        for address in ended {
            self.retired.extend(self.ears.remove(&address));
        }
        let mut missing: BTreeMap<Address, Vec<Wanted>> = BTreeMap::new();
        let mut error = None;
        for channel in ChannelId::all().filter(|channel| !self.is_served(map, *channel)) {
            match map.primary(Place::of(channel)) {
                Some(address) => {
                    let (bell, log) = (self.adapter.keys().bell(channel), self.adapter.keys().log(channel));
                    missing
                        .entry(address.clone())
                        .or_default()
                        .push(Wanted { channel, bell, log });
                }
                None => error = Some(PortError::Unavailable(format!("nobody serves channel {channel}"))),
            }
        }
        let mut asked = JoinSet::new();
        for (address, wanted) in missing {
            let server = self.adapter.link().server(&address);
            let present = self.ears.get(&address).map(|ear| ear.subscriber(&server));
            let hub = Arc::clone(&self.hub);
            asked.spawn(async move {
                let (ear, subscriber) = match present {
                    Some(subscriber) => (None, subscriber),
                    None => {
                        let sign = wanted.first().map(|wanted| wanted.log.as_str()).unwrap_or_default();
                        let ear = Ear::connect(&server, &hub, sign).await?;
                        let subscriber = ear.subscriber(&server);
                        (Some(ear), subscriber)
                    }
                };
                let answers = subscriber.subscribe(wanted).await;
                Ok((address, Subscribed { ear, answers }))
            });
        }
        let mut gained = false;
        while let Some(answer) = asked.join_next().await {
            match answer.unwrap_or_else(|_| Err(PortError::Unavailable("the process is ending".into()))) {
                Ok((address, Subscribed { ear, answers })) => {
                    gained = true;
                    if let Some(ear) = ear {
                        self.ears.insert(address, ear);
                    }
                    for (channel, answer) in answers {
                        if let Err(trouble) = answer {
                            error = Some(self.sent_on(channel, trouble));
                        }
                    }
                }
                Err(away) => error = Some(away),
            }
        }
        if error.is_none() && self.is_whole(map) {
            self.retired.clear();
        }
        (gained, error)
    }

    fn sent_on(&self, channel: ChannelId, trouble: Trouble) -> PortError {
        match trouble {
            Trouble::Failed(failure) => failure.error,
            Trouble::Moved(to) => {
                self.adapter.link().moved(Place::of(channel), &to);
                PortError::Unavailable(format!("channel {channel} is served at {to} by now"))
            }
            Trouble::Ask(_) | Trouble::TryAgain | Trouble::NoScript => {
                PortError::Unavailable(format!("channel {channel} is on its way to another server"))
            }
        }
    }
}

fn serves(map: &Map, address: &Address) -> bool {
    ChannelId::all().any(|channel| map.primary(Place::of(channel)) == Some(address))
}

/// Looks for another map until there is one. Never, where there is but one server.
async fn newer(link: &Link, seen: &Arc<Map>) {
    if seen.single {
        return std::future::pending().await;
    }
    let mut last = Arc::clone(seen);
    loop {
        match link.search(Some(&last)).await {
            Ok(map) if *map != **seen => return,
            Ok(map) => last = map,
            Err(_) => tokio::time::sleep(FIRST_WAIT).await,
        }
    }
}
