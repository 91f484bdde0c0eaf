//! What `tonic-prost-build` writes from a `.proto` file, by hand: an example shall need no protoc. Messages are text.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio_stream::Stream;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{Service, http};
use tonic::server::{NamedService, ServerStreamingService, UnaryService};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

const HELLO: &str = "/example.Greeter/Hello";
const WATCH: &str = "/example.Greeter/Watch";

/// What a stream brings.
pub type Messages = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

type Answering<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;

/// The service `example.Greeter`.
pub trait Greeter: Send + Sync + 'static {
    /// One message, one answer.
    fn hello(&self, request: Request<String>) -> impl Future<Output = Result<Response<String>, Status>> + Send;

    /// One message, many answers.
    fn watch(&self, request: Request<String>) -> impl Future<Output = Result<Response<Messages>, Status>> + Send;
}

/// A [`Greeter`] as a service of tonic.
#[derive(Debug)]
pub struct GreeterServer<G>(Arc<G>);

impl<G> GreeterServer<G> {
    /// Serves `greeter`.
    pub fn new(greeter: G) -> Self {
        Self(Arc::new(greeter))
    }
}

impl<G> Clone for GreeterServer<G> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<G> NamedService for GreeterServer<G> {
    const NAME: &'static str = "example.Greeter";
}

impl<G: Greeter> UnaryService<String> for GreeterServer<G> {
    type Response = String;
    type Future = Answering<String>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let greeter = Arc::clone(&self.0);
        Box::pin(async move { greeter.hello(request).await })
    }
}

impl<G: Greeter> ServerStreamingService<String> for GreeterServer<G> {
    type Response = String;
    type ResponseStream = Messages;
    type Future = Answering<Messages>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let greeter = Arc::clone(&self.0);
        Box::pin(async move { greeter.watch(request).await })
    }
}

impl<G: Greeter> Service<http::Request<Body>> for GreeterServer<G> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(Text);
            Ok(match request.uri().path() {
                HELLO => grpc.unary(service, request).await,
                WATCH => grpc.server_streaming(service, request).await,
                _ => Status::unimplemented("there is no such method").into_http(),
            })
        })
    }
}

/// A client of `example.Greeter`.
#[derive(Debug, Clone)]
pub struct GreeterClient(tonic::client::Grpc<Channel>);

impl GreeterClient {
    /// A client over a channel.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self(tonic::client::Grpc::new(channel))
    }

    /// Calls [`Greeter::hello`].
    ///
    /// # Errors
    /// The status that the server answered.
    pub async fn hello(&mut self, request: Request<String>) -> Result<String, Status> {
        self.ready().await?;
        let answer = self.0.unary(request, PathAndQuery::from_static(HELLO), Text).await;
        answer.map(Response::into_inner)
    }

    /// Calls [`Greeter::watch`].
    ///
    /// # Errors
    /// The status that the server answered.
    pub async fn watch(&mut self, request: Request<String>) -> Result<Streaming<String>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static(WATCH);
        self.0
            .server_streaming(request, path, Text)
            .await
            .map(Response::into_inner)
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.0
            .ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))
    }
}

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
        let text = String::from_utf8(bytes.to_vec());
        text.map(Some)
            .map_err(|_| Status::invalid_argument("the message is not UTF-8"))
    }
}
