//! Finding out who serves what.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use authmesh::ports::PortError;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Link;
use super::map::Map;
use super::place::Place;
use super::server::Server;
use crate::address::Address;
use crate::answer::unreadable;
use crate::error::Trouble;

/// The least time between two searches.
const PERIOD: Duration = Duration::from_millis(200);
/// Servers that one search asks.
const CANDIDATES: usize = 16;
/// How long one server is waited for before the next is asked as well.
const STAGGER: Duration = Duration::from_millis(100);

/// What is known of searches.
#[derive(Default)]
pub(super) struct Search {
    last: Option<Instant>,
    failed: Option<PortError>,
}

impl Link {
    /// Who serves what, as far as is known; searched for if nothing is.
    pub(crate) async fn map(&self) -> Result<Arc<Map>, PortError> {
        if let Some(map) = self.known_map() {
            return Ok(map);
        }
        // In a task of its own, as connecting is.
        let link = self.clone();
        let found = tokio::spawn(async move { link.search(None).await }).await;
        found.unwrap_or_else(|_| Err(PortError::Unavailable("the process is ending".into())))
    }

    /// Searches in the background, soon. Many calls make one search.
    pub(crate) fn search_soon(&self) {
        if self.known_map().is_none_or(|map| map.single) || self.0.searching.swap(true, Ordering::AcqRel) {
            return;
        }
        let link = self.clone();
        tokio::spawn(async move {
            let seen = link.known_map();
            let _ = link.search(seen.as_ref()).await;
            link.0.searching.store(false, Ordering::Release);
        });
    }

    /// Asks servers until one says who serves what. `seen`: the map that was found wanting; where there is a newer one
    /// already, that is the answer. Waits until the last search is a while ago; a first search that failed is not waited
    /// for but answered for.
    pub(crate) async fn search(&self, seen: Option<&Arc<Map>>) -> Result<Arc<Map>, PortError> {
        let mut search = self.0.search.lock().await;
        let known = self.known_map();
        if let Some(known) = &known
            && (known.single || seen.is_none_or(|seen| !Arc::ptr_eq(seen, known)))
        {
            return Ok(Arc::clone(known));
        }
        if let Some(rest) = search.last.and_then(|last| PERIOD.checked_sub(last.elapsed())) {
            match (&known, &search.failed) {
                (None, Some(error)) => return Err(error.clone()),
                _ => tokio::time::sleep(rest).await,
            }
        }
        let found = self.ask_around(known.as_deref()).await;
        search.last = Some(Instant::now());
        match found {
            Ok(map) => {
                search.failed = None;
                Ok(self.publish(map))
            }
            Err(error) => {
                search.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Somebody said that another server serves a place.
    pub(crate) fn moved(&self, place: Place, address: &Address) {
        if let Some(map) = self.known_map()
            && !map.single
            && map.primary(place) != Some(address)
        {
            self.publish(map.with(place, address));
        }
        self.search_soon();
    }

    async fn ask_around(&self, known: Option<&Map>) -> Result<Map, PortError> {
        let mut candidates = self.candidates(known).into_iter();
        let mut asked = JoinSet::new();
        let mut refused = None;
        let mut doubtful = None;
        let mut left = true;
        loop {
            match candidates.next() {
                Some(server) => {
                    let link = self.clone();
                    asked.spawn(async move { link.ask(&server).await });
                }
                None => left = false,
            }
            if asked.is_empty() && !left {
                let none = || PortError::Unavailable("no address is known".into());
                return doubtful.ok_or_else(|| refused.unwrap_or_else(none));
            }
            tokio::select! {
                Some(answer) = asked.join_next() => match answer {
                    Ok(Ok((map, true))) => return Ok(map),
                    // It may be cut off from the others, and not know who took its place.
                    Ok(Ok((map, false))) => doubtful = Some(map),
                    // Whoever refuses says more than whoever is away.
                    Ok(Err(error)) if refused.is_none() || matches!(error, PortError::Refused(_)) => refused = Some(error),
                    Ok(Err(_)) | Err(_) => {}
                },
                () = tokio::time::sleep(STAGGER), if left => {}
            }
        }
    }

    /// Those that are up first, then those that were part of it, then those of the settings.
    fn candidates(&self, known: Option<&Map>) -> Vec<Server> {
        let addresses = known.into_iter().flat_map(|map| map.known.iter());
        let mut servers: Vec<Server> = addresses.map(|address| self.server(address)).collect();
        servers.sort_by_key(|server| !server.is_connected());
        for address in &self.config().seeds {
            if !servers.iter().any(|server| server.address() == address) {
                servers.push(self.server(address));
            }
        }
        let away = servers.partition_point(Server::is_connected);
        // Not always the same ones: more may be away than are asked at once.
        let rest = servers.len() - away;
        if rest > 0 {
            let turn = self.0.turn.fetch_add(1, Ordering::Relaxed) % rest;
            if known.is_some() {
                servers[away..].rotate_left(turn);
            }
        }
        servers.truncate(CANDIDATES.max(self.config().seeds.len()));
        servers
    }

    /// The map, and whether the server finds its cluster in order.
    async fn ask(&self, server: &Server) -> Result<(Map, bool), PortError> {
        if !server.facts().await?.cluster {
            return match (self.known_map(), &self.config().seeds[..]) {
                (None, [_]) => Ok((Map::single(server.address()), true)),
                _ => Err(PortError::Refused(format!(
                    "{} is no part of a Redis Cluster, but the others are, or there is more than one address: \
                     a single server has one",
                    server.peer()
                ))),
            };
        }
        let commands = ["SLOTS", "INFO"].map(|what| {
            let mut command = redis::cmd("CLUSTER");
            command.arg(what);
            command
        });
        let answers = server.commands(&commands, false).await;
        let mut answers = answers.map_err(|failure| failure.error)?.into_iter();
        let map = match answers.next() {
            Some(Ok(slots)) => Map::parse(server.address(), slots),
            Some(Err(Trouble::Failed(failure))) => return Err(failure.error),
            Some(Err(_)) | None => None,
        };
        let state = match answers.next() {
            Some(Ok(info)) => redis::from_redis_value::<String>(info).ok(),
            // Without the permission to ask, it is believed.
            Some(Err(_)) | None => None,
        };
        let sound = state.is_none_or(|state| !state.contains("cluster_state:fail"));
        Ok((map.ok_or_else(|| unreadable(server.peer()))?, sound))
    }
}
