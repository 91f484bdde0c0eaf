//! The middleware.

use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready as poll_ready};

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::http::header::AUTHORIZATION;
use actix_web::{Error, HttpMessage as _};
use authmesh_tower::guard::{Admission, Finish};
use authmesh_tower::{Guard, Rejection};
use pin_project_lite::pin_project;

use crate::head::Head;
use crate::respond;

/// Lets requests pass that have a valid token: `App::new().wrap(mesh.protect())`, also on scopes and resources.
///
/// Cheap to clone. A token that memory knows is answered before the inner service is called, and costs no future of its own.
/// Several of them in one another verify once, and each adds its policy.
#[derive(Debug, Clone)]
#[must_use]
pub struct Protection(Guard);

impl Protection {
    /// With a guard of yours: its settings are policy, token source, what a refusal looks like.
    pub const fn new(guard: Guard) -> Self {
        Self(guard)
    }

    /// The guard that decides.
    #[must_use]
    pub const fn guard(&self) -> &Guard {
        &self.0
    }
}

impl From<Guard> for Protection {
    fn from(guard: Guard) -> Self {
        Self::new(guard)
    }
}

impl<S, B> Transform<S, ServiceRequest> for Protection
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Transform = ProtectionService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(ProtectionService {
            inner: Rc::new(service),
            guard: self.0.clone(),
        }))
    }
}

/// A service behind a [`Protection`].
#[derive(Debug)]
pub struct ProtectionService<S> {
    inner: Rc<S>,
    guard: Guard,
}

impl<S, B> Service<ServiceRequest> for ProtectionService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Future = ProtectionFuture<S::Future, B>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        if let Some(token) = request.headers_mut().get_mut(AUTHORIZATION) {
            token.set_sensitive(true);
        }
        let head = match Head::of(request.request(), Some(&self.guard)) {
            Ok(head) => head,
            Err(rejection) => return ProtectionFuture::refused(&self.guard, request, &rejection),
        };
        match self.guard.try_admit(&head.as_ref()) {
            Some(Ok(admission)) => {
                let finish = enter(&request, admission);
                ProtectionFuture::passed(self.inner.call(request), finish)
            }
            Some(Err(rejection)) => ProtectionFuture::refused(&self.guard, request, &rejection),
            None => {
                let (guard, inner) = (self.guard.clone(), Rc::clone(&self.inner));
                ProtectionFuture {
                    state: State::Asking {
                        asking: Box::pin(async move {
                            match guard.admit(&head.as_ref()).await {
                                Ok(admission) => {
                                    let finish = enter(&request, admission);
                                    let mut response = inner.call(request).await?;
                                    respond::finish(finish, response.headers_mut());
                                    Ok(response.map_into_left_body())
                                }
                                Err(rejection) => Ok(refuse(&guard, request, &rejection)),
                            }
                        }),
                    },
                }
            }
        }
    }
}

fn enter(request: &ServiceRequest, admission: Admission) -> Finish {
    if admission.is_new {
        request.extensions_mut().insert(admission.scope);
    }
    admission.finish
}

fn refuse<B>(guard: &Guard, request: ServiceRequest, rejection: &Rejection) -> ServiceResponse<EitherBody<B>> {
    // Whoever maps refusals may look at any header.
    let response = match Head::of(request.request(), None) {
        Ok(head) => guard.respond(rejection, &head.as_ref()),
        Err(unusable) => unusable.into_response().map(bytes::Bytes::from),
    };
    request.into_response(respond::response(&response).map_into_right_body())
}

type Boxed<B> = Pin<Box<dyn Future<Output = Result<ServiceResponse<EitherBody<B>>, Error>>>>;

pin_project! {
    /// The response of a service behind a [`Protection`].
    ///
    /// Cancel safety: dropping it drops the inner service's future, if that runs already. A key fetch that the token caused goes on
    /// for the others.
    pub struct ProtectionFuture<F, B> {
        #[pin]
        state: State<F, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, B> {
        /// The token is verified, then the request goes on.
        Asking { asking: Boxed<B> },
        /// The request has passed.
        Passed { #[pin] future: F, finish: Option<Finish> },
        /// It has not.
        Refused { response: Option<ServiceResponse<EitherBody<B>>> },
    }
}

impl<F, B> ProtectionFuture<F, B> {
    const fn passed(future: F, finish: Finish) -> Self {
        Self {
            state: State::Passed {
                future,
                finish: Some(finish),
            },
        }
    }

    fn refused(guard: &Guard, request: ServiceRequest, rejection: &Rejection) -> Self {
        Self {
            state: State::Refused {
                response: Some(refuse(guard, request, rejection)),
            },
        }
    }
}

impl<F, B> std::fmt::Debug for ProtectionFuture<F, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProtectionFuture").finish_non_exhaustive()
    }
}

impl<F, B> Future for ProtectionFuture<F, B>
where
    F: Future<Output = Result<ServiceResponse<B>, Error>>,
    B: MessageBody + 'static,
{
    type Output = Result<ServiceResponse<EitherBody<B>>, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Asking { asking } => asking.as_mut().poll(context),
            StateProj::Passed { future, finish } => {
                let mut response = poll_ready!(future.poll(context))?;
                if let Some(finish) = finish.take() {
                    respond::finish(finish, response.headers_mut());
                }
                Poll::Ready(Ok(response.map_into_left_body()))
            }
            // As every future of its kind: not to be polled again.
            StateProj::Refused { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                None => Poll::Pending,
            },
        }
    }
}
