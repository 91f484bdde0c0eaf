//! The token source with faults.

use authmesh::ports::{BoxFuture, TokenSource, TokenState, UpstreamError};

use crate::faults::{Call, Faulty, Op, TokenText};

#[deny(clippy::missing_trait_methods)]
impl<T: TokenSource + ?Sized> TokenSource for Faulty<T> {
    fn ask<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<TokenState, UpstreamError>> {
        Box::pin(async move {
            let call = || Call::AskToken(TokenText::new(token));
            let forward = || self.inner.ask(token);
            self.faults.request(Op::AskToken, call, forward).await
        })
    }

    fn identity(&self) -> String {
        self.inner.identity()
    }
}
