//! The adapter of the port.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use authmesh::clock::SystemClock;
use authmesh::ports::{
    BoxFuture, Clock as _, DatagramSeal, Gossip, GossipCounts, GossipNode, GossipPeer, GossipStream, MAX_LARGE,
    MAX_SMALL, PortError,
};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use crate::config::{ConfigError, GossipConfig};
use crate::counters::Counters;
use crate::driver::{Command, Driver, MAX_COMMANDS, MAX_EVENTS, Sockets, connect, look_up, own_ip};
use crate::engine::Engine;
use crate::sieve::{Open, Sieve};
use crate::stream::{self, Acceptor, EXCHANGE_WITHIN};
use crate::swim::{Identity, MAX_NAME};

/// Streams to others at once.
const MAX_PULLS: usize = 64;
/// How long a good-bye may take.
const GOOD_BYE_WITHIN: Duration = Duration::from_secs(1);

/// Gossip by UDP and TCP, with SWIM for membership.
#[derive(Debug)]
pub struct SwimGossip {
    config: GossipConfig,
    sieve: Arc<dyn Sieve>,
    counters: Arc<Counters>,
    pulls: Semaphore,
    running: Mutex<Option<Running>>,
}

/// One life of a node.
#[derive(Debug)]
struct Running {
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
    me: Arc<Identity>,
    bound: SocketAddr,
    seal: Arc<dyn DatagramSeal>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SwimGossip {
    /// Gossip with these settings. Nothing is bound before [`Gossip::open`].
    ///
    /// # Errors
    /// When a setting cannot be.
    pub fn new(config: GossipConfig) -> Result<Self, ConfigError> {
        Self::sieved(config, Arc::new(Open))
    }

    /// As [`SwimGossip::new`], with faults: for tests.
    ///
    /// # Errors
    /// When a setting cannot be.
    pub fn sieved(config: GossipConfig, sieve: Arc<dyn Sieve>) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            config,
            sieve,
            counters: Arc::default(),
            pulls: Semaphore::new(MAX_PULLS),
            running: Mutex::new(None),
        })
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn start(&self, me: GossipNode) -> Result<GossipStream, PortError> {
        if me.name.len() > MAX_NAME {
            return Err(PortError::Refused(format!(
                "a node's name has at most {MAX_NAME} bytes"
            )));
        }
        let before = self.running().take();
        if let Some(mut before) = before {
            // Its sockets are free once it has ended.
            before.task.abort();
            let _ = (&mut before.task).await;
        }
        let at = self.config.bind;
        let cannot = |error| PortError::Unavailable(format!("gossip: {at}: {error}"));
        let sockets = Sockets::bind(at).await.map_err(cannot)?;
        let bound = sockets.bound;
        let address = match self.config.advertise {
            Some(advertise) if advertise.port() != 0 => advertise,
            Some(advertise) => SocketAddr::new(advertise.ip(), bound.port()),
            None => {
                let towards = match bound.ip().is_unspecified() {
                    true => {
                        let found = look_up(&self.config.seeds).await;
                        found.into_iter().flat_map(|(_, addresses)| addresses).next()
                    }
                    false => None,
                };
                SocketAddr::new(own_ip(bound, towards).await.map_err(cannot)?, bound.port())
            }
        };
        let clock = SystemClock.now();
        let identity = Identity {
            origin: me.origin,
            address,
            rank: clock.wall,
            renewals: 0,
            name: me.name,
        };
        let (events, heard) = mpsc::channel(MAX_EVENTS);
        let (commands, wishes) = mpsc::channel(MAX_COMMANDS);
        let (seal, counters) = (me.seal, Arc::clone(&self.counters));
        let times = self.config.times();
        let engine = Engine::new(
            identity.clone(),
            times,
            Arc::clone(&seal),
            Arc::clone(&counters),
            clock.boot,
        );
        let driver = Driver {
            engine,
            sockets,
            sieve: Arc::clone(&self.sieve),
            seeds: self.config.seeds.clone().into(),
            acceptor: Acceptor {
                seal: Arc::clone(&seal),
                counters,
                events,
            },
            commands: wishes,
        };
        *self.running() = Some(Running {
            commands,
            task: tokio::spawn(driver.run()),
            me: Arc::new(identity),
            bound,
            seal,
        });
        Ok(Box::pin(ReceiverStream::new(heard)))
    }

    /// Gives the driver something to do. `false`: it is not there, or has too much to do.
    fn command(&self, command: Command) -> bool {
        let running = self.running();
        let sent = running
            .as_ref()
            .is_some_and(|running| running.commands.try_send(command).is_ok());
        if !sent {
            self.counters.dropped.one();
        }
        sent
    }

    async fn do_ask(&self, to: GossipPeer, request: Vec<u8>) -> Result<Vec<u8>, PortError> {
        too_long(&request, MAX_SMALL)?;
        let (answer, answered) = oneshot::channel();
        if !self.command(Command::Ask { to, request, answer }) {
            return Err(PortError::Unavailable(
                "gossip is not open, or has too much to do".into(),
            ));
        }
        let answer = answered.await;
        answer.map_err(|_| PortError::Unknown("no answer came within a second".into()))
    }

    async fn do_pull(&self, to: GossipPeer, request: Vec<u8>) -> Result<Vec<u8>, PortError> {
        too_long(&request, MAX_LARGE)?;
        let unavailable = |what: String| PortError::Unavailable(format!("gossip: {}: {what}", to.address));
        let (me, bound, seal) = match &*self.running() {
            Some(running) => (Arc::clone(&running.me), running.bound, Arc::clone(&running.seal)),
            None => return Err(unavailable("it is not open".into())),
        };
        let late = || PortError::Unknown(format!("gossip: {}: no answer came in time", to.address));
        // Whoever waits for its turn, or for a connection, has asked nobody yet.
        let begun = tokio::time::Instant::now();
        let connecting = async {
            let turn = self
                .pulls
                .acquire()
                .await
                .map_err(|error| unavailable(error.to_string()))?;
            if !self.sieve.stream(to.address) {
                return Err(unavailable("cut off".into()));
            }
            let stream = connect(bound, to.address).await;
            Ok((turn, stream.map_err(|error| unavailable(error.to_string()))?))
        };
        let (_turn, stream) = timeout(EXCHANGE_WITHIN, connecting)
            .await
            .map_err(|_| unavailable("no connection came about in time".into()))??;
        self.counters.streams_opened.one();
        let left = EXCHANGE_WITHIN.saturating_sub(begun.elapsed());
        let exchange = stream::pull(stream, &me, &request, seal, Arc::clone(&self.counters));
        let answer = timeout(left, exchange).await.map_err(|_| late())?;
        answer.map_err(|error| PortError::Unknown(format!("gossip: {}: {error}", to.address)))
    }
}

fn too_long(request: &[u8], limit: usize) -> Result<(), PortError> {
    if request.len() <= limit {
        return Ok(());
    }
    Err(PortError::Refused(format!(
        "a request has at most {limit} bytes, this one {}",
        request.len()
    )))
}

impl Gossip for SwimGossip {
    fn open(&self, me: GossipNode) -> BoxFuture<'_, Result<GossipStream, PortError>> {
        Box::pin(self.start(me))
    }

    fn broadcast(&self, item: Vec<u8>) {
        // An item that is refused here would be refused everywhere; a full queue is a lossy network.
        if item.len() <= MAX_SMALL {
            self.command(Command::Broadcast(item));
        } else {
            self.counters.dropped.one();
        }
    }

    fn ask(&self, to: &GossipPeer, request: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, PortError>> {
        Box::pin(self.do_ask(to.clone(), request))
    }

    fn pull(&self, to: &GossipPeer, request: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, PortError>> {
        Box::pin(self.do_pull(to.clone(), request))
    }

    fn suggest(&self, peers: Vec<GossipPeer>) {
        self.command(Command::Suggest(peers));
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let (done, said) = oneshot::channel();
            if self.command(Command::Leave(done)) {
                // Who has not heard it by then finds out by probing.
                let _ = timeout(GOOD_BYE_WITHIN, said).await;
            }
        })
    }

    fn address(&self) -> Option<SocketAddr> {
        self.running().as_ref().map(|running| running.me.address)
    }

    fn counts(&self) -> GossipCounts {
        self.counters.read()
    }
}
