//! The task of a node: it moves bytes between the sockets and the engine, and lets time pass.

mod seeds;
mod sockets;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use authmesh::clock::SystemClock;
use authmesh::ports::{Asked, Clock as _, GossipEvent, GossipPeer, MAX_SMALL};
use authmesh_proto::time::Moment;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::datagram::MAX_DATAGRAM;
use crate::engine::{ANSWER_WITHIN, Engine, Event};
use crate::sieve::Sieve;
use crate::stream::{self, Acceptor, StreamLimits};

pub(crate) use seeds::look_up;
pub(crate) use sockets::{Sockets, connect, own_ip};

/// Wishes of the node that wait to be carried out.
pub(crate) const MAX_COMMANDS: usize = 1024;
/// Events that wait to be taken by the node.
pub(crate) const MAX_EVENTS: usize = 1024;
/// Datagrams taken before anything else has its turn.
const TURN: usize = 256;
/// Tasks that a member's request by datagram, or a look-up, waits in.
const MAX_TASKS: usize = 512;
/// How often seeds are looked up by a node in small company.
const LOOK_UP_FEW: Duration = Duration::from_secs(30);
/// And by one in larger company.
const LOOK_UP_MANY: Duration = Duration::from_secs(300);
/// And by one that found none.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(2);
/// Up to so many members are small company.
const FEW: usize = 3;
/// How long no stream is accepted after one could not be.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Between two good-byes.
const GOOD_BYE_AGAIN: Duration = Duration::from_millis(50);

/// A wish of the node.
#[derive(Debug)]
pub(crate) enum Command {
    Broadcast(Vec<u8>),
    Ask {
        to: GossipPeer,
        request: Vec<u8>,
        answer: oneshot::Sender<Vec<u8>>,
    },
    Suggest(Vec<GossipPeer>),
    Leave(oneshot::Sender<()>),
}

/// What a task of the driver came back with.
#[derive(Debug)]
enum Done {
    Answered {
        to: SocketAddr,
        number: u64,
        answer: Vec<u8>,
    },
    /// Seeds by number, and their addresses.
    LookedUp(Vec<(usize, Vec<SocketAddr>)>),
    SayGoodByeAgain(oneshot::Sender<()>),
    Nothing,
}

#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) engine: Engine,
    pub(crate) sockets: Sockets,
    pub(crate) sieve: Arc<dyn Sieve>,
    pub(crate) seeds: Arc<[String]>,
    pub(crate) acceptor: Acceptor,
    pub(crate) commands: mpsc::Receiver<Command>,
}

enum Woken {
    Command(Option<Command>),
    Stream(std::io::Result<(tokio::net::TcpStream, SocketAddr)>),
    Done(Done),
    Taken,
    Socket,
    Timer,
    Unheard,
}

impl Driver {
    /// Runs until nobody listens any more.
    pub(crate) async fn run(mut self) {
        let limits = StreamLimits::default();
        let mut tasks = JoinSet::new();
        let mut look_up_at = now();
        let mut looking_up = false;
        let mut accept_from = Moment::ORIGIN;
        let mut buffer = vec![0; MAX_DATAGRAM + 1];
        loop {
            if !looking_up && !self.seeds.is_empty() && look_up_at <= now() {
                looking_up = true;
                let seeds = Arc::clone(&self.seeds);
                tasks.spawn(async move { Done::LookedUp(look_up(&seeds).await) });
            }
            if !self.hand_up(&mut tasks) {
                return;
            }
            self.transmit();
            let mut next = self.engine.next_timer();
            if !looking_up && !self.seeds.is_empty() {
                next = next.min(look_up_at);
            }
            let accepts = accept_from <= now();
            if !accepts {
                next = next.min(accept_from);
            }
            let wait = next.since(now());
            let woken = tokio::select! {
                command = self.commands.recv() => Woken::Command(command),
                done = tasks.join_next(), if !tasks.is_empty() => {
                    Woken::Done(done.and_then(Result::ok).unwrap_or(Done::Nothing))
                }
                _ = self.acceptor.events.reserve(), if self.engine.has_events() => Woken::Taken,
                () = self.acceptor.events.closed() => Woken::Unheard,
                accepted = self.sockets.tcp.accept(), if accepts => Woken::Stream(accepted),
                _ = self.sockets.udp.readable() => Woken::Socket,
                () = sleep(wait) => Woken::Timer,
            };
            match woken {
                Woken::Command(Some(command)) => self.command(command, &mut tasks),
                // Nobody can wish for anything any more, or hears anything.
                Woken::Command(None) | Woken::Unheard => return,
                Woken::Stream(Ok((tcp, from))) => self.accepted(tcp, from, &limits, &mut tasks),
                // Out of descriptors, most likely: the queue of connections stays as it is, and asking at once again helps nobody.
                Woken::Stream(Err(_)) => accept_from = now().plus(ACCEPT_AGAIN),
                Woken::Done(Done::Answered { to, number, answer }) => self.engine.answer(to, number, &answer, now()),
                Woken::Done(Done::LookedUp(found)) => {
                    looking_up = false;
                    look_up_at = now().plus(match (found.is_empty(), self.engine.members() <= FEW) {
                        (true, _) => LOOK_UP_AGAIN,
                        (false, true) => LOOK_UP_FEW,
                        (false, false) => LOOK_UP_MANY,
                    });
                    for (seed, addresses) in found {
                        let addresses = addresses.into_iter().map(sockets::canonical);
                        self.engine.looked_up(seed, addresses, now());
                    }
                }
                Woken::Done(Done::SayGoodByeAgain(done)) => {
                    self.engine.leave(now());
                    self.transmit();
                    // Whoever waited for it may have gone.
                    let _ = done.send(());
                }
                Woken::Done(Done::Nothing) | Woken::Taken | Woken::Socket | Woken::Timer => {}
            }
            // Datagrams before timers: an answer that has arrived must count before its time-out does.
            self.receive(&mut buffer);
            if self.engine.next_timer() <= now() {
                self.engine.timers(now());
            }
        }
    }

    fn command(&mut self, command: Command, tasks: &mut JoinSet<Done>) {
        match command {
            Command::Broadcast(item) => {
                self.engine.broadcast(&item, now());
            }
            Command::Ask { to, request, answer } => self.engine.ask(&to, &request, answer, now()),
            Command::Suggest(peers) => self.engine.suggested(peers.iter().map(|peer| peer.address), now()),
            Command::Leave(done) => {
                self.engine.leave(now());
                tasks.spawn(async move {
                    sleep(GOOD_BYE_AGAIN).await;
                    Done::SayGoodByeAgain(done)
                });
            }
        }
    }

    /// Gives the node the events for which it has room. `false`: it does not want any more.
    fn hand_up(&mut self, tasks: &mut JoinSet<Done>) -> bool {
        while self.engine.has_events() {
            let permit = match self.acceptor.events.try_reserve() {
                Ok(permit) => permit,
                // The stream ends, and the node opens another one: membership must not go missing.
                Err(_) => return !self.engine.is_stuck() && !self.acceptor.events.is_closed(),
            };
            let Some(event) = self.engine.poll_event() else { break };
            permit.send(match event {
                Event::Up(peer) => GossipEvent::Up(peer),
                Event::Down(origin) => GossipEvent::Down(origin),
                Event::Left(origin) => GossipEvent::Left(origin),
                Event::Item(item) => GossipEvent::Item(item),
                Event::Slow(lag) => GossipEvent::Slow(lag),
                Event::Asked { from, number, request } => {
                    if tasks.len() >= MAX_TASKS {
                        self.acceptor.counters.dropped.one();
                        continue;
                    }
                    let (answer, answered) = oneshot::channel();
                    let to = from.address;
                    tasks.spawn(async move {
                        match timeout(ANSWER_WITHIN, answered).await {
                            Ok(Ok(answer)) => Done::Answered { to, number, answer },
                            _ => Done::Nothing,
                        }
                    });
                    GossipEvent::Asked(Asked {
                        from,
                        request,
                        limit: MAX_SMALL,
                        answer,
                    })
                }
            });
        }
        true
    }

    fn accepted(
        &mut self,
        tcp: tokio::net::TcpStream,
        from: SocketAddr,
        limits: &StreamLimits,
        tasks: &mut JoinSet<Done>,
    ) {
        let from = sockets::canonical(from);
        let Some(permit) = limits.admit(from.ip()) else {
            return self.acceptor.counters.limited.one();
        };
        let acceptor = self.acceptor.clone();
        tasks.spawn(async move {
            // Answers are written in few, large pieces; waiting to fill a packet would only delay the last one.
            let _ = tcp.set_nodelay(true);
            stream::serve(tcp, from, acceptor, permit).await;
            Done::Nothing
        });
    }

    fn receive(&mut self, buffer: &mut [u8]) {
        for _ in 0..TURN {
            // Errors of a socket that is bound, not connected, are those of single datagrams.
            let Ok((length, from)) = self.sockets.udp.try_recv_from(buffer) else {
                return;
            };
            self.engine.datagram(sockets::canonical(from), &buffer[..length], now());
            self.transmit();
        }
    }

    fn transmit(&mut self) {
        while let Some((to, sealed)) = self.engine.poll_transmit() {
            if self.sieve.datagram(to, sealed.len()) {
                // Best effort: a full socket is a lossy network.
                let _ = self
                    .sockets
                    .udp
                    .try_send_to(&sealed, sockets::native(to, self.sockets.bound));
            }
        }
    }
}

fn now() -> Moment {
    SystemClock.now().boot
}
