//! The future of a request behind the layer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::AuthBody;
use crate::guard::{Admission, Finish, Guard};
use crate::head::RequestHead;

/// What becomes of a request whose token had to be verified.
type Asked = (Parts, Result<Admission, Response<Bytes>>);

pin_project! {
    /// The response of a service behind an [`AuthLayer`](super::AuthLayer).
    ///
    /// Cancel safety: dropping it drops the inner service's future, if that runs already. A key fetch that the token caused goes on for
    /// the others.
    pub struct AuthFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B, S::Future>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, B, F> {
        /// The token is verified. The head of the request is with the verification.
        Asking {
            asking: Pin<Box<dyn Future<Output = Asked> + Send>>,
            body: Option<B>,
            service: S,
        },
        /// The request has passed.
        Passed { #[pin] future: F, finish: Option<Finish> },
        /// It has not.
        Refused { response: Option<Response<Bytes>> },
    }
}

impl<S, B> AuthFuture<S, B>
where
    S: Service<Request<B>>,
{
    pub(super) fn pass(service: &mut S, request: Request<B>, admission: Admission) -> Self {
        Self {
            state: State::passed(service, request, admission),
        }
    }

    pub(super) const fn refuse(response: Response<Bytes>) -> Self {
        Self {
            state: State::Refused {
                response: Some(response),
            },
        }
    }

    pub(super) fn ask(guard: Guard, service: S, request: Request<B>) -> Self {
        let (parts, body) = request.into_parts();
        let asking = Box::pin(async move {
            let asked = {
                let head = RequestHead::from(&parts);
                match guard.admit(&head).await {
                    Ok(admission) => Ok(admission),
                    Err(rejection) => Err(guard.respond(&rejection, &head)),
                }
            };
            (parts, asked)
        });
        Self {
            state: State::Asking {
                asking,
                body: Some(body),
                service,
            },
        }
    }
}

impl<S, B> State<S, B, S::Future>
where
    S: Service<Request<B>>,
{
    fn passed(service: &mut S, mut request: Request<B>, admission: Admission) -> Self {
        if admission.is_new {
            request.extensions_mut().insert(admission.scope);
        }
        Self::Passed {
            future: service.call(request),
            finish: Some(admission.finish),
        }
    }
}

impl<S, B, R> Future for AuthFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Output = Result<Response<AuthBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProj::Asking { asking, body, service } => {
                    let (parts, asked) = ready!(asking.as_mut().poll(context));
                    match (asked, body.take()) {
                        (Ok(admission), Some(body)) => {
                            State::passed(service, Request::from_parts(parts, body), admission)
                        }
                        (Err(response), _) => State::Refused {
                            response: Some(response),
                        },
                        // The body is taken once, with the end of `asking`.
                        (Ok(_), None) => return Poll::Pending,
                    }
                }
                StateProj::Passed { future, finish } => {
                    let response = ready!(future.poll(context))?;
                    let mut response = response.map(AuthBody::of_service);
                    if let Some(finish) = finish.take() {
                        finish.write(response.headers_mut());
                    }
                    return Poll::Ready(Ok(response));
                }
                StateProj::Refused { response } => {
                    // A future that has ended is not polled again.
                    return response.take().map_or(Poll::Pending, |response| {
                        Poll::Ready(Ok(response.map(AuthBody::refusal)))
                    });
                }
            };
            this.state.set(next);
        }
    }
}

impl<S, B> std::fmt::Debug for AuthFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::Asking { .. } => "asking",
            State::Passed { .. } => "passed",
            State::Refused { .. } => "refused",
        };
        f.debug_tuple("AuthFuture").field(&state).finish()
    }
}
