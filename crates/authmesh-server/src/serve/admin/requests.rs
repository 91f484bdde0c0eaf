//! Bodies of the admin API.

use authmesh::{AuthMesh, Client, JwtId, Session, Subject, Target, Token, WholeIssuer};
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
            return Err(bad(
                "name exactly one of subject, session, jti, client, token and whole_issuer",
            ));
        }
        if let Some(token) = &self.token {
            return Ok(Token::new(token.as_bytes()).into());
        }
        let issuer = match &self.issuer {
            Some(issuer) => issuer.clone(),
            None => {
                let mut all = mesh.issuers();
                match (all.next(), all.next()) {
                    (Some(only), None) => only.to_owned(),
                    _ => {
                        return Err(bad(
                            "there is more than one issuer: name the one that is meant as `issuer`",
                        ));
                    }
                }
            }
        };
        Ok(match (&self.subject, &self.session, &self.jti, &self.client) {
            (Some(subject), ..) => Subject::new(issuer, subject).into(),
            (_, Some(session), ..) => Session::new(issuer, session).into(),
            (_, _, Some(jti), _) => JwtId::new(issuer, jti).into(),
            (_, _, _, Some(client)) => Client::new(issuer, client).into(),
            _ => WholeIssuer::new(issuer).into(),
        })
    }
}
