//! Every fault really happens, on every port, and nothing happens without one. What a decorator forwards is judged by the
//! conformance suites of the ports, in the workspace's `tests` package.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use authmesh::clock::SystemEntropy;
use authmesh::memory::{Cluster, FixedKeys, Hub, HubGossip};
use authmesh::ports::{
    Bus, BusEvent, Commit, DatagramSeal, Effect, Entropy as _, Gossip, GossipEvent, GossipNode, GossipStream, KeyFetch,
    KeySource, Log, Members, PortError, Store, TokenState, UpstreamError, UpstreamFault,
};
use authmesh::proto::crypto::OpenError;
use authmesh::proto::ident::{EntryName, Incarnation, Nonce, Origin};
use authmesh_testkit::{Action, Call, Fault, Faulty, Heard, Op, Port, Reply, TestIssuer, soon};
use tokio::time::Instant;
use tokio_stream::StreamExt as _;

const NAME: EntryName = EntryName([0; 32]);
const NONCE: Nonce = Nonce([3; 16]);
const TTL: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

fn commit() -> Commit {
    Commit {
        channel: NAME.slot().channel,
        nonce: NONCE,
        birth: Incarnation([7; 16]),
        now: 0,
        effect: Effect::Drop(NAME),
        statement: vec![1],
        bare_done: false,
    }
}

fn cluster() -> Arc<Faulty<Cluster>> {
    Faulty::new(Arc::new(Cluster::new()))
}

/// Calls every method of log, bus, store and members once, and says how each ended.
async fn every_call(port: &Faulty<Cluster>) -> Vec<(Op, Result<(), PortError>)> {
    let channel = NAME.slot().channel;
    let start = authmesh::proto::ident::Position {
        id: Default::default(),
        nonce: NONCE,
    };
    fn ended<T>(outcome: Result<T, PortError>) -> Result<(), PortError> {
        outcome.map(drop)
    }
    vec![
        (Op::Commit, ended(port.commit(commit()).await)),
        (Op::Heads, ended(port.heads().await)),
        (Op::ReadLog, ended(Log::read(port, channel, start, 10).await)),
        (Op::Load, ended(port.load(channel, None).await)),
        (
            Op::Mint,
            ended(port.mint(channel, None, Incarnation([8; 16]), NONCE).await),
        ),
        (Op::Purge, ended(port.purge(channel, Vec::new()).await)),
        (Op::Subscribe, ended(port.subscribe().await)),
        (Op::ReadValue, ended(Store::read(port, NAME).await)),
        (Op::Lease, ended(port.lease(NAME, NONCE, None, TTL).await)),
        (Op::Renew, ended(port.renew(NAME, NONCE, TTL).await)),
        (Op::StoreValue, ended(port.store(NAME, NONCE, vec![5], TTL).await)),
        (Op::Hold, ended(port.hold(NAME, NONCE, TTL).await)),
        (Op::Unhold, ended(port.unhold(NAME, NONCE).await)),
        (Op::Release, ended(port.release(NAME, NONCE).await)),
        (Op::Gone, ended(port.gone(NAME, NONCE).await)),
        (
            Op::InsertIfAbsent,
            ended(port.insert_if_absent(NAME, vec![5], None, TTL).await),
        ),
        (Op::Increment, ended(port.increment(NAME, 1, TTL).await)),
        (Op::Announce, ended(port.announce(vec![1], vec![2]).await)),
        (Op::Forget, ended(port.forget(vec![1]).await)),
        (Op::List, ended(port.list().await)),
    ]
}

/// What a [`Cluster`] can be asked.
fn asked_of_a_cluster() -> Vec<Op> {
    let ports = [Port::Log, Port::Bus, Port::Store, Port::Members];
    let ops = Op::ALL.iter().copied();
    ops.filter(|op| ports.contains(&op.port()) && *op != Op::Bell).collect()
}

#[tokio::test]
async fn without_faults_everything_passes_and_is_counted_and_recorded() {
    let port = cluster();
    port.faults().record();
    let ended = every_call(&port).await;
    assert!(ended.iter().all(|(_, ended)| ended.is_ok()), "{ended:?}");
    let ops: Vec<Op> = ended.into_iter().map(|(op, _)| op).collect();
    assert_eq!(ops, asked_of_a_cluster(), "the test leaves no method out");
    let recorded: Vec<Op> = port.faults().recorded().iter().map(Call::op).collect();
    assert_eq!(recorded, ops);
    assert!(ops.iter().all(|op| port.faults().calls(*op) == 1));
}

#[tokio::test]
async fn a_fault_of_one_method_is_of_no_other() {
    for faulty in asked_of_a_cluster() {
        let port = cluster();
        let refusal = PortError::Full("by the test".into());
        let fault = port.faults().on(faulty).fail_with(refusal.clone());
        for (op, ended) in every_call(&port).await {
            // What follows from a method that failed, such as a lease that was not taken, is no error.
            let expected = if op == faulty { Err(refusal.clone()) } else { Ok(()) };
            assert_eq!(ended, expected, "{op:?} with a fault of {faulty:?}");
        }
        assert_eq!(fault.hits(), 1);
    }
}

#[tokio::test]
async fn what_failed_was_not_carried_out_and_what_lost_its_answer_was() {
    let port = cluster();
    let head = || async { port.inner().heads().await.unwrap()[NAME.slot().channel.index()] };

    let fails = port.faults().on(Op::Commit).fail();
    assert!(matches!(port.commit(commit()).await, Err(PortError::Unavailable(_))));
    assert_eq!(head().await, None);
    fails.lift();

    let lost = port.faults().on(Op::Commit).lose();
    assert!(matches!(port.commit(commit()).await, Err(PortError::Unknown(_))));
    assert_eq!(head().await, None);
    lost.lift();

    port.faults().on(Op::Commit).lose_answer();
    assert!(matches!(port.commit(commit()).await, Err(PortError::Unknown(_))));
    assert!(head().await.is_some());
}

#[tokio::test]
async fn what_comes_twice_is_carried_out_twice() {
    let port = cluster();
    port.faults().on(Op::Increment).double();
    assert_eq!(port.increment(NAME, 1, TTL).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn delays_add_up() {
    let port = cluster();
    port.faults().on(Op::Heads).delay(SECOND);
    port.faults().on(Port::Log).delay(2 * SECOND);
    let started = Instant::now();
    port.heads().await.unwrap();
    assert!(started.elapsed() >= 3 * SECOND);
    let started = Instant::now();
    port.list().await.unwrap();
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn what_hangs_goes_on_when_the_fault_is_lifted() {
    let port = cluster();
    let before = port.faults().on(Op::Increment).once().hang();
    let waiting = tokio::spawn({
        let port = Arc::clone(&port);
        async move { port.increment(NAME, 1, TTL).await }
    });
    soon("it hangs", before.holds(1)).await;
    assert_eq!(port.inner().increment(NAME, 0, TTL).await, Ok(0), "not carried out yet");
    before.lift();
    assert_eq!(soon("it goes on", waiting).await.unwrap(), Ok(1));
    assert_eq!(before.held(), 0);

    let answer = port.faults().on(Op::Increment).once().hang_answer();
    let waiting = tokio::spawn({
        let port = Arc::clone(&port);
        async move { port.increment(NAME, 1, TTL).await }
    });
    soon("its answer hangs", answer.holds(1)).await;
    assert_eq!(port.inner().increment(NAME, 0, TTL).await, Ok(2), "carried out");
    // It meets what was made meanwhile.
    let third = port.faults().on(Op::Commit).once().hang();
    let committing = tokio::spawn({
        let port = Arc::clone(&port);
        async move { port.commit(commit()).await }
    });
    third.holds(1).await;
    let cut = port.faults().cut();
    third.lift();
    assert!(soon("it goes on", committing).await.unwrap().is_err());
    cut.lift();

    // A caller that goes away does not hang any more.
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    assert_eq!(answer.held(), 0);
}

#[tokio::test]
async fn a_fault_counts_what_it_is_told_to() {
    let port = cluster();
    let pattern = |fault: Fault| {
        let port = Arc::clone(&port);
        async move {
            let mut failed = Vec::new();
            for call in 1..=8 {
                if port.heads().await.is_err() {
                    failed.push(call);
                }
            }
            assert_eq!(fault.hits(), failed.len() as u64);
            port.faults().clear();
            failed
        }
    };
    assert_eq!(pattern(port.faults().on(Op::Heads).once().fail()).await, [1]);
    assert_eq!(
        pattern(port.faults().on(Op::Heads).after(2).times(3).fail()).await,
        [3, 4, 5]
    );
    assert_eq!(pattern(port.faults().on(Op::Heads).every(3).fail()).await, [3, 6]);
    assert_eq!(pattern(port.faults().on(Op::List).fail()).await, [0; 0]);
    let odd = port.faults().on(Op::Heads).decide({
        let calls = std::sync::atomic::AtomicU64::new(0);
        move |_| match calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 2 {
            0 => Action::Fail(PortError::Refused("odd".into()).into()),
            _ => Action::Forward,
        }
    });
    let mut failed = Vec::new();
    for call in 1..=4 {
        if port.heads().await.is_err() {
            failed.push(call);
        }
    }
    assert_eq!((failed, odd.hits()), (vec![1, 3], 4));
}

#[tokio::test]
async fn an_answer_can_lie() {
    let port = cluster();
    port.faults().on(Op::ReadValue).alter(|call, reply| {
        assert!(matches!(call, Call::ReadValue { name } if *name == NAME));
        if let Reply::Read(Ok(read)) = reply {
            read.value = Some(vec![66]);
        }
    });
    assert_eq!(Store::read(&*port, NAME).await.unwrap().value, Some(vec![66]));
    assert_eq!(Store::read(&**port.inner(), NAME).await.unwrap().value, None);
}

#[tokio::test]
async fn decorators_stand_before_each_other_and_share_faults() {
    let inner = cluster();
    let outer = Faulty::new(Arc::clone(&inner));
    outer.faults().on(Op::Heads).count();
    inner.faults().on(Op::Heads).fail();
    assert!(outer.heads().await.is_err());
    assert_eq!(
        (outer.faults().calls(Op::Heads), inner.faults().calls(Op::Heads)),
        (1, 1)
    );

    let twin: Arc<Faulty<dyn Log>> = Faulty::with(Arc::clone(&inner) as Arc<dyn Log>, inner.faults().clone());
    inner.faults().clear();
    inner.faults().on(Op::Heads).fail();
    assert!(twin.heads().await.is_err());
}

/// Rings five bells under a fault, and returns those that arrive, by number; `None` is a broken bus.
async fn bells_with(fault: impl Fn(&Faulty<Cluster>) -> Fault) -> Vec<Option<u8>> {
    let port = cluster();
    // So that the channel is born before anybody listens.
    port.inner().commit(commit()).await.unwrap();
    let made = fault(&port);
    let mut heard = port.subscribe().await.unwrap();
    for bell in 1..=5 {
        let mut commit = commit();
        commit.nonce = Nonce([bell; 16]);
        port.inner().commit(commit).await.unwrap();
    }
    let mut got = Vec::new();
    let silence = Duration::from_millis(50);
    while let Ok(Some(event)) = tokio::time::timeout(silence, heard.next()).await {
        got.push(match event {
            BusEvent::Bell(bytes) => {
                let entry = authmesh::proto::log::LogEntry::decode(&bytes).unwrap();
                Some(entry.head.position.nonce.0[0])
            }
            BusEvent::Broken => None,
        });
    }
    assert!(made.hits() > 0);
    got
}

#[tokio::test(start_paused = true)]
async fn bells_are_lost_doubled_swapped_and_broken() {
    let on = |port: &Faulty<Cluster>| port.faults().clone();
    let all = [1, 2, 3, 4, 5].map(Some);
    assert_eq!(bells_with(|port| on(port).on(Op::Bell).count()).await, all);
    assert_eq!(bells_with(|port| on(port).on(Op::Bell).lose()).await, []);
    assert_eq!(
        bells_with(|port| on(port).on(Op::Bell).every(2).lose()).await,
        [1, 3, 5].map(Some)
    );
    assert_eq!(
        bells_with(|port| on(port).on(Op::Bell).once().double()).await,
        [1, 1, 2, 3, 4, 5].map(Some)
    );
    assert_eq!(
        bells_with(|port| on(port).on(Op::Bell).swap()).await,
        [2, 1, 4, 3].map(Some),
        "the last one waits for the next"
    );
    assert_eq!(
        bells_with(|port| on(port).on(Op::Bell).after(4).fail()).await,
        [Some(1), Some(2), Some(3), Some(4), None]
    );
}

#[tokio::test(start_paused = true)]
async fn a_bell_that_is_held_up_holds_up_the_rest() {
    let port = cluster();
    let mut heard = port.subscribe().await.unwrap();
    let hangs = port.faults().on(Op::Bell).once().hang();
    port.faults().on(Op::Bell).delay(SECOND);
    for _ in 0..2 {
        port.inner().commit(commit()).await.unwrap();
    }
    let early = tokio::time::timeout(60 * SECOND, heard.next()).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(hangs.held(), 1);
    hangs.lift();
    let started = Instant::now();
    for _ in 0..2 {
        soon("the bell comes", heard.next()).await.unwrap();
    }
    assert!(started.elapsed() >= 2 * SECOND);
}

#[derive(Debug)]
struct Open;

impl DatagramSeal for Open {
    fn seal(&self, plain: &[u8]) -> Vec<u8> {
        plain.to_vec()
    }

    fn open(&self, envelope: &[u8]) -> Result<Vec<u8>, OpenError> {
        Ok(envelope.to_vec())
    }

    fn random(&self, bytes: &mut [u8]) {
        SystemEntropy.fill(bytes);
    }
}

async fn open(gossip: &dyn Gossip, number: u8) -> GossipStream {
    let me = GossipNode {
        origin: Origin([number; 16]),
        name: format!("n{number}"),
        seal: Arc::new(Open),
    };
    gossip.open(me).await.unwrap()
}

/// Two nodes, the first behind faults, both open, and each other's members.
async fn pair() -> (Arc<Faulty<HubGossip>>, GossipStream, HubGossip, GossipStream) {
    let hub = Hub::new();
    let (faulty, plain) = (Faulty::new(Arc::new(hub.node())), hub.node());
    let mut at_faulty = open(&*faulty, 1).await;
    let mut at_plain = open(&plain, 2).await;
    for events in [&mut at_faulty, &mut at_plain] {
        assert!(matches!(events.next().await, Some(GossipEvent::Up(_))));
    }
    (faulty, at_faulty, plain, at_plain)
}

fn item(event: Option<GossipEvent>) -> Vec<u8> {
    match event {
        Some(GossipEvent::Item(item)) => item,
        other => panic!("an item was expected: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_node_says_is_lost_doubled_and_late() {
    let (faulty, _events, _plain, mut heard) = pair().await;
    faulty.faults().on(Op::Broadcast).once().lose();
    faulty.broadcast(vec![1]);
    faulty.broadcast(vec![2]);
    assert_eq!(item(heard.next().await), [2]);
    faulty.faults().on(Op::Broadcast).once().double();
    faulty.broadcast(vec![3]);
    assert_eq!((item(heard.next().await), item(heard.next().await)), (vec![3], vec![3]));
    let started = Instant::now();
    faulty.faults().on(Op::Broadcast).once().delay(SECOND);
    faulty.broadcast(vec![4]);
    faulty.broadcast(vec![5]);
    assert_eq!((item(heard.next().await), item(heard.next().await)), (vec![5], vec![4]));
    assert!(started.elapsed() >= SECOND);
}

#[tokio::test(start_paused = true)]
async fn what_a_node_hears_is_lost_doubled_and_swapped() {
    let (faulty, mut heard, plain, _events) = pair().await;
    let items = |call: &Call| matches!(call, Call::Hear(Heard::Item(_)));
    faulty.faults().when(items).once().lose();
    faulty.faults().when(items).once().double();
    faulty.faults().when(items).after(1).once().swap();
    for number in 1..=4 {
        plain.broadcast(vec![number]);
    }
    let mut got = Vec::new();
    for _ in 0..4 {
        got.push(item(soon("an item comes", heard.next()).await)[0]);
    }
    assert_eq!(got, [2, 2, 4, 3]);
}

#[tokio::test(start_paused = true)]
async fn questions_fail_and_hang_and_answers_lie() {
    let (faulty, _events, plain, mut heard) = pair().await;
    let answering = tokio::spawn(async move {
        while let Some(event) = heard.next().await {
            if let GossipEvent::Asked(asked) = event {
                let _ = asked.answer.send(asked.request);
            }
        }
    });
    let peer = authmesh::ports::GossipPeer {
        origin: Origin([2; 16]),
        address: plain.address().unwrap(),
        name: "n2".into(),
    };
    assert_eq!(faulty.ask(&peer, vec![1]).await, Ok(vec![1]));
    assert_eq!(faulty.pull(&peer, vec![1]).await, Ok(vec![1]));
    faulty.faults().on([Op::Ask, Op::Pull]).times(2).fail();
    assert!(faulty.ask(&peer, vec![1]).await.is_err());
    assert!(faulty.pull(&peer, vec![1]).await.is_err());
    faulty.faults().on(Op::Pull).alter(|call, reply| {
        if let (Call::Pull { request, .. }, Reply::Bytes(Ok(answer))) = (call, reply) {
            answer.extend(request);
        }
    });
    assert_eq!(faulty.pull(&peer, vec![1]).await, Ok(vec![1, 1]));
    let hangs = faulty.faults().on(Op::Ask).hang();
    let waits = tokio::time::timeout(60 * SECOND, faulty.ask(&peer, vec![1])).await;
    assert!(waits.is_err());
    hangs.lift();
    assert_eq!(faulty.ask(&peer, vec![1]).await, Ok(vec![1]));
    answering.abort();
}

#[tokio::test(start_paused = true)]
async fn nobody_hears_a_good_bye_that_was_lost() {
    let (faulty, _events, _plain, mut heard) = pair().await;
    let lost = faulty.faults().on(Op::Leave).lose();
    faulty.leave().await;
    assert!(tokio::time::timeout(SECOND, heard.next()).await.is_err());
    lost.lift();
    faulty.leave().await;
    assert!(matches!(heard.next().await, Some(GossipEvent::Left(_))));
}

#[tokio::test(start_paused = true)]
async fn who_is_cut_off_neither_asks_nor_speaks_nor_hears_but_learns_who_is_there() {
    let (faulty, mut heard, plain, mut at_plain) = pair().await;
    let cut = faulty.faults().cut();
    faulty.broadcast(vec![1]);
    plain.broadcast(vec![2]);
    plain.leave().await;
    assert!(matches!(heard.next().await, Some(GossipEvent::Left(_))));
    assert!(tokio::time::timeout(SECOND, at_plain.next()).await.is_err());
    cut.lift();

    let port = cluster();
    let cut = port.faults().cut();
    let ended = every_call(&port).await;
    assert!(
        ended
            .iter()
            .all(|(_, ended)| matches!(ended, Err(PortError::Unavailable(_)))),
        "{ended:?}"
    );
    cut.lift();
    let ended = every_call(&port).await;
    assert!(ended.iter().all(|(_, ended)| ended.is_ok()), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_key_source_fails_as_it_is_told() {
    let source = Faulty::new(Arc::new(FixedKeys::new(r#"{"keys":[]}"#)) as Arc<dyn KeySource>);
    let fetch = || source.fetch(KeyFetch::default());
    assert!(fetch().await.is_ok());
    source.faults().on(Op::Fetch).once().fail();
    assert_eq!(fetch().await.unwrap_err().fault, UpstreamFault::Unreachable);
    source.faults().on(Op::Fetch).once().lose();
    assert_eq!(fetch().await.unwrap_err().fault, UpstreamFault::Timeout);
    let mut busy = UpstreamError::new(UpstreamFault::Answer, "503");
    busy.retry_after = Some(SECOND);
    source.faults().on(Op::Fetch).once().fail_with(busy.clone());
    assert_eq!(fetch().await.unwrap_err(), busy);
    source.faults().on(Op::Fetch).alter(|_, reply| {
        if let Reply::Keys(Ok(fetched)) = reply {
            fetched.date = Some(5);
        }
    });
    assert_eq!(fetch().await.unwrap().date, Some(5));
    assert_eq!(source.faults().calls(Op::Fetch), 5);
}

#[tokio::test(start_paused = true)]
async fn a_token_source_fails_hangs_and_does_not_show_tokens() {
    let issuer = TestIssuer::new();
    let token = issuer.mint().subject("alice").opaque();
    let source = issuer.introspection();
    let faults = issuer.introspection_faults();
    faults.record();
    assert!(matches!(source.ask(&token).await, Ok(TokenState::Active(_))));
    assert_eq!(source.ask("another").await, Ok(TokenState::Inactive));
    faults.on(Op::AskToken).once().fail();
    assert_eq!(source.ask(&token).await.unwrap_err().fault, UpstreamFault::Unreachable);
    let hangs = faults.on(Op::AskToken).hang();
    assert!(tokio::time::timeout(SECOND, source.ask(&token)).await.is_err());
    hangs.lift();
    let same = faults.when({
        let token = token.clone();
        move |call| matches!(call, Call::AskToken(text) if text.as_str() == token)
    });
    let same = same.count();
    assert!(source.ask(&token).await.is_ok());
    assert_eq!(same.hits(), 1);
    assert!(!format!("{:?}", faults.recorded()).contains(&token));
    assert_eq!(source.identity(), "introspection of https://issuer.test");
}
