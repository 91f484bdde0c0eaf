//! The example of tonic, asked by a real client.

use std::time::Duration;

use authmesh_examples::Login;
use authmesh_examples::greeter::GreeterClient;
use authmesh_testkit::{TestIssuer, soon};
use tokio_stream::StreamExt as _;
use tonic::transport::Endpoint;
use tonic::{Code, Request};

use crate::{Example, tonic_example};

fn with_token(text: &str, token: &str) -> Request<String> {
    let mut request = Request::new(text.to_owned());
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request.set_timeout(Duration::from_secs(30));
    request
}

#[tokio::test]
async fn a_call_needs_a_token_and_a_stream_ends_with_it() {
    let login = Login::Embedded(TestIssuer::new());
    let app = Example::start(|listener| tonic_example::run(login.clone(), listener)).await;
    let channel = Endpoint::from_shared(app.base.clone())
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut client = GreeterClient::new(channel);
    let (alice, bob) = (login.token("alice", "", "s1"), login.token("bob", "", "s2"));
    assert_eq!(client.hello(with_token("hi", &alice)).await.unwrap(), "hello, alice");
    let nobody = client.hello(Request::new("hi".into())).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);

    let mut news = client.watch(with_token("", &alice)).await.unwrap();
    assert_eq!(soon("news", news.next()).await.unwrap().unwrap(), "news 0");
    client.hello(with_token("sign out", &alice)).await.unwrap();
    let end = loop {
        match soon("the end of the stream", news.next()).await.unwrap() {
            Ok(_) => {}
            Err(end) => break end,
        }
    };
    assert_eq!(end.code(), Code::Unauthenticated);
    let refused = client.hello(with_token("hi", &alice)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_eq!(client.hello(with_token("hi", &bob)).await.unwrap(), "hello, bob");
}
