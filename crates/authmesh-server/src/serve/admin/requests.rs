//! Bodies and queries of the admin API.

use std::time::Duration;

use authmesh::{
    AuthMesh, Client, Confirm, JwtId, RevocationBatch, RevocationOrder, Session, SigningKey, Subject, Target, Token,
    WholeIssuer,
};
use serde::Deserialize;

use super::problem::{self, Problem};

/// The longest wait for the confirmation of a revocation.
pub(super) const MAX_DEADLINE: Duration = Duration::from_secs(60);

/// A struct whose first fields name a target. `flatten` would let unknown fields pass.
macro_rules! about_a_target {
    ($(#[$doc:meta])* $name:ident { $($(#[$more:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {
            subject: Option<String>,
            session: Option<String>,
            jti: Option<String>,
            client: Option<String>,
            kid: Option<String>,
            thumbprint: Option<String>,
            token: Option<String>,
            #[serde(default)]
            whole_issuer: bool,
            /// Needed where there is more than one.
            #[serde(alias = "of_issuer")]
            issuer: Option<String>,
            $($(#[$more])* $field: $type,)*
        }

        impl $name {
            pub(super) fn named(&self, mesh: &AuthMesh) -> Result<Named, Problem> {
                let values = [
                    ("subject", &self.subject),
                    ("session", &self.session),
                    ("jti", &self.jti),
                    ("client", &self.client),
                    ("kid", &self.kid),
                    ("thumbprint", &self.thumbprint),
                    ("token", &self.token),
                ];
                let values = values.map(|(what, value)| Some((what, value.as_deref()?)));
                named(mesh, &values, self.whole_issuer, self.issuer.as_deref())
            }
        }
    };
}

about_a_target! {
    /// `POST /v1/revocations`: exactly one target.
    Revoke {
        why: Option<String>,
        by: Option<String>,
        except_session: Option<String>,
        except_token: Option<String>,
        not_before: Option<u64>,
        confirm: Option<String>,
        wait_for: Option<Confirm>,
        deadline_seconds: Option<f64>,
    }
}

about_a_target! {
    /// `POST /v1/marks/explain`: exactly one target.
    ExplainMarks {}
}

/// `GET /v1/marks`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListMarks {
    pub(super) kind: Option<String>,
    pub(super) after: Option<String>,
    pub(super) limit: Option<usize>,
}

/// `POST /v1/invalidations`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Invalidate {
    pub(super) token: String,
}

/// `POST /v1/explain`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Explain {
    pub(super) token: String,
}

/// A target, and what has to be confirmed before it is revoked.
pub(super) struct Named {
    pub(super) target: Target,
    wide: Option<Wide>,
}

/// A target that stands for tokens of many people.
struct Wide {
    what: &'static str,
    name: String,
}

fn named(
    mesh: &AuthMesh,
    values: &[Option<(&'static str, &str)>],
    whole_issuer: bool,
    issuer: Option<&str>,
) -> Result<Named, Problem> {
    let bad = |what: &'static str| Problem::new(problem::REVOCATION, what);
    let mut values = values.iter().copied().flatten();
    let (what, value) = match (values.next(), values.next(), whole_issuer) {
        (Some(only), None, false) => only,
        (None, _, true) => ("issuer", ""),
        _ => {
            return Err(bad(
                "name exactly one of subject, session, jti, client, kid, thumbprint, token and whole_issuer",
            ));
        }
    };
    if what == "token" {
        return Ok(Named {
            target: Token::new(value).into(),
            wide: None,
        });
    }
    let issuer = match issuer {
        Some(issuer) => issuer.to_owned(),
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
    let wide = match what {
        "issuer" => Some(("issuer", issuer.clone())),
        "client" => Some(("client", value.to_owned())),
        "kid" | "thumbprint" => Some(("key", value.to_owned())),
        _ => None,
    };
    let target = match what {
        "subject" => Subject::new(issuer, value).into(),
        "session" => Session::new(issuer, value).into(),
        "jti" => JwtId::new(issuer, value).into(),
        "client" => Client::new(issuer, value).into(),
        "kid" => SigningKey::kid(issuer, value).into(),
        "thumbprint" => SigningKey::thumbprint(issuer, value).into(),
        _ => WholeIssuer::new(issuer).into(),
    };
    Ok(Named {
        target,
        wide: wide.map(|(what, name)| Wide { what, name }),
    })
}

/// What the answer waits for. In a batch it waits for the most that one of them asks for.
#[derive(Default, Clone, Copy)]
pub(super) struct Wait {
    confirm: Confirm,
    at_most: Option<Duration>,
}

impl Wait {
    /// What contents both.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            confirm: match (self.confirm, other.confirm) {
                (Confirm::Committed, Confirm::Committed) => Confirm::Committed,
                _ => Confirm::AllLive,
            },
            at_most: self.at_most.max(other.at_most),
        }
    }

    pub(super) fn of(self, batch: RevocationBatch<'_>) -> RevocationBatch<'_> {
        let batch = batch.confirm(self.confirm);
        match self.at_most {
            Some(at_most) => batch.deadline(at_most),
            None => batch,
        }
    }
}

impl Revoke {
    /// What the answer waits for.
    pub(super) fn wait(&self) -> Result<Wait, Problem> {
        let at_most = self.deadline_seconds.map(|seconds| {
            Duration::try_from_secs_f64(seconds)
                .ok()
                .filter(|at_most| *at_most <= MAX_DEADLINE)
                .ok_or_else(|| Problem::new(problem::REVOCATION, "`deadline_seconds` is a number from 0 to 60"))
        });
        Ok(Wait {
            confirm: self.wait_for.unwrap_or_default(),
            at_most: at_most.transpose()?,
        })
    }

    /// The order, once what is wide was confirmed.
    pub(super) async fn order(self, mesh: &AuthMesh) -> Result<RevocationOrder, Problem> {
        let Named { target, wide } = self.named(mesh)?;
        if let Some(wide) = wide
            && self.confirm.as_ref() != Some(&wide.name)
        {
            return Err(wide.unconfirmed(mesh, target, self.confirm.is_some()).await);
        }
        let mut order = RevocationOrder::new(target).by(self.by.unwrap_or_else(|| "admin".into()));
        if let Some(why) = self.why {
            order = order.why(why);
        }
        if let Some(session) = self.except_session {
            order = order.except_session(session);
        }
        if let Some(token) = self.except_token {
            order = order.except_token(token);
        }
        if let Some(at) = self.not_before {
            order = order.not_before(at);
        }
        Ok(order)
    }
}

impl Wide {
    /// Says how far it reaches, and what to send.
    async fn unconfirmed(self, mesh: &AuthMesh, target: Target, given: bool) -> Problem {
        let verdicts = match mesh.preview(target).await {
            Ok(verdicts) => verdicts,
            Err(error) => return error.into(),
        };
        let Self { what, name } = self;
        let problem = if given {
            format!("`confirm` is not the {what}'s name")
        } else {
            format!("a revocation of a whole {what} needs a confirmation")
        };
        Problem::new(
            problem::CONFIRMATION,
            format!(
                "{problem}: it would void at least {verdicts} verdicts in the memory of this node, and more on others. \
                 Nothing was revoked. Send the same with `confirm` set to the {what}'s name, as the member `confirm` \
                 of this answer has it"
            ),
        )
        .with("confirm", name)
        .with("verdicts", verdicts)
    }
}
