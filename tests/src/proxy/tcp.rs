//! Moves connections.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

use super::lane::{Kind, LaneKey, Road, Tally};
use super::state::{MAX_CONNECTIONS, Shared, State};
use super::{NodeId, OUTSIDE};

/// Bytes of one direction of a connection that the proxy holds, at most. Then the sender feels it.
const MAX_HELD: usize = 256 * 1024;
/// Bytes taken at once.
const PIECE: usize = 16 * 1024;
/// Bytes taken at once from a slow link, at least.
const SMALL_PIECE: usize = 256;
/// A slow link takes this part of what it passes in a second at once, so that bytes trickle instead of gushing.
const PIECES_PER_SECOND: u64 = 20;
/// Between two attempts to accept.
const BREATH: Duration = Duration::from_millis(10);

/// Accepts what connects to the advertised address of node `to`.
pub(super) async fn accept(shared: Arc<Shared>, to: NodeId, listener: TcpListener) {
    loop {
        let Ok((client, source)) = listener.accept().await else {
            // The connection has gone already, or the process has no file descriptor left: it may get one back.
            tokio::time::sleep(BREATH).await;
            continue;
        };
        let connection = shared.count(|state| Connection::admit(state, source, to));
        match connection {
            Some(mut connection) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    connection.serve(&shared, client).await;
                    shared.lock().connections -= 1;
                });
            }
            None => abort(client),
        }
    }
}

/// How a connection ends that does not end by itself.
enum End {
    /// A fault resets it.
    Reset,
    /// A fault refuses it.
    Refused,
    /// One side has reset it, and the other is to see that.
    Broken,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

struct Connection {
    /// From the one that connects to the one that accepts, and back.
    keys: [LaneKey; 2],
    /// The orders to reset that were older than this connection.
    resets: [u64; 2],
    /// Where the other side listens.
    target: SocketAddr,
    /// The address that the other side sees. None: that of the proxy's machine.
    source: Option<SocketAddr>,
}

impl Connection {
    fn admit(state: &mut State, source: SocketAddr, to: NodeId) -> Option<Self> {
        let from = state.sender(source);
        let kind = Kind::Tcp;
        let keys = [
            LaneKey { from, to, kind },
            LaneKey {
                from: to,
                to: from,
                kind,
            },
        ];
        if state.connections >= MAX_CONNECTIONS {
            state.lane(keys[0]).tally.overflowed += 1;
            return None;
        }
        // Not there: the mesh is about to end.
        let target = state.nodes.get(to.0)?.bind;
        let source = (from != OUTSIDE).then(|| SocketAddr::new(state.nodes[from.0].advertise.ip(), 0));
        state.connections += 1;
        Some(Self {
            keys,
            resets: keys.map(|key| state.lane(key).resets),
            target,
            source,
        })
    }

    async fn serve(&mut self, shared: &Shared, client: TcpStream) {
        let mut ordered = shared.ordered.subscribe();
        let mut server = None;
        let end = match self.arrive(shared, &mut ordered, &client).await {
            Ok(stream) => {
                let stream = server.insert(stream);
                self.carry(shared, &mut ordered, &client, stream).await
            }
            Err(end) => Err(end),
        };
        match end {
            Ok(()) => return,
            Err(End::Reset) => self.count(shared, |tally| tally.reset += 1),
            Err(End::Refused) => self.count(shared, |tally| tally.refused += 1),
            Err(End::Broken) => {}
        }
        abort(client);
        if let Some(server) = server {
            abort(server);
        }
    }

    /// Waits until the link is open both ways, and connects to the other side.
    async fn arrive(
        &self,
        shared: &Shared,
        ordered: &mut watch::Receiver<()>,
        client: &TcpStream,
    ) -> Result<TcpStream, End> {
        let (mut stopped, mut delayed) = (false, false);
        loop {
            ordered.mark_unchanged();
            let (roads, delay) = {
                let mut state = shared.lock();
                (self.roads(&mut state)?, state.lane(self.keys[0]).delay())
            };
            if roads.contains(&Road::HalfOpen) {
                return Err(self.lie_dead(shared, ordered, client, None).await);
            }
            if roads.contains(&Road::Cut) {
                if !stopped {
                    stopped = true;
                    self.count(shared, |tally| tally.cut += 1);
                }
                // The sender lives as long as the proxy.
                let _ = ordered.changed().await;
            } else if delayed || delay.is_zero() {
                break;
            } else {
                delayed = true;
                self.count(shared, |tally| tally.delayed += 1);
                tokio::time::sleep(delay).await;
            }
        }
        let server = self.connect().await;
        let connected = server.is_ok();
        self.count(shared, |tally| {
            if connected {
                tally.opened += 1;
            } else {
                tally.unreachable += 1;
            }
        });
        Ok(server?)
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(source) = self.source {
            socket.bind(source)?;
        }
        let stream = socket.connect(self.target).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Carries bytes both ways until both sides have said their last.
    async fn carry(
        &self,
        shared: &Shared,
        ordered: &mut watch::Receiver<()>,
        client: &TcpStream,
        server: &TcpStream,
    ) -> Result<(), End> {
        client.set_nodelay(true)?;
        let [mut go, mut back] = self.keys.map(Pipe::new);
        let mut buffer = vec![0; PIECE];
        while !(go.finished && back.finished) {
            ordered.mark_unchanged();
            let roads = self.roads(&mut shared.lock())?;
            if roads.contains(&Road::HalfOpen) {
                return Err(self.lie_dead(shared, ordered, client, Some(server)).await);
            }
            go.walk(roads[0]);
            back.walk(roads[1]);
            if go.has_gap() || back.has_gap() {
                return Err(End::Reset);
            }
            go.write(shared, server)?;
            back.write(shared, client)?;
            let next = [go.next(), back.next()].into_iter().flatten().min();
            tokio::select! {
                _ = ordered.changed() => {}
                () = until(next) => {}
                watched = go.watch(client), if go.watches() => go.read(shared, client, &mut buffer, watched?)?,
                watched = back.watch(server), if back.watches() => back.read(shared, server, &mut buffer, watched?)?,
                writable = server.writable(), if go.blocked => { writable?; go.blocked = false; }
                writable = client.writable(), if back.blocked => { writable?; back.blocked = false; }
            }
        }
        Ok(())
    }

    /// The other side is gone without a word. When the fault is over, it answers whatever is said by a reset.
    async fn lie_dead(
        &self,
        shared: &Shared,
        ordered: &mut watch::Receiver<()>,
        client: &TcpStream,
        server: Option<&TcpStream>,
    ) -> End {
        self.count(shared, |tally| tally.half_open += 1);
        loop {
            ordered.mark_unchanged();
            let roads = self.roads(&mut shared.lock());
            match roads {
                Err(end) => return end,
                Ok(roads) if !roads.contains(&Road::HalfOpen) => break,
                Ok(_) => {}
            }
            let _ = ordered.changed().await;
        }
        let word_of = async |stream: Option<&TcpStream>| match stream {
            Some(stream) => stream.peek(&mut [0]).await.map(drop),
            None => std::future::pending().await,
        };
        // Errors are the end as well.
        tokio::select! {
            _ = word_of(Some(client)) => {}
            _ = word_of(server) => {}
            end = self.ended(shared, ordered) => return end,
        }
        End::Reset
    }

    /// Waits for an order to end this connection.
    async fn ended(&self, shared: &Shared, ordered: &mut watch::Receiver<()>) -> End {
        loop {
            ordered.mark_unchanged();
            if let Err(end) = self.roads(&mut shared.lock()) {
                return end;
            }
            let _ = ordered.changed().await;
        }
    }

    /// The state of both directions, unless the connection is to end.
    fn roads(&self, state: &mut State) -> Result<[Road; 2], End> {
        let resets = self.keys.map(|key| state.lane(key).resets);
        if resets != self.resets {
            return Err(End::Reset);
        }
        let roads = self.keys.map(|key| state.lane(key).conditions.road);
        if roads.contains(&Road::Refused) {
            return Err(End::Refused);
        }
        Ok(roads)
    }

    fn count(&self, shared: &Shared, change: impl FnOnce(&mut Tally)) {
        shared.count(|state| change(&mut state.lane(self.keys[0]).tally));
    }
}

/// One direction of a connection.
struct Pipe {
    key: LaneKey,
    road: Road,
    /// Pieces and when each is to arrive. The last one is empty where the sender has said its last.
    pieces: VecDeque<(Instant, Vec<u8>)>,
    held: usize,
    /// The sender has said its last.
    ended: bool,
    /// The receiver has heard the last.
    finished: bool,
    /// The receiver takes no more for now.
    blocked: bool,
    /// Something vanished in a black hole.
    gap: bool,
    /// The cut has been counted.
    stopped: bool,
}

impl Pipe {
    fn new(key: LaneKey) -> Self {
        Self {
            key,
            road: Road::Open,
            pieces: VecDeque::new(),
            held: 0,
            ended: false,
            finished: false,
            blocked: false,
            gap: false,
            stopped: false,
        }
    }

    fn walk(&mut self, road: Road) {
        self.road = road;
        // The next cut counts again.
        self.stopped &= road == Road::Cut;
    }

    /// Whether bytes are missing on a road that passes bytes: no stream may have that.
    fn has_gap(&self) -> bool {
        self.gap && self.road == Road::Open
    }

    /// Whether the sender's next word matters now.
    fn watches(&self) -> bool {
        !self.ended
            && match self.road {
                Road::Open => self.held < MAX_HELD,
                Road::Cut => !self.stopped,
                _ => true,
            }
    }

    /// Waits for the sender's next word, and leaves it where it is.
    async fn watch(&self, from: &TcpStream) -> io::Result<usize> {
        from.peek(&mut [0]).await
    }

    fn read(&mut self, shared: &Shared, from: &TcpStream, buffer: &mut [u8], _seen: usize) -> io::Result<()> {
        let now = Instant::now();
        shared.count(|state| {
            let lane = state.lane(self.key);
            // Asked again under the lock: a verb that has returned holds.
            self.road = lane.conditions.road;
            match self.road {
                Road::Open | Road::BlackHole => {}
                Road::Cut => {
                    self.stopped = true;
                    lane.tally.cut += 1;
                    return Ok(());
                }
                Road::HalfOpen | Road::Refused => return Ok(()),
            }
            let room = lane.conditions.rate.map_or(PIECE, |rate| {
                usize::try_from(rate / PIECES_PER_SECOND)
                    .unwrap_or(PIECE)
                    .clamp(SMALL_PIECE, PIECE)
            });
            let length = match from.try_read(&mut buffer[..room]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                other => other?,
            };
            self.ended = length == 0;
            if self.road == Road::BlackHole {
                self.gap = true;
                lane.tally.swallowed += length as u64;
                return Ok(());
            }
            let departure = lane.departure(now, length);
            // A stream keeps its order whatever the jitter says: a piece never passes the one in front of it.
            let due = departure + lane.delay();
            if due > now && length > 0 {
                lane.tally.delayed += 1;
            }
            self.held += length;
            self.pieces.push_back((due, buffer[..length].to_vec()));
            Ok(())
        })
    }

    /// Writes what is due, as far as the receiver takes it.
    fn write(&mut self, shared: &Shared, to: &TcpStream) -> io::Result<()> {
        let now = Instant::now();
        if self.blocked || self.pieces.front().is_none_or(|(due, _)| *due > now) {
            return Ok(());
        }
        shared.count(|state| {
            let lane = state.lane(self.key);
            self.road = lane.conditions.road;
            while let Some((due, piece)) = self.pieces.front_mut()
                && *due <= now
                && self.road == Road::Open
            {
                if piece.is_empty() {
                    self.finished = true;
                    self.pieces.pop_front();
                    break;
                }
                match to.try_write(piece) {
                    Ok(written) => {
                        lane.tally.bytes += written as u64;
                        self.held -= written;
                        piece.drain(..written);
                        if piece.is_empty() {
                            self.pieces.pop_front();
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        self.blocked = true;
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })?;
        if self.finished {
            shut(to)?;
        }
        Ok(())
    }

    /// When the next piece is due, where anything passes.
    fn next(&self) -> Option<Instant> {
        let (due, _) = self.pieces.front()?;
        (self.road == Road::Open && !self.blocked).then_some(*due)
    }
}

/// Tells the receiver that nothing more comes.
fn shut(stream: &TcpStream) -> io::Result<()> {
    rustix::net::shutdown(stream, rustix::net::Shutdown::Write).map_err(io::Error::from)
}

/// Ends a connection by a reset instead of a farewell.
fn abort(stream: TcpStream) {
    // An error says that it has ended already.
    let _ = stream.set_zero_linger();
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}
