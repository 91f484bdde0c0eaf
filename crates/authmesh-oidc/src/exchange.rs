//! One request: what is sent, and what counts as an answer.

use std::time::SystemTime;

use authmesh::jose::json;
use reqwest::header::{ACCEPT, CACHE_CONTROL, HeaderMap, HeaderValue, IF_NONE_MATCH, LOCATION};
use reqwest::{RequestBuilder, Response, StatusCode};
use tracing::{Instrument as _, Span};

use crate::client::Inner;
use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::headers::{self, Content};
use crate::trace;

/// Longest error response that is read, in bytes. Its code is one word.
const MAX_ERROR_BYTES: usize = 4 * 1024;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Document {
    KeySet,
    Discovery,
    /// What an introspection endpoint says of a token, in plain JSON.
    Introspection,
    /// The same, signed (RFC 9701).
    SignedIntrospection,
    /// Whom a token speaks for.
    UserInfo,
}

impl Document {
    fn accept(self) -> &'static str {
        match self {
            Self::KeySet => "application/jwk-set+json, application/json",
            Self::Discovery | Self::Introspection | Self::UserInfo => "application/json",
            Self::SignedIntrospection => headers::SIGNED_INTROSPECTION,
        }
    }

    fn limit(self, http: &Inner) -> (usize, &'static str) {
        match self {
            Self::KeySet => (http.key_set_limit, "key_set_limit"),
            Self::Discovery => (http.discovery_limit, "discovery_limit"),
            Self::Introspection | Self::SignedIntrospection | Self::UserInfo => {
                (http.token_answer_limit, "token_answer_limit")
            }
        }
    }

    /// Whether the one who asks must say who it is, in a request of its own making.
    fn needs_credentials(self) -> bool {
        matches!(self, Self::Introspection | Self::SignedIntrospection)
    }

    /// The word for it in traces.
    fn word(self) -> &'static str {
        match self {
            Self::KeySet => "key_set",
            Self::Discovery => "discovery",
            Self::Introspection | Self::SignedIntrospection => "introspection",
            Self::UserInfo => "userinfo",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::KeySet => "a key set in JSON",
            Self::Discovery => "a discovery document in JSON",
            Self::Introspection => "an introspection response in JSON (RFC 7662)",
            Self::SignedIntrospection => "a signed introspection response (RFC 9701)",
            Self::UserInfo => "a userinfo response in JSON",
        }
    }
}

/// The parts of a request that vary.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ask {
    pub(crate) no_cache: bool,
    pub(crate) if_none_match: Option<HeaderValue>,
}

/// A good answer.
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    /// `None` for 304 Not Modified.
    pub(crate) body: Option<Vec<u8>>,
}

/// Sends one GET and reads the answer to its end.
pub(crate) async fn get(http: &Inner, endpoint: &Endpoint, document: Document, ask: Ask) -> Result<Answer, Failure> {
    let conditional = ask.if_none_match.is_some();
    let mut request = http
        .client
        .get(endpoint.url().clone())
        .header(ACCEPT, document.accept());
    if ask.no_cache {
        request = request.header(CACHE_CONTROL, "no-cache");
    }
    if let Some(tag) = ask.if_none_match {
        request = request.header(IF_NONE_MATCH, tag);
    }
    send(http, request, endpoint, document, conditional).await
}

/// Sends a request about a token and reads the answer to its end. `request` is to `endpoint`, complete but for what it accepts.
pub(crate) async fn ask_about_token(
    http: &Inner,
    request: RequestBuilder,
    endpoint: &Endpoint,
    document: Document,
) -> Result<Answer, Failure> {
    let request = request.header(ACCEPT, document.accept());
    send(http, request, endpoint, document, false).await
}

async fn send(
    http: &Inner,
    request: RequestBuilder,
    endpoint: &Endpoint,
    document: Document,
    conditional: bool,
) -> Result<Answer, Failure> {
    let failed = |error: &reqwest::Error| Failure::transport(error, endpoint, http.limits);
    let (client, request) = request.build_split();
    let mut request = request.map_err(|error| failed(&error))?;
    let span = trace::span(request.method(), endpoint.url(), document.word());
    if http.propagates {
        span.in_scope(|| trace::inject(request.headers_mut()));
    }
    let exchange = async {
        let response = client.execute(request).await.map_err(|error| failed(&error))?;
        Span::current().record("http.response.status_code", response.status().as_u16());
        receive(http, response, endpoint, document, conditional).await
    };
    let answer = exchange.instrument(span.clone()).await;
    if let Err(failure) = &answer {
        span.record("error.type", failure.error.fault.code());
    }
    answer
}

async fn receive(
    http: &Inner,
    response: Response,
    endpoint: &Endpoint,
    document: Document,
    conditional: bool,
) -> Result<Answer, Failure> {
    let status = response.status();
    tracing::debug!(%endpoint, status = status.as_u16(), "the identity provider answered");
    match status {
        StatusCode::OK => {
            let headers = response.headers().clone();
            let body = read(http, response, endpoint, document).await?;
            Ok(Answer {
                headers,
                body: Some(body),
            })
        }
        StatusCode::NOT_MODIFIED if conditional => Ok(Answer {
            headers: response.headers().clone(),
            body: None,
        }),
        _ => Err(refused(response, endpoint, document).await),
    }
}

async fn refused(mut response: Response, endpoint: &Endpoint, document: Document) -> Failure {
    let status = response.status();
    if status == StatusCode::NOT_MODIFIED {
        let what = format!("{endpoint} answered 304 Not Modified to a request that named no entity tag");
        return Failure::answer(status, what);
    }
    if status.is_redirection() {
        let target = response
            .headers()
            .get(LOCATION)
            .and_then(|location| endpoint.join(location.to_str().ok()?))
            .map(|target| format!(" to {target}"))
            .unwrap_or_default();
        let fix = match document {
            Document::KeySet => "Configure the final address of the key set",
            Document::Discovery => {
                "Configure the issuer exactly as its tokens name it, or give the address of its key set directly"
            }
            Document::Introspection | Document::SignedIntrospection | Document::UserInfo => {
                "Configure the final address of the endpoint"
            }
        };
        let what = format!(
            "{endpoint} answered {} with a redirect{target}. Redirects are refused, because they let others choose whom to believe. {fix}",
            status.as_u16()
        );
        return Failure::answer(status, what);
    }
    let code = match headers::bearer_error(response.headers()) {
        None if document.needs_credentials() => error_code(&mut response).await,
        code => code,
    };
    let said = code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
    let what = format!(
        "{endpoint} answered {status}{said} where {} was asked for",
        document.name()
    );
    let mut failure = Failure::answer(status, what);
    failure.code = code;
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            failure.with_retry_after(headers::retry_after(response.headers(), SystemTime::now()))
        }
        _ => failure,
    }
}

/// The `error` of an OAuth error response (RFC 6749 section 5.2), if the body is one. Whatever else it holds is not looked at.
async fn error_code(response: &mut Response) -> Option<String> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        if body.len() + chunk.len() > MAX_ERROR_BYTES {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    let error = json::parse_object(&body).ok()?.get("error")?.as_str()?.to_owned();
    headers::is_error_code(&error).then_some(error)
}

/// Reads the body, and stops at the limit.
async fn read(
    http: &Inner,
    mut response: Response,
    endpoint: &Endpoint,
    document: Document,
) -> Result<Vec<u8>, Failure> {
    let status = response.status();
    let signed = document == Document::SignedIntrospection;
    let wrong_content = match headers::content(response.headers()) {
        Content::Json if !signed => None,
        Content::SignedIntrospection if signed => None,
        Content::Json => Some("plain JSON, which anyone on the way could have written".to_owned()),
        Content::SignedIntrospection => Some("a signed response, which was not asked for".to_owned()),
        Content::Html => Some("an HTML page, such as a login form or an error page".to_owned()),
        Content::Encoded => Some("a compressed body, though no compression was offered".to_owned()),
        Content::Other(essence) => Some(format!("content of type {essence}")),
    };
    if let Some(found) = wrong_content {
        let what = format!(
            "{endpoint} answered with {found}, where {} was asked for. Check that the address is right, and what a proxy on the way does",
            document.name()
        );
        return Err(Failure::answer(status, what));
    }

    let (limit, setting) = document.limit(http);
    let too_long = |announced: Option<u64>| {
        let size = announced.map_or_else(
            || "more bytes than allowed".to_owned(),
            |bytes| format!("{bytes} bytes"),
        );
        let what = format!("{endpoint} answered with {size}, the limit is {limit}. If this is right, raise {setting}");
        Failure::answer(status, what)
    };
    let announced = response.content_length();
    if announced.is_some_and(|bytes| bytes > limit as u64) {
        return Err(too_long(announced));
    }
    // The announced length is at most the limit here, so it fits.
    let mut body = Vec::with_capacity(announced.map_or(0, |bytes| bytes as usize));
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| Failure::transport(&error, endpoint, http.limits))?
    {
        if chunk.len() > limit - body.len() {
            return Err(too_long(None));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
