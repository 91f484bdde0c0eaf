//! The way to the servers: one, or those of a cluster.
//!
//! The cluster client of the library is not used. It tries again by itself and so hides whether a commit may have been done;
//! a commit and its `WAIT` cannot be kept on one connection; and a read of all heads has to fail as a whole, in time.

mod call;
mod commits;
pub(crate) mod map;
pub(crate) mod place;
mod search;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};

use authmesh::ports::PortError;
use redis::{Cmd, Value};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::address::Address;
use crate::answer::unreadable;
use crate::config::RedisConfig;
use crate::error::{ConnectError, Failure, Trouble};
use map::{MAX_SERVERS, Map};
use search::Search;

pub(crate) use call::{Call, Script};
pub(crate) use place::Place;
pub(crate) use server::Server;

/// How often one request is sent on to another server.
const MAX_HOPS: usize = 4;

/// Sends requests to whoever serves their slot. Clones share the connections.
#[derive(Clone)]
pub(crate) struct Link(Arc<Inner>);

struct Inner {
    config: Arc<RedisConfig>,
    peer: String,
    servers: Mutex<BTreeMap<Address, Server>>,
    map: watch::Sender<Option<Arc<Map>>>,
    search: tokio::sync::Mutex<Search>,
    searching: AtomicBool,
    turn: AtomicUsize,
}

/// Why a request was not carried out.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The slot is moving, and the keys are in two places. Nothing was done.
    Migrating,
    Error(PortError),
}

impl From<PortError> for Stopped {
    fn from(error: PortError) -> Self {
        Self::Error(error)
    }
}

impl From<Stopped> for PortError {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Error(error) => error,
            Stopped::Migrating => Self::Unavailable(
                "the slot is on its way to another node of the Redis Cluster, and the keys are in two places".into(),
            ),
        }
    }
}

/// What is sent.
#[derive(Clone, Copy)]
enum Request<'a> {
    Command(&'a Cmd),
    Script(&'a Call<'a>),
    Commit(&'a Call<'a>),
}

/// What was answered.
pub(crate) struct Answer {
    pub(crate) value: Value,
    /// Replicas that confirmed, of a commit.
    pub(crate) replicas: u32,
    /// It was carried out at a server that does not serve the slot yet.
    pub(crate) ahead: bool,
}

impl Link {
    pub(crate) fn new(config: &RedisConfig) -> Result<Self, ConnectError> {
        config.check()?;
        Ok(Self(Arc::new(Inner {
            config: Arc::new(config.clone()),
            peer: config.peer(),
            servers: Mutex::default(),
            map: watch::channel(None).0,
            search: tokio::sync::Mutex::default(),
            searching: AtomicBool::new(false),
            turn: AtomicUsize::new(0),
        })))
    }

    pub(crate) fn peer(&self) -> &str {
        &self.0.peer
    }

    pub(crate) fn config(&self) -> &RedisConfig {
        &self.0.config
    }

    pub(crate) fn known_map(&self) -> Option<Arc<Map>> {
        self.0.map.borrow().clone()
    }

    /// Tells when another map is known.
    pub(crate) fn maps(&self) -> watch::Receiver<Option<Arc<Map>>> {
        self.0.map.subscribe()
    }

    pub(crate) fn server(&self, address: &Address) -> Server {
        let mut servers = self.0.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if servers.len() >= MAX_SERVERS && !servers.contains_key(address) {
            // Somebody sends requests on to ever new addresses.
            servers.clear();
        }
        let server = servers
            .entry(address.clone())
            .or_insert_with(|| Server::new(address.clone(), Arc::clone(&self.0.config)));
        server.clone()
    }

    /// Makes a map the known one. Servers that have no place in it are let go.
    fn publish(&self, map: Map) -> Arc<Map> {
        let mut servers = self.0.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.retain(|address, _| map.known.contains(address) || self.0.config.seeds.contains(address));
        drop(servers);
        let map = Arc::new(map);
        self.0.map.send_if_modified(|known| {
            let changed = known.as_deref() != Some(&*map);
            *known = Some(Arc::clone(&map));
            changed
        });
        map
    }

    /// Makes sure that there is a connection. A primary that must not be used is an error; one that is away is none, as long
    /// as there is another.
    pub(crate) async fn connect(&self) -> Result<(), PortError> {
        let map = self.map().await?;
        let serving: BTreeSet<&Address> = Place::all().filter_map(|place| map.primary(place)).collect();
        let mut outcome = Err(PortError::Unavailable(format!(
            "{}: nobody serves anything",
            self.peer()
        )));
        for address in serving {
            match self.server(address).connected().await {
                Err(refused @ PortError::Refused(_)) => return Err(refused),
                Err(away) if outcome.is_err() => outcome = Err(away),
                Err(_) => {}
                Ok(_) => outcome = Ok(()),
            }
        }
        outcome
    }

    /// Runs a script.
    pub(crate) async fn invoke(&self, place: Place, call: &Call<'_>) -> Result<Value, Stopped> {
        Ok(self.route(place, Request::Script(call)).await?.value)
    }

    /// Runs a script that commits, and waits for a second copy.
    pub(crate) async fn commit(&self, place: Place, call: &Call<'_>) -> Result<Answer, Stopped> {
        self.route(place, Request::Commit(call)).await
    }

    pub(crate) async fn command(&self, place: Place, command: &Cmd) -> Result<Value, PortError> {
        Ok(self.route(place, Request::Command(command)).await?.value)
    }

    /// Commands with one key each, all of one place, in one round trip; more only while the slot is moving.
    pub(crate) async fn commands(
        &self,
        place: Place,
        commands: &[Cmd],
    ) -> Result<Vec<Result<Value, PortError>>, PortError> {
        let server = self.server_of(place).await?;
        let answers = server.commands(commands, false).await;
        let answers = answers.map_err(|failure| self.noted(failure))?;
        let mut all = Vec::with_capacity(commands.len());
        for (answer, command) in answers.into_iter().zip(commands) {
            all.push(self.followed(place, command, answer).await);
        }
        Ok(all)
    }

    /// One command for each place, in one round trip for each server, all servers at once. Any that fails makes the whole
    /// fail.
    pub(crate) async fn everywhere(&self, commands: Vec<(Place, Cmd)>) -> Result<Vec<Value>, PortError> {
        let map = self.map().await?;
        let mut by_server: BTreeMap<Address, Vec<(usize, Place, Cmd)>> = BTreeMap::new();
        let count = commands.len();
        for (n, (place, command)) in commands.into_iter().enumerate() {
            let address = map.primary(place).ok_or_else(|| self.unserved())?;
            by_server.entry(address.clone()).or_default().push((n, place, command));
        }
        let mut parts = JoinSet::new();
        for (address, part) in by_server {
            let link = self.clone();
            parts.spawn(async move { link.part(&address, part).await });
        }
        let mut all: Vec<Option<Value>> = vec![None; count];
        while let Some(part) = parts.join_next().await {
            let part = part.unwrap_or_else(|_| Err(PortError::Unavailable("the process is ending".into())));
            for (n, value) in part? {
                if let Some(place) = all.get_mut(n) {
                    *place = Some(value);
                }
            }
        }
        let all: Option<Vec<Value>> = all.into_iter().collect();
        all.ok_or_else(|| unreadable(self.peer()))
    }

    async fn part(&self, address: &Address, part: Vec<(usize, Place, Cmd)>) -> Result<Vec<(usize, Value)>, PortError> {
        let commands: Vec<Cmd> = part.iter().map(|(_, _, command)| command.clone()).collect();
        let answers = self.server(address).commands(&commands, false).await;
        let answers = answers.map_err(|failure| self.noted(failure))?;
        let mut all = Vec::with_capacity(part.len());
        for (answer, (n, place, command)) in answers.into_iter().zip(&part) {
            all.push((*n, self.followed(*place, command, answer).await?));
        }
        Ok(all)
    }

    /// The answer itself, or that of the server that the request was sent on to.
    async fn followed(&self, place: Place, command: &Cmd, answer: Result<Value, Trouble>) -> Result<Value, PortError> {
        match answer {
            Ok(value) => Ok(value),
            Err(Trouble::Failed(failure)) => Err(self.noted(failure)),
            Err(redirected) => {
                let request = Request::Command(command);
                Ok(self.from(place, request, Some(redirected)).await?.value)
            }
        }
    }

    async fn route(&self, place: Place, request: Request<'_>) -> Result<Answer, Stopped> {
        self.from(place, request, None).await
    }

    /// Sends a request to whoever serves its place, and on to whoever is said to. Nothing is sent twice that may have been
    /// done. `first`: what has been answered already.
    async fn from(&self, place: Place, request: Request<'_>, first: Option<Trouble>) -> Result<Answer, Stopped> {
        let mut target = None;
        let mut trouble = first;
        for _ in 0..MAX_HOPS {
            match trouble {
                None => {}
                Some(Trouble::Moved(to)) => {
                    self.moved(place, &to);
                    target = Some((self.server(&to), false));
                }
                Some(Trouble::Ask(to)) => target = Some((self.server(&to), true)),
                Some(Trouble::TryAgain) => return Err(Stopped::Migrating),
                Some(Trouble::NoScript) => return Err(unreadable(self.peer()).into()),
                Some(Trouble::Failed(failure)) => return Err(self.noted(failure).into()),
            }
            let (server, ahead) = match target.take() {
                Some(target) => target,
                None => (self.server_of(place).await?, false),
            };
            let done = match request {
                Request::Command(command) => server.command(command, ahead).await.map(|value| (value, 0)),
                Request::Script(call) => server.script(call, ahead).await.map(|value| (value, 0)),
                Request::Commit(call) => server.commit(call, ahead).await,
            };
            match done {
                Ok((value, replicas)) => {
                    return Ok(Answer { value, replicas, ahead });
                }
                Err(other) => trouble = Some(other),
            }
        }
        self.search_soon();
        match trouble {
            Some(Trouble::Failed(failure)) => Err(failure.error.into()),
            Some(Trouble::TryAgain) => Err(Stopped::Migrating),
            _ => Err(PortError::Unavailable(format!(
                "{}: the nodes of the cluster do not agree on who serves a slot",
                self.peer()
            ))
            .into()),
        }
    }

    pub(crate) async fn server_of(&self, place: Place) -> Result<Server, PortError> {
        let map = self.map().await?;
        match map.primary(place) {
            Some(address) => Ok(self.server(address)),
            None => Err(self.unserved()),
        }
    }

    fn unserved(&self) -> PortError {
        self.search_soon();
        PortError::Unavailable(format!("{}: nobody serves the slot", self.peer()))
    }

    fn noted(&self, failure: Failure) -> PortError {
        if failure.deposed {
            self.search_soon();
        }
        failure.error
    }
}
