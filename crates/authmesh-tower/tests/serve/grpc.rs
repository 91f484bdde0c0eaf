//! A tonic service behind the layer: metadata, status codes, streams.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use authmesh::Subject;
use authmesh::memory::FixedKeys;
use authmesh_tower::{AuthExt as _, AuthLayer, Protect as _, Rejection, RoutePolicy};
use aws_lc_rs::signature::Ed25519KeyPair;
use http::uri::PathAndQuery;
use serde_json::json;
use tokio_stream::StreamExt as _;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::service::LayerExt as _;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use tower::Service;

use crate::world::{ISSUER, World, soon};

/// Messages are their text, as it is.
#[derive(Debug, Clone, Copy, Default)]
struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, item: String, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put(to, item.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let bytes = bytes::Buf::copy_to_bytes(from, bytes::Buf::remaining(from));
        Ok(Some(String::from_utf8(bytes.to_vec()).unwrap()))
    }
}

fn status(rejection: &Rejection) -> Status {
    Status::new(Code::from_i32(rejection.grpc_code()), rejection.detail())
}

async fn who(request: Request<String>) -> Result<Response<String>, Status> {
    let answer = request.extensions().auth().map_err(|rejection| status(&rejection))?;
    Ok(Response::new(format!(
        "{} says {}",
        answer.verdict.subject().unwrap(),
        request.get_ref()
    )))
}

type Messages = Pin<Box<dyn tokio_stream::Stream<Item = Result<String, Status>> + Send>>;

/// Goes on until the token ends.
async fn watch(request: Request<String>) -> Result<Response<Messages>, Status> {
    let answer = request.extensions().auth().map_err(|rejection| status(&rejection))?;
    let (messages, stream) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        messages.send(Ok("first".to_owned())).await.unwrap();
        let ended = answer.revoked().await;
        messages
            .send(Err(Status::unauthenticated(ended.to_string())))
            .await
            .unwrap();
    });
    Ok(Response::new(Box::pin(tokio_stream::wrappers::ReceiverStream::new(
        stream,
    ))))
}

/// What `tonic-build` would write.
#[derive(Debug, Clone, Copy)]
struct Orders;

impl tonic::server::NamedService for Orders {
    const NAME: &'static str = "test.Orders";
}

impl Service<http::Request<tonic::body::Body>> for Orders {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(Text);
            Ok(match request.uri().path() {
                "/test.Orders/Who" => grpc.unary(tower::service_fn(who), request).await,
                _ => grpc.server_streaming(tower::service_fn(watch), request).await,
            })
        })
    }
}

struct Client {
    channel: Channel,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Client {
    /// The layer stands before the whole server.
    async fn of(layer: AuthLayer) -> Self {
        let server = tonic::transport::Server::builder().layer(layer).add_service(Orders);
        Self::serving(|incoming| server.serve_with_incoming(incoming)).await
    }

    async fn serving<F>(serve: impl FnOnce(TcpIncoming) -> F) -> Self
    where
        F: Future<Output = Result<(), tonic::transport::Error>> + Send + 'static,
    {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = incoming.local_addr().unwrap();
        let served = serve(incoming);
        let server = tokio::spawn(async move { served.await.unwrap() });
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        Self {
            channel: soon("the connection", endpoint.connect()).await.unwrap(),
            server,
        }
    }

    fn request(token: Option<&str>) -> Request<String> {
        let mut request = Request::new("hello".to_owned());
        if let Some(token) = token {
            request
                .metadata_mut()
                .insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        request
    }

    async fn who(&self, request: Request<String>) -> Result<String, Status> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let path = PathAndQuery::from_static("/test.Orders/Who");
        let call = grpc.unary(request, path, Text);
        soon("the answer", call).await.map(Response::into_inner)
    }

    async fn watch(&self, token: &str) -> Result<tonic::Streaming<String>, Status> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let path = PathAndQuery::from_static("/test.Orders/Watch");
        let call = grpc.server_streaming(Self::request(Some(token)), path, Text);
        soon("the stream", call).await.map(Response::into_inner)
    }
}

fn told(status: &Status) -> (Code, &str) {
    let problem = status
        .metadata()
        .get("authmesh-problem")
        .map(|value| value.to_str().unwrap());
    (status.code(), problem.unwrap_or_default())
}

#[tokio::test]
async fn a_call_needs_a_token_and_a_refusal_is_a_status() {
    let world = World::new().await;
    let policy = RoutePolicy::authenticated().scopes_all(["orders:read"]);
    let client = Client::of(world.mesh.layer().policy(policy).unwrap()).await;
    let good = world.token(json!({"scope": "orders:read"}));
    for _ in 0..2 {
        assert_eq!(
            client.who(Client::request(Some(&good))).await.unwrap(),
            "alice says hello"
        );
    }
    let counts = world.mesh.stats().counts;
    assert_eq!((counts.verified, counts.hits), (1, 1));

    let none = client.who(Client::request(None)).await.unwrap_err();
    assert_eq!(told(&none), (Code::Unauthenticated, "no-credential"));
    let forged = client.who(Client::request(Some(&world.forged()))).await.unwrap_err();
    assert_eq!(told(&forged), (Code::Unauthenticated, "bad-signature"));
    assert_eq!(forged.message(), "the signature does not match");
    let poor = client
        .who(Client::request(Some(&world.token(json!({})))))
        .await
        .unwrap_err();
    assert_eq!(told(&poor), (Code::PermissionDenied, "insufficient-scope"));
    let mut two = Client::request(Some(&good));
    two.metadata_mut().append("authorization", "Bearer x".parse().unwrap());
    assert_eq!(
        told(&client.who(two).await.unwrap_err()),
        (Code::Unauthenticated, "invalid-request")
    );

    world.mesh.revoke(Subject::new(ISSUER, "alice")).await.unwrap();
    let revoked = client.who(Client::request(Some(&good))).await.unwrap_err();
    assert_eq!(told(&revoked), (Code::Unauthenticated, "revoked"));
}

#[tokio::test]
async fn an_outage_is_unavailable_and_says_when_to_ask_again() {
    let keys = Arc::new(FixedKeys::new(""));
    keys.take_down();
    let world = World::with(Ed25519KeyPair::generate().unwrap(), keys).await;
    let token = world.token(json!({}));
    let client = Client::of(world.mesh.layer()).await;
    let away = client.who(Client::request(Some(&token))).await.unwrap_err();
    assert_eq!(told(&away), (Code::Unavailable, "could-not-ask"));
    let pushback = away.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap();
    assert!(pushback.parse::<u64>().unwrap() >= 1000, "{pushback}");
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let world = World::new().await;
    let client = Client::of(world.mesh.layer()).await;
    let token = world.token(json!({}));
    let mut stream = client.watch(&token).await.unwrap();
    assert_eq!(soon("a message", stream.next()).await.unwrap().unwrap(), "first");
    world.mesh.revoke(Subject::new(ISSUER, "alice")).await.unwrap();
    let end = soon("the end", stream.next()).await.unwrap().unwrap_err();
    assert_eq!(
        (end.code(), end.message()),
        (Code::Unauthenticated, "the subject was revoked")
    );
    assert_eq!(
        told(&client.watch(&token).await.unwrap_err()),
        (Code::Unauthenticated, "revoked")
    );
}

#[tokio::test]
async fn one_service_of_a_server_may_have_the_layer_for_itself() {
    let world = World::new().await;
    let service = world.mesh.layer().named_layer(Orders);
    let server = tonic::transport::Server::builder().add_service(service);
    let client = Client::serving(|incoming| server.serve_with_incoming(incoming)).await;
    let told_who = client.who(Client::request(Some(&world.token(json!({}))))).await;
    assert_eq!(told_who.unwrap(), "alice says hello");
    let none = client.who(Client::request(None)).await.unwrap_err();
    assert_eq!(told(&none), (Code::Unauthenticated, "no-credential"));
}

#[tokio::test]
async fn without_a_layer_a_service_is_told_so() {
    let nobody = Request::new(String::new()).extensions().auth().unwrap_err();
    assert_eq!((nobody.problem(), nobody.grpc_code()), ("not-protected", 13));
}
