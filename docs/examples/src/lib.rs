//! What every example needs and none is about: whose tokens it takes, and where it listens.
//!
//! With `ISSUER` set to the URL of an OpenID Connect provider, and `AUDIENCE` to what its tokens are for (default: `api`), an example
//! takes the tokens of that provider. Without, it has an issuer of its own and prints tokens to try.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod greeter;

use authmesh::{Builder, Rules};
use authmesh_oidc::WithOidc as _;
use authmesh_testkit::TestIssuer;
use tokio::net::TcpListener;

/// Whatever went wrong.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Whose tokens an example takes.
#[derive(Debug, Clone)]
pub enum Login {
    /// An issuer inside of this process. Never in production: whoever has the process has its keys.
    Embedded(TestIssuer),
    /// A provider.
    Provider {
        /// `iss`, and where discovery begins.
        issuer: String,
        /// What the tokens are for.
        audience: String,
    },
}

impl Login {
    /// The provider that the environment names, or an issuer of our own.
    #[must_use]
    pub fn from_env() -> Self {
        match std::env::var("ISSUER") {
            Ok(issuer) => Self::Provider {
                issuer,
                audience: std::env::var("AUDIENCE").unwrap_or_else(|_| "api".to_owned()),
            },
            Err(_) => Self::Embedded(TestIssuer::new()),
        }
    }

    /// Adds the issuer to a node. With a provider this is the one line that your service has.
    pub fn add_to(&self, builder: Builder) -> Builder {
        match self {
            Self::Embedded(issuer) => issuer.add_to(builder),
            Self::Provider { issuer, audience } => builder.oidc(issuer, Rules::for_audiences([audience])),
        }
    }

    /// Its name: `iss`.
    #[must_use]
    pub fn issuer(&self) -> &str {
        match self {
            Self::Embedded(issuer) => issuer.url(),
            Self::Provider { issuer, .. } => issuer,
        }
    }

    /// A token to try, with scopes and a session; a place to put yours, where the issuer is a provider.
    #[must_use]
    pub fn token(&self, subject: &str, scopes: &str, session: &str) -> String {
        match self {
            Self::Embedded(issuer) => issuer.mint().subject(subject).scope(scopes).session(session).sign(),
            Self::Provider { .. } => "$TOKEN".to_owned(),
        }
    }
}

/// Listens where `LISTEN` says. Default: `127.0.0.1:3000`.
///
/// # Errors
/// When the address is no good, or taken.
pub async fn listen() -> Result<TcpListener, Error> {
    let address = std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    TcpListener::bind(&address)
        .await
        .map_err(|error| format!("{address}: {error}. Name another in LISTEN").into())
}

/// Resolves at Ctrl-C.
pub async fn ctrl_c() {
    // Where the signal cannot be had, the process ends as the system ends it.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Prints a command to try.
pub fn try_this(listener: &TcpListener, what: &str, arguments: &str, token: &str, path: &str) {
    let place = listener
        .local_addr()
        .map(|address| address.to_string())
        .unwrap_or_default();
    println!("# {what}\ncurl -i {arguments} -H 'Authorization: Bearer {token}' http://{place}{path}\n");
}
