//! A provider with tenants, each an issuer with keys of its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use authmesh::ports::{BoxFuture, Clock, Fetched, KeyFetch, KeySource, UpstreamError, UpstreamFault};
use authmesh::{AuthMesh, Builder, IssuerTemplate, KeyPolicy, Rules};
use serde_json::json;

use crate::support::{Place, TestIssuer, ring};

pub(crate) const PATTERN: &str = "https://login.example.com/{tenant}/v2.0";

pub(crate) struct Provider {
    clock: Arc<dyn Clock>,
    tenants: Mutex<BTreeMap<String, Arc<TestIssuer>>>,
    made: AtomicU64,
    fetches: AtomicU64,
}

/// What the factory makes. A tenant that does not exist is a 404.
#[derive(Debug)]
struct Source {
    provider: Arc<Provider>,
    url: String,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Provider")
    }
}

pub(crate) fn url(tenant: &str) -> String {
    PATTERN.replace("{tenant}", tenant)
}

/// The same token, signed by nobody.
pub(crate) fn forged(token: &str) -> String {
    format!("{}AAAA", &token[..token.len() - 4])
}

impl Provider {
    pub(crate) fn new(place: &Place) -> Arc<Self> {
        Arc::new(Self {
            clock: place.issuer.clock(),
            tenants: Mutex::default(),
            made: AtomicU64::new(0),
            fetches: AtomicU64::new(0),
        })
    }

    /// A tenant, which exists from now on.
    pub(crate) fn tenant(&self, name: &str) -> Arc<TestIssuer> {
        let mut tenants = self.tenants.lock().unwrap();
        let new = || Arc::new(TestIssuer::named(&url(name), Arc::clone(&self.clock)));
        Arc::clone(tenants.entry(url(name)).or_insert_with(new))
    }

    /// A token of a tenant that need not exist.
    pub(crate) fn token_of_nobody(&self, tenant: &str) -> String {
        forged(&TestIssuer::named(&url(tenant), Arc::clone(&self.clock)).token_with(json!({})))
    }

    /// How many sources were made.
    pub(crate) fn made(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }

    /// How often any tenant was asked.
    pub(crate) fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::SeqCst)
    }

    /// Adds the tenants to a node.
    pub(crate) fn add(self: &Arc<Self>, builder: Builder, template: IssuerTemplate) -> Builder {
        let provider = Arc::clone(self);
        let factory = move |url: &str| {
            provider.made.fetch_add(1, Ordering::SeqCst);
            Ok(Arc::new(Source {
                provider: Arc::clone(&provider),
                url: url.to_owned(),
            }) as Arc<dyn KeySource>)
        };
        builder.issuer_template(template, factory, KeyPolicy::default(), rules())
    }

    /// A node of the place's cluster that knows no other issuers.
    pub(crate) async fn node(self: &Arc<Self>, place: &Place, template: IssuerTemplate) -> AuthMesh {
        let builder = AuthMesh::builder().key_ring(ring()).clock(place.issuer.clock());
        let builder = self.add(builder, template);
        builder.join(Arc::new(place.cluster.clone())).start().await.unwrap()
    }
}

pub(crate) fn rules() -> Rules {
    Rules::for_audiences(["api"])
}

impl KeySource for Source {
    fn fetch(&self, request: KeyFetch) -> BoxFuture<'_, Result<Fetched, UpstreamError>> {
        self.provider.fetches.fetch_add(1, Ordering::SeqCst);
        let tenant = self.provider.tenants.lock().unwrap().get(&self.url).cloned();
        Box::pin(async move {
            match tenant {
                Some(tenant) => tenant.source().fetch(request).await,
                None => Err(UpstreamError::new(UpstreamFault::Answer, "status 404: no such tenant")),
            }
        })
    }
}
