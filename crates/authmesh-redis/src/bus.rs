//! The bus: sharded pub/sub, over a connection of its own for each subscription.
//!
//! The pub/sub of client libraries can go silent without a word after a fault of the server. So the connection is asked
//! for a sign of life four times a second, and given up when none comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use authmesh::ports::{BoxFuture, Bus, BusEvent, BusStream, PortError};
use authmesh_proto::ident::ChannelId;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, PushKind, Value};
use tokio::sync::{Notify, mpsc};
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;

use crate::RedisAdapter;
use crate::error;

/// Bells that wait for a slow subscriber. Of more, it is told that some were lost.
const BELLS: usize = 4096;
/// The longest bell, in bytes: a log entry is shorter. A longer one counts as lost, so that nobody fills our memory.
const MAX_BELL: usize = 8192;
/// How often the connection is asked for a sign of life.
const HEARTBEAT: Duration = Duration::from_millis(250);
/// How long none may come.
const SILENCE: Duration = Duration::from_secs(1);
/// The wait after a failed attempt to connect; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

impl Bus for RedisAdapter {
    fn subscribe(&self) -> BoxFuture<'_, Result<BusStream, PortError>> {
        Box::pin(async move {
            let (bells, stream) = mpsc::channel(BELLS);
            let connected = connect(self, &bells).await?;
            // Ends when the stream is dropped.
            tokio::spawn(keep(self.clone(), bells, connected));
            Ok(Box::pin(ReceiverStream::new(stream)) as BusStream)
        })
    }
}

/// What the connection wants to be known, beside bells.
#[derive(Default)]
struct Signs {
    ended: AtomicBool,
    lost: AtomicBool,
    wake: Notify,
}

struct Connected {
    connection: MultiplexedConnection,
    signs: Arc<Signs>,
}

/// Subscribes to every channel; the subscription is in force at the end.
async fn connect(adapter: &RedisAdapter, bells: &mpsc::Sender<BusEvent>) -> Result<Connected, PortError> {
    let link = adapter.link();
    let signs = Arc::new(Signs::default());
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(link.config().connect_timeout))
        .set_response_timeout(Some(SILENCE))
        .set_push_sender({
            let (signs, bells) = (Arc::clone(&signs), bells.clone());
            move |push| {
                hear(push, &signs, &bells);
                Ok::<(), ()>(())
            }
        });
    let connected = link
        .client()?
        .get_multiplexed_async_connection_with_config(&settings)
        .await;
    let mut connection = connected.map_err(|error| error::connecting(link.peer(), &error))?;
    let mut subscribe = redis::pipe();
    for channel in ChannelId::all() {
        subscribe.cmd("SSUBSCRIBE").arg(adapter.keys().bell(channel));
    }
    let subscribed = subscribe.exec_async(&mut connection).await;
    subscribed.map_err(|error| error::asking(link.peer(), &error).0)?;
    Ok(Connected { connection, signs })
}

/// Takes what the connection pushes. Must not wait.
fn hear(push: PushInfo, signs: &Signs, bells: &mpsc::Sender<BusEvent>) {
    match push.kind {
        PushKind::SMessage => {
            let [_, Value::BulkString(bell)] = &push.data[..] else {
                return;
            };
            if bell.len() <= MAX_BELL && bells.try_send(BusEvent::Bell(bell.clone())).is_ok() {
                return;
            }
            signs.lost.store(true, Ordering::Release);
        }
        // The server takes a subscription back when its slot moves away.
        PushKind::Disconnection | PushKind::SUnsubscribe => signs.ended.store(true, Ordering::Release),
        _ => return,
    }
    signs.wake.notify_one();
}

/// Keeps a subscription alive until nobody listens any more.
async fn keep(adapter: RedisAdapter, bells: mpsc::Sender<BusEvent>, mut connected: Connected) {
    loop {
        if !listen(connected, &bells).await || bells.send(BusEvent::Broken).await.is_err() {
            return;
        }
        tracing::warn!(peer = adapter.link().peer(), "the bus broke; subscribing again");
        let again = tokio::select! {
            again = reconnect(&adapter, &bells) => again,
            () = bells.closed() => return,
        };
        connected = again;
        // Whatever rang in between was missed.
        if bells.send(BusEvent::Broken).await.is_err() {
            return;
        }
    }
}

async fn reconnect(adapter: &RedisAdapter, bells: &mpsc::Sender<BusEvent>) -> Connected {
    let mut wait = FIRST_WAIT;
    loop {
        match connect(adapter, bells).await {
            Ok(connected) => return connected,
            Err(error) => tracing::debug!(%error, "no connection for the bus; trying again"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Until the connection breaks (`true`), or nobody listens any more (`false`).
async fn listen(connected: Connected, bells: &mpsc::Sender<BusEvent>) -> bool {
    let Connected { mut connection, signs } = connected;
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = bells.closed() => return false,
            () = signs.wake.notified() => {}
            _ = heartbeat.tick() => {
                if redis::cmd("PING").exec_async(&mut connection).await.is_err() {
                    return true;
                }
            }
        }
        if signs.ended.load(Ordering::Acquire) {
            return true;
        }
        // Cleared first: what is lost while we wait for room is told again.
        if signs.lost.swap(false, Ordering::AcqRel) && bells.send(BusEvent::Broken).await.is_err() {
            return false;
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
        let signs = Signs::default();
        for n in 0..2 {
            hear(message(vec![n]), &signs, &bells);
        }
        assert!(!signs.lost.load(Ordering::Acquire));
        hear(message(vec![2]), &signs, &bells);
        assert!(signs.lost.load(Ordering::Acquire));
        for n in 0..2 {
            assert_eq!(stream.recv().await, Some(BusEvent::Bell(vec![n])));
        }
    }

    #[tokio::test]
    async fn a_bell_that_is_too_long_is_not_kept() {
        let (bells, mut stream) = mpsc::channel(2);
        let signs = Signs::default();
        hear(message(vec![0; MAX_BELL + 1]), &signs, &bells);
        assert!(signs.lost.load(Ordering::Acquire) && stream.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_subscription_that_the_server_takes_back_ends_the_connection() {
        let (bells, _stream) = mpsc::channel(2);
        let signs = Signs::default();
        let data = vec![Value::BulkString(b"bell".to_vec()), Value::Int(63)];
        let kind = PushKind::SUnsubscribe;
        hear(PushInfo { kind, data }, &signs, &bells);
        assert!(signs.ended.load(Ordering::Acquire));
    }
}
