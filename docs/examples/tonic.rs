//! A gRPC service behind authmesh: the same layer as for HTTP; a refusal is a status, and a stream ends with its token.
//!
//! `cargo run -p authmesh-examples --example tonic`: it serves, and calls itself once. The guide is `docs/tonic.md`.

use authmesh::{AuthMesh, Subject};
use authmesh_examples::greeter::{Greeter, GreeterClient, GreeterServer, Messages};
use authmesh_examples::{Error, Login, ctrl_c, listen};
use authmesh_tower::{AuthExt as _, Protect as _, Rejection};
use tokio::net::TcpListener;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tonic::{Code, Request, Response, Status};

/// What the layer refuses never comes here. A handler refuses in the same words.
fn status(rejection: Rejection) -> Status {
    Status::new(Code::from_i32(rejection.grpc_code()), rejection.detail())
}

struct Hello {
    mesh: AuthMesh,
}

impl Greeter for Hello {
    async fn hello(&self, request: Request<String>) -> Result<Response<String>, Status> {
        let answer = request.extensions().auth().map_err(status)?;
        let caller = answer.verdict.subject().unwrap_or("somebody");
        if request.get_ref() == "sign out" {
            let subject = Subject::new(answer.verdict.issuer(), caller);
            let said = self.mesh.revoke(subject).why("signed out").await;
            said.map_err(|error| Status::unavailable(error.to_string()))?;
        }
        Ok(Response::new(format!("hello, {caller}")))
    }

    /// A stream outlives the request that it began with: it waits for the end of its token beside its work.
    async fn watch(&self, request: Request<String>) -> Result<Response<Messages>, Status> {
        let answer = request.extensions().auth().map_err(status)?;
        let (news, stream) = tokio::sync::mpsc::channel(8);
        tokio::spawn(async move {
            let telling = async {
                let mut number = 0_u64;
                // Ends when the caller goes away.
                while news.send(Ok(format!("news {number}"))).await.is_ok() {
                    number += 1;
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
            };
            let ended = tokio::select! {
                () = telling => return,
                ended = answer.revoked() => ended,
            };
            // Whoever is gone already need not be told.
            let _ = news.send(Err(Status::unauthenticated(ended.to_string()))).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

/// Serves until the process is told to stop.
pub async fn run(login: Login, listener: TcpListener) -> Result<(), Error> {
    let mesh = login.add_to(AuthMesh::builder()).start().await?;
    Server::builder()
        .layer(mesh.layer())
        .add_service(GreeterServer::new(Hello { mesh: mesh.clone() }))
        .serve_with_incoming_shutdown(TcpIncoming::from(listener), ctrl_c())
        .await?;
    mesh.shutdown().await;
    Ok(())
}

/// Calls a server as a client of yours would.
async fn call(address: String, token: String) -> Result<(), Error> {
    let with_token = |text: &str| {
        let mut request = Request::new(text.to_owned());
        if let Ok(value) = format!("Bearer {token}").parse() {
            request.metadata_mut().insert("authorization", value);
        }
        request
    };
    let mut client = GreeterClient::new(Endpoint::from_shared(address)?.connect().await?);
    println!("with a token:     {:?}", client.hello(with_token("hi")).await);
    println!(
        "without a token:  {:?}",
        client
            .hello(Request::new("hi".into()))
            .await
            .map_err(|status| status.code())
    );
    let mut news = client.watch(with_token("")).await?;
    println!("a stream:         {:?}", news.next().await);
    println!("signing out:      {:?}", client.hello(with_token("sign out")).await);
    println!(
        "the stream ends:  {:?}",
        news.next()
            .await
            .map(|end| end.map_err(|status| status.message().to_owned()))
    );
    println!(
        "and the token:    {:?}",
        client.hello(with_token("hi")).await.map_err(|status| status.code())
    );
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let (login, listener) = (Login::from_env(), listen().await?);
    let (address, token) = (
        format!("http://{}", listener.local_addr()?),
        login.token("alice", "", "s1"),
    );
    let serving = tokio::spawn(run(login, listener));
    call(address, token).await?;
    serving.await?
}
