//! Who the caller is, read from the extensions of a request: for tonic, and for everything without extractors.

use authmesh::Answer;
use http::{Extensions, Request};

use crate::rejection::Rejection;
use crate::scope::RequestScope;

/// Reads what the layer found out. `tonic::Request::extensions` are extensions of `http`, so it works there without more.
pub trait AuthExt {
    /// The answer that let the request in, judged again now.
    ///
    /// # Errors
    /// When it does not count any more, when the request came without a token, and ([`Rejection::not_protected`]) when no layer stands
    /// before the service.
    fn auth(&self) -> Result<Answer, Rejection>;
}

impl AuthExt for Extensions {
    fn auth(&self) -> Result<Answer, Rejection> {
        let Some(scope) = self.get::<RequestScope>() else {
            tracing::error!("a handler asks who the caller is, and no authmesh layer stands before it");
            return Err(Rejection::not_protected());
        };
        scope.answer().unwrap_or_else(|| Err(Rejection::no_credential()))
    }
}

impl<B> AuthExt for Request<B> {
    fn auth(&self) -> Result<Answer, Rejection> {
        self.extensions().auth()
    }
}
