//! One connection that listens to one primary.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use authmesh::ports::{BusEvent, PortError};
use authmesh_proto::ident::{CHANNELS, ChannelId};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, PushInfo, PushKind, Value};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::error::{self, Trouble};
use crate::link::Server;

/// The longest bell, in bytes: a log entry is shorter. A longer one counts as lost, so that nobody fills our memory.
const MAX_BELL: usize = 8192;
/// How often the connection is asked for a sign of life.
const HEARTBEAT: Duration = Duration::from_millis(250);
/// How long none may come.
const SILENCE: Duration = Duration::from_secs(1);

/// What all connections of a subscription share.
pub(super) struct Hub {
    pub(super) bells: mpsc::Sender<BusEvent>,
    /// Bells were lost for want of room.
    pub(super) lost: AtomicBool,
    /// Something needs to be looked at.
    pub(super) wake: Notify,
}

impl Hub {
    pub(super) fn new(bells: mpsc::Sender<BusEvent>) -> Self {
        Self {
            bells,
            lost: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }
}

/// A connection, and what it is subscribed to. It ends when this value is dropped.
pub(super) struct Ear {
    connection: MultiplexedConnection,
    ended: Arc<AtomicBool>,
    channels: Arc<Mutex<[bool; CHANNELS]>>,
    heartbeat: JoinHandle<()>,
}

/// A channel, and what it is called there.
pub(super) struct Wanted {
    pub(super) channel: ChannelId,
    pub(super) bell: String,
    pub(super) log: String,
}

/// Connections subscribe on replicas too, where bells come late or, for a while after a change of roles, not at all. A
/// command with a key is sent on by them; the primary answers, be it that the key is on its way.
fn who_serves(log: &str) -> Cmd {
    let mut ask = redis::cmd("TYPE");
    ask.arg(log);
    ask
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.heartbeat.abort();
    }
}

/// What came of subscribing.
pub(super) struct Subscribed {
    /// A new connection, if one was made.
    pub(super) ear: Option<Ear>,
    /// The answer for each channel.
    pub(super) answers: Vec<(ChannelId, Result<(), Trouble>)>,
}

impl Ear {
    /// `sign`: the log of a channel that it will listen to.
    pub(super) async fn connect(server: &Server, hub: &Arc<Hub>, sign: &str) -> Result<Self, PortError> {
        let ended = Arc::new(AtomicBool::new(false));
        let hear = {
            let (hub, ended) = (Arc::clone(hub), Arc::clone(&ended));
            move |push| hear(push, &hub, &ended)
        };
        let connection = server.listening(SILENCE, hear).await?;
        let heartbeat = Heartbeat {
            server: server.clone(),
            connection: connection.clone(),
            hub: Arc::clone(hub),
            ended: Arc::clone(&ended),
        };
        let heartbeat = tokio::spawn(heartbeat.beat(who_serves(sign)));
        Ok(Self {
            connection,
            ended,
            channels: Arc::new(Mutex::new([false; CHANNELS])),
            heartbeat,
        })
    }

    /// It hears nothing more, or not everything that it should.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn listens_to(&self, channel: ChannelId) -> bool {
        let channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        !self.has_ended() && channels.get(channel.index()).copied().unwrap_or(false)
    }

    /// What is needed to subscribe in another task.
    pub(super) fn subscriber(&self, server: &Server) -> Subscriber {
        Subscriber {
            server: server.clone(),
            connection: self.connection.clone(),
            channels: Arc::clone(&self.channels),
        }
    }
}

pub(super) struct Subscriber {
    server: Server,
    connection: MultiplexedConnection,
    channels: Arc<Mutex<[bool; CHANNELS]>>,
}

impl Subscriber {
    /// One command for each channel: those of different slots do not go into one. The subscriptions are in force at the
    /// end, and at a primary, but for those with an error.
    pub(super) async fn subscribe(mut self, wanted: Vec<Wanted>) -> Vec<(ChannelId, Result<(), Trouble>)> {
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        for Wanted { bell, log, .. } in &wanted {
            let mut subscribe = redis::cmd("SSUBSCRIBE");
            subscribe.arg(bell);
            pipeline.add_command(subscribe).add_command(who_serves(log));
        }
        let answers: Result<Vec<Value>, _> = pipeline.query_async(&mut self.connection).await;
        let channels = wanted.into_iter().map(|wanted| wanted.channel);
        match answers {
            Ok(answers) => channels
                .zip(answers.chunks(2))
                .map(|(channel, answers)| (channel, self.answered(channel, answers)))
                .collect(),
            Err(error) => channels
                .map(|channel| {
                    let failure = error::unanswered(self.server.peer(), &error);
                    (channel, Err(Trouble::Failed(failure)))
                })
                .collect(),
        }
    }

    fn answered(&self, channel: ChannelId, answers: &[Value]) -> Result<(), Trouble> {
        for answer in answers {
            if let Value::ServerError(error) = answer {
                match error::answered(self.server.address(), error) {
                    // The slot is moving away, and is served here until it has moved.
                    Trouble::Ask(_) => {}
                    trouble => return Err(trouble),
                }
            }
        }
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(listens) = channels.get_mut(channel.index()) {
            *listens = true;
        }
        Ok(())
    }
}

/// Takes what the connection pushes. Must not wait.
fn hear(push: PushInfo, hub: &Hub, ended: &AtomicBool) {
    match push.kind {
        PushKind::SMessage => {
            let [_, Value::BulkString(bell)] = &push.data[..] else {
                return;
            };
            if bell.len() <= MAX_BELL && hub.bells.try_send(BusEvent::Bell(bell.clone())).is_ok() {
                return;
            }
            hub.lost.store(true, Ordering::Release);
        }
        // The server takes a subscription back when its slot moves away. Nobody asked for it, so the library takes it for the
        // answer to something else: from now on no answer on this connection can be trusted. Bells still can.
        PushKind::Disconnection | PushKind::SUnsubscribe => ended.store(true, Ordering::Release),
        _ => return,
    }
    hub.wake.notify_one();
}

struct Heartbeat {
    server: Server,
    connection: MultiplexedConnection,
    hub: Arc<Hub>,
    ended: Arc<AtomicBool>,
}

impl Heartbeat {
    /// Asks for signs of life until the connection has ended.
    async fn beat(mut self, sign: Cmd) {
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.ended.load(Ordering::Acquire) {
            heartbeat.tick().await;
            if !self.lives(&sign).await {
                self.ended.store(true, Ordering::Release);
                self.hub.wake.notify_one();
            }
        }
    }

    /// Whether the server answers, and still serves what it served.
    async fn lives(&mut self, sign: &Cmd) -> bool {
        let mut ask = redis::pipe();
        ask.add_command(sign.clone()).ignore_errors();
        let answers: Result<Vec<Value>, _> = ask.query_async(&mut self.connection).await;
        match answers.as_deref() {
            Ok([Value::ServerError(error)]) => match error::answered(self.server.address(), error) {
                Trouble::Moved(_) => false,
                Trouble::Failed(failure) => !failure.deposed,
                Trouble::Ask(_) | Trouble::TryAgain | Trouble::NoScript => true,
            },
            Ok(_) => true,
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn message(bell: Vec<u8>) -> PushInfo {
        PushInfo {
            kind: PushKind::SMessage,
            data: vec![Value::BulkString(b"bell".to_vec()), Value::BulkString(bell)],
        }
    }

    #[tokio::test]
    async fn bells_beyond_the_room_are_told_as_lost() {
        let (bells, mut stream) = mpsc::channel(2);
        let (hub, ended) = (Hub::new(bells), AtomicBool::new(false));
        for n in 0..2 {
            hear(message(vec![n]), &hub, &ended);
        }
        assert!(!hub.lost.load(Ordering::Acquire));
        hear(message(vec![2]), &hub, &ended);
        assert!(hub.lost.load(Ordering::Acquire));
        for n in 0..2 {
            assert_eq!(stream.recv().await, Some(BusEvent::Bell(vec![n])));
        }
    }

    #[tokio::test]
    async fn a_bell_that_is_too_long_is_not_kept() {
        let (bells, mut stream) = mpsc::channel(2);
        let (hub, ended) = (Hub::new(bells), AtomicBool::new(false));
        hear(message(vec![0; MAX_BELL + 1]), &hub, &ended);
        assert!(hub.lost.load(Ordering::Acquire) && stream.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_subscription_that_the_server_takes_back_ends_the_connection() {
        let (bells, _stream) = mpsc::channel(2);
        let (hub, ended) = (Hub::new(bells), AtomicBool::new(false));
        let data = vec![Value::BulkString(b"bell".to_vec()), Value::Int(63)];
        let kind = PushKind::SUnsubscribe;
        hear(PushInfo { kind, data }, &hub, &ended);
        assert!(ended.load(Ordering::Acquire));
    }
}
