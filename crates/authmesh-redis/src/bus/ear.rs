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
    pub(super) async fn connect(server: &Server, hub: &Arc<Hub>) -> Result<Self, PortError> {
        let ended = Arc::new(AtomicBool::new(false));
        let hear = {
            let (hub, ended) = (Arc::clone(hub), Arc::clone(&ended));
            move |push| hear(push, &hub, &ended)
        };
        let connection = server.listening(SILENCE, hear).await?;
        let heartbeat = tokio::spawn(beat(connection.clone(), Arc::clone(hub), Arc::clone(&ended)));
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
    /// end, but for those with an error.
    pub(super) async fn subscribe(mut self, bells: Vec<(ChannelId, String)>) -> Vec<(ChannelId, Result<(), Trouble>)> {
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        for (_, bell) in &bells {
            let mut subscribe = Cmd::new();
            subscribe.arg("SSUBSCRIBE").arg(bell);
            pipeline.add_command(subscribe);
        }
        let answers: Result<Vec<Value>, _> = pipeline.query_async(&mut self.connection).await;
        let channels = bells.into_iter().map(|(channel, _)| channel);
        match answers {
            Ok(answers) => channels
                .zip(answers)
                .map(|(channel, answer)| match answer {
                    Value::ServerError(error) => (channel, Err(error::answered(self.server.address(), &error))),
                    _ => {
                        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
                        if let Some(listens) = channels.get_mut(channel.index()) {
                            *listens = true;
                        }
                        (channel, Ok(()))
                    }
                })
                .collect(),
            Err(error) => channels
                .map(|channel| {
                    (
                        channel,
                        Err(Trouble::Failed(error::unanswered(self.server.peer(), &error))),
                    )
                })
                .collect(),
        }
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

/// Asks for signs of life until the connection has ended.
async fn beat(mut connection: MultiplexedConnection, hub: Arc<Hub>, ended: Arc<AtomicBool>) {
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !ended.load(Ordering::Acquire) {
        heartbeat.tick().await;
        if redis::cmd("PING").exec_async(&mut connection).await.is_err() {
            ended.store(true, Ordering::Release);
            hub.wake.notify_one();
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
