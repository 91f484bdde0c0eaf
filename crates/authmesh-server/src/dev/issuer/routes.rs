//! The issuer's HTTP face.

use axum::Json;
use axum::Router;
use axum::body::HttpBody;
use axum::extract::{DefaultBodyLimit, Form, FromRequest, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, IF_NONE_MATCH};
use serde_json::json;

use super::{DevAlg, DevIssuer, DevIssuerError, form};

/// Largest request body, in bytes.
const BODY_LIMIT: usize = 16 * 1024;

/// Short, so that a rotation is seen soon; not zero, so that caching is seen too.
const JWKS_CACHING: &str = "public, max-age=10";

impl DevIssuer {
    /// The issuer's routes, to be served at the root of its URL. Request bodies over 16 KiB are refused with 413.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/", get(help))
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(jwks))
            .route("/token", post(token))
            .route("/rotate", post(rotate))
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
            .with_state(self.clone())
    }
}

async fn help(State(issuer): State<DevIssuer>) -> String {
    let base = issuer.issuer();
    format!(
        "authmesh development issuer. Throw-away keys, tokens for whoever asks. Not for production.\n\
         \n\
         GET  {base}/.well-known/openid-configuration\n\
         GET  {base}/jwks\n\
         POST {base}/token    mints a token; form fields, all optional:\n\
         \x20                   sub=alice aud=dev-api alg=RS256|ES256|EdDSA ttl=3600 scope=read\n\
         \x20                   client_id=dev-client sid= jti= email=\n\
         POST {base}/rotate   replaces the keys\n\
         \n\
         T=$(curl -s -d sub=alice {base}/token)\n"
    )
}

async fn discovery(State(issuer): State<DevIssuer>) -> Response {
    let base = issuer.issuer();
    Json(json!({
        "issuer": base,
        "jwks_uri": format!("{base}/jwks"),
        "token_endpoint": format!("{base}/token"),
        "response_types_supported": ["token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": DevAlg::ALL.map(DevAlg::name),
    }))
    .into_response()
}

async fn jwks(State(issuer): State<DevIssuer>, headers: HeaderMap) -> Response {
    let keys = issuer.keys();
    let caching = [(CACHE_CONTROL, JWKS_CACHING), (ETAG, keys.etag())];
    if headers.get(IF_NONE_MATCH).is_some_and(|tag| tag == keys.etag()) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    let content_type = [(CONTENT_TYPE, "application/jwk-set+json")];
    (caching, content_type, keys.jwks().to_owned()).into_response()
}

async fn token(State(issuer): State<DevIssuer>, request: Request) -> Response {
    let wants_json = wants_json(request.headers());
    // `curl -X POST` sends neither a body nor its type: that is the form with nothing filled in.
    let fields = if request.body().is_end_stream() {
        Vec::new()
    } else {
        match Form::from_request(request, &()).await {
            Ok(Form(fields)) => fields,
            Err(rejection) => return rejection.into_response(),
        }
    };
    let (claims, alg) = match form::read(fields) {
        Ok(asked) => asked,
        Err(what) => return (StatusCode::BAD_REQUEST, format!("{what}\n")).into_response(),
    };
    let token = match issuer.mint(&claims, alg) {
        Ok(token) => token,
        Err(error) => return failed(error),
    };
    // RFC 6749 section 5.1 asks for it wherever a token is answered.
    let no_store = [(CACHE_CONTROL, "no-store")];
    if wants_json {
        let body = json!({
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": claims.ttl.as_secs(),
        });
        return (no_store, Json(body)).into_response();
    }
    (no_store, token).into_response()
}

async fn rotate(State(issuer): State<DevIssuer>) -> Response {
    // The task goes on when the client hangs up, so the lock goes with it.
    let rotation = tokio::spawn(async move {
        let _one_at_a_time = issuer.inner.rotating.lock().await;
        let blocking = issuer.clone();
        tokio::task::spawn_blocking(move || blocking.rotate()).await
    });
    match rotation.await {
        Ok(Ok(Ok(kids))) => {
            let lines: String = kids.iter().map(|kid| format!("{kid}\n")).collect();
            lines.into_response()
        }
        Ok(Ok(Err(error))) => failed(error),
        // Only when the runtime is shutting down.
        Ok(Err(_)) | Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

fn wants_json(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|range| range.split(';').next())
        .any(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

fn failed(error: DevIssuerError) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
}
