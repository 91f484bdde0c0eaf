//! Sixteen machines, as far as the network goes: loss and cuts are the kernel's, and strike streams too.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use authmesh_tests::idp::Idp;
use authmesh_tests::netns::Namespaces;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::world::{LEASE, SIZE, World, confirmed_by_all_but, everyone, print_times};

/// Lets every namespace reach the identity provider where its tokens say that it is: on loopback.
fn reach_the_issuer(spaces: &Namespaces, issuer: SocketAddr) -> JoinSet<()> {
    let mut relays = JoinSet::new();
    for index in 0..spaces.count() {
        // A socket stays in the namespace that it was made in.
        let inside = spaces.within(index, || std::net::TcpListener::bind(issuer).unwrap());
        inside.set_nonblocking(true).unwrap();
        let inside = TcpListener::from_std(inside).unwrap();
        relays.spawn(async move {
            while let Ok((mut client, _)) = inside.accept().await {
                tokio::spawn(async move {
                    if let Ok(mut provider) = TcpStream::connect(issuer).await {
                        // An error ends the connection, and the node asks again.
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut provider).await;
                    }
                });
            }
        });
    }
    relays
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_machines_stand_loss_and_a_partition_made_by_the_kernel() {
    if let Err(why) = Namespaces::available() {
        eprintln!("SKIPPED, nothing was tested: {why}");
        return;
    }
    let idp = Idp::start().await;
    let issuer = idp.issuer().trim_start_matches("http://").parse().unwrap();
    let spaces = Namespaces::create(SIZE);
    let _relays = reach_the_issuer(&spaces, issuer);
    let world = World::start_in(spaces, idp).await;
    let tokens = world.tokens(6).await;
    let spaces = world.fleet.spaces();

    for one in everyone() {
        for other in everyone().into_iter().filter(|other| *other != one) {
            spaces.lose(one, other, 0.3);
        }
    }
    let watch = world.asker.watch(&everyone(), "/refund", &world.good);
    let mut times = Vec::new();
    for (index, token) in tokens.iter().take(5).enumerate() {
        let (receipt, took) = world.revoke(index, json!({ "token": token })).await;
        confirmed_by_all_but(index, &receipt);
        times.push(took);
        world
            .asker
            .each_says(&everyone(), "/", token, 401, "it has confirmed")
            .await;
    }
    print_times(
        "30 % loss by iptables: from the order until all 15 others have confirmed",
        &times,
    );
    let (asked, blind) = watch.count(503);
    println!("FIGURE 30 % loss by iptables: {blind} of {asked} answers were blind");
    assert!(blind * 50 < asked, "{blind} of {asked} answers were blind");
    assert!(spaces.struck(0, 1) > 0, "nothing was lost");

    spaces.heal();
    let (left, right) = (&everyone()[..SIZE / 2], &everyone()[SIZE / 2..]);
    spaces.partition(left, right);
    // Rule by rule; from now on nothing crosses.
    let cut = Instant::now();
    world.asker.all_say(&everyone(), "/refund", &world.good, 503).await;
    let token = &tokens[5];
    let receipt = world.revoke_at_once(0, token).await;
    assert_eq!(receipt["state"], "unconfirmed", "{receipt}");
    world.asker.all_say(left, "/", token, 401).await;
    let unheard = world.asker.watch(right, "/refund", token);
    world
        .eventually("the lease has ended, and a while", async || {
            cut.elapsed() > LEASE + Duration::from_secs(1)
        })
        .await;
    watch.never_since(cut + LEASE, 200, "no evidence crosses the cut, so no lease does");
    spaces.heal();
    let healed = Instant::now();
    world.asker.all_say(right, "/", token, 401).await;
    world.whole().await;
    println!(
        "FIGURE a partition by iptables: {} ms until all are whole",
        healed.elapsed().as_millis()
    );
    unheard.never_since(cut, 200, "coherent, and it does not know");
}
