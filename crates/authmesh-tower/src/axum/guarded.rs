//! Extractors that bring their layer with them.

use axum_core::extract::{FromRef, FromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::request::Parts;

use super::AuthRejection;
use crate::head::RequestHead;
use crate::layer::AuthLayer;
use crate::scope::RequestScope;

/// What `E` extracts, behind the layer in the router's state: no handler with it can stand where no layer is.
///
/// The state must give an [`AuthLayer`]: be one, or implement `FromRef`. Where a layer has let the request in already, that of the state
/// is not asked; else its policy counts as if it stood there, but for what it would write into the response
/// ([`explain`](AuthLayer::explain)).
///
/// ```no_run
/// use authmesh_tower::axum::{Auth, Guarded};
/// use authmesh_tower::{AuthLayer, Protect as _};
/// use axum::Router;
/// use axum::routing::get;
///
/// async fn list(Guarded(auth): Guarded<Auth>) -> String {
///     auth.subject().unwrap_or("somebody").to_owned()
/// }
///
/// # fn doc(mesh: authmesh::AuthMesh) {
/// let app: Router = Router::new().route("/orders", get(list)).with_state(mesh.layer());
/// # let _ = app; }
/// ```
///
/// ```compile_fail
/// # use authmesh_tower::axum::{Auth, Guarded};
/// # use axum::Router;
/// # use axum::routing::get;
/// # async fn list(Guarded(auth): Guarded<Auth>) -> String {
/// #     auth.subject().unwrap_or("somebody").to_owned()
/// # }
/// let app: Router = Router::new().route("/orders", get(list)).with_state(());
/// ```
#[derive(Debug)]
pub struct Guarded<E>(pub E);

/// Why a [`Guarded`] extractor refused.
#[derive(Debug)]
pub enum GuardedRejection<R> {
    /// The layer of the state did.
    Layer(AuthRejection),
    /// The extractor did.
    Extractor(R),
}

impl<R: IntoResponse> IntoResponse for GuardedRejection<R> {
    fn into_response(self) -> Response {
        match self {
            Self::Layer(rejection) => rejection.into_response(),
            Self::Extractor(rejection) => rejection.into_response(),
        }
    }
}

impl<S, E> FromRequestParts<S> for Guarded<E>
where
    S: Send + Sync,
    E: FromRequestParts<S>,
    AuthLayer: FromRef<S>,
{
    type Rejection = GuardedRejection<E::Rejection>;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let head = RequestHead::from(&*parts);
        if RequestScope::of(&head).is_none() {
            let layer = AuthLayer::from_ref(state);
            let admitted = match layer.guard().try_admit(&head) {
                Some(admitted) => admitted,
                None => layer.guard().admit(&head).await,
            };
            match admitted {
                Ok(admission) => {
                    layer.guard().hide(&mut parts.headers);
                    parts.extensions.insert(admission.scope);
                }
                Err(rejection) => {
                    let rejection = AuthRejection::by(layer.guard(), rejection, parts);
                    return Err(GuardedRejection::Layer(rejection));
                }
            }
        }
        let extracted = E::from_request_parts(parts, state).await;
        extracted.map(Self).map_err(GuardedRejection::Extractor)
    }
}
