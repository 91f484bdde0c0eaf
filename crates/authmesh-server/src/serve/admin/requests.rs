//! Bodies of the admin API.

use authmesh::{AuthMesh, Client, JwtId, Session, Subject, Target};
use http::StatusCode;
use serde::Deserialize;

use super::problem::Problem;

/// `POST /v1/revocations`: exactly one of the first six.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revoke {
    subject: Option<String>,
    session: Option<String>,
    jti: Option<String>,
    client: Option<String>,
    token: Option<String>,
    #[serde(default)]
    whole_issuer: bool,
    /// Needed where there is more than one.
    #[serde(alias = "of_issuer")]
    issuer: Option<String>,
    pub(super) why: Option<String>,
    pub(super) by: Option<String>,
    pub(super) except_session: Option<String>,
    pub(super) not_before: Option<u64>,
}

/// `POST /v1/invalidations`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Invalidate {
    pub(super) token: String,
}

/// `POST /v1/keys/refresh`: one issuer, or all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refresh {
    pub(super) issuer: Option<String>,
}

/// `POST /v1/explain`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Explain {
    pub(super) token: String,
}

impl Revoke {
    pub(super) fn target(&self, mesh: &AuthMesh) -> Result<Target, Problem> {
        let bad = |what: &'static str| Problem::new(StatusCode::BAD_REQUEST, "revocation", what);
        let values = [&self.subject, &self.session, &self.jti, &self.client, &self.token];
        if values.iter().filter(|value| value.is_some()).count() + usize::from(self.whole_issuer) != 1 {
            return Err(bad("name exactly one of subject, session, jti, client, token and whole_issuer"));
        }
        if let Some(token) = &self.token {
            return Ok(super::token(token.clone()));
        }
        let issuer = match &self.issuer {
            Some(issuer) => issuer.clone(),
            None => {
                let mut all = mesh.issuers();
                match (all.next(), all.next()) {
                    (Some(only), None) => only.to_owned(),
                    _ => return Err(bad("there is more than one issuer: name the one that is meant as `issuer`")),
                }
            }
        };
        let scopes: [(&Option<String>, fn(String, String) -> Target); 4] = [
            (&self.subject, |issuer, value| Subject::new(issuer, value).into()),
            (&self.session, |issuer, value| Session::new(issuer, value).into()),
            (&self.jti, |issuer, value| JwtId::new(issuer, value).into()),
            (&self.client, |issuer, value| Client::new(issuer, value).into()),
        ];
        for (value, target) in scopes {
            if let Some(value) = value {
                return Ok(target(issuer, value.clone()));
            }
        }
        Ok(super::whole(issuer))
    }
}
