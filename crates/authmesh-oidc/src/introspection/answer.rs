//! What an introspection response says (RFC 7662 section 2.2).

use authmesh::ports::{ActiveToken, TokenState};
use authmesh::proto::time::Unix;
use serde_json::{Map, Value};

/// No time beyond this is taken for one: the year 9999.
const LATEST: f64 = 253_402_300_799.0;

/// Reads a response that was parsed, and has no member that is `null`; `claims` are its bytes. An error says which member is wrong, and nothing of its value.
pub(super) fn read(members: &Map<String, Value>, claims: Vec<u8>, now: Unix) -> Result<TokenState, String> {
    match members.get("active") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) => return Ok(TokenState::Inactive),
        Some(_) => return Err("active is not a boolean".to_owned()),
        None => return Err("it has no active".to_owned()),
    }
    let token = ActiveToken {
        // The answer's own types are checked even if the token turns out to be over: a provider that mixes them up is
        // to be heard of before it matters.
        expires_at: time(members, "exp")?.map(|exp| exp.floor() as Unix),
        ..self::token(members, claims)?
    };
    if token.expires_at.is_some_and(|exp| exp <= now) {
        return Ok(TokenState::Inactive);
    }
    Ok(TokenState::Active(Box::new(token)))
}

fn token(members: &Map<String, Value>, claims: Vec<u8>) -> Result<ActiveToken, String> {
    let client = match text(members, "client_id")? {
        None => text(members, "azp")?,
        client => client,
    };
    Ok(ActiveToken {
        issuer: text(members, "iss")?,
        subject: text(members, "sub")?,
        audiences: audiences(members)?,
        client,
        session: text(members, "sid")?,
        jwt_id: text(members, "jti")?,
        scopes: text(members, "scope")?
            .iter()
            .flat_map(|scope| scope.split(' '))
            .filter(|scope| !scope.is_empty())
            .map(str::to_owned)
            .collect(),
        issued_at: time(members, "iat")?.map(|iat| iat.floor() as Unix),
        not_before: time(members, "nbf")?.map(|nbf| nbf.ceil() as Unix),
        expires_at: None,
        max_age: None,
        claims,
    })
}

fn text(members: &Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{name} is not a string")),
    }
}

fn audiences(members: &Map<String, Value>) -> Result<Option<Vec<String>>, String> {
    match members.get("aud") {
        None => Ok(None),
        Some(Value::String(one)) => Ok(Some(vec![one.clone()])),
        Some(Value::Array(list)) => list
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .map(Some)
            .ok_or_else(|| "aud is a list with something other than strings".to_owned()),
        Some(_) => Err("aud is neither a string nor a list of strings".to_owned()),
    }
}

/// A `NumericDate`: a JSON number, never a string.
fn time(members: &Map<String, Value>, name: &str) -> Result<Option<f64>, String> {
    match members.get(name) {
        None => Ok(None),
        Some(value) => value
            .as_f64()
            .filter(|seconds| (0.0..=LATEST).contains(seconds))
            .map(Some)
            .ok_or_else(|| format!("{name} is not a time in seconds")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use serde_json::json;

    use super::*;

    const NOW: Unix = 1_800_000_000;

    fn read(answer: Value) -> Result<TokenState, String> {
        super::read(answer.as_object().unwrap(), b"{}".to_vec(), NOW)
    }

    fn active(answer: Value) -> ActiveToken {
        match read(answer).unwrap() {
            TokenState::Active(token) => *token,
            TokenState::Inactive => panic!("inactive"),
        }
    }

    #[test]
    fn every_member_of_the_standard_is_read() {
        let token = active(json!({
            "active": true, "iss": "https://a.example", "sub": "alice", "aud": ["api", "other"], "client_id": "app",
            "sid": "s1", "jti": "j1", "scope": "read  write", "iat": NOW - 10, "nbf": NOW as f64 - 9.5, "exp": NOW as f64 + 60.9,
            "username": "al", "token_type": "Bearer",
        }));
        assert_eq!(token.issuer.as_deref(), Some("https://a.example"));
        assert_eq!(
            (token.subject.as_deref(), token.client.as_deref()),
            (Some("alice"), Some("app"))
        );
        assert_eq!(
            (token.session.as_deref(), token.jwt_id.as_deref()),
            (Some("s1"), Some("j1"))
        );
        assert_eq!(token.audiences.unwrap(), ["api", "other"]);
        assert_eq!(token.scopes, ["read", "write"]);
        assert_eq!((token.issued_at, token.not_before), (Some(NOW - 10), Some(NOW - 9)));
        assert_eq!(token.expires_at, Some(NOW + 60), "rounded to the safe side");
        let azp = active(json!({"active": true, "azp": "app", "aud": "api"}));
        assert_eq!(azp.client.as_deref(), Some("app"));
        assert_eq!(azp.audiences.unwrap(), ["api"]);
    }

    #[test]
    fn absent_members_say_nothing() {
        let token = active(json!({"active": true}));
        assert_eq!(
            token,
            ActiveToken {
                claims: b"{}".to_vec(),
                ..ActiveToken::default()
            }
        );
    }

    #[test]
    fn active_must_be_a_boolean() {
        for (answer, word) in [
            (json!({}), "no active"),
            (json!({"sub": "alice"}), "no active"),
            (json!({"active": "true"}), "boolean"),
            (json!({"active": 1}), "boolean"),
            (json!({"active": [true]}), "boolean"),
        ] {
            assert!(read(answer.clone()).unwrap_err().contains(word), "{answer}");
        }
        // Whatever else it says: section 2.2 wants nothing else there.
        assert_eq!(
            read(json!({"active": false, "exp": "x"})).unwrap(),
            TokenState::Inactive
        );
    }

    #[test]
    fn a_token_whose_time_is_over_is_inactive_whatever_active_says() {
        for exp in [0, NOW - 1, NOW] {
            assert_eq!(
                read(json!({"active": true, "exp": exp})).unwrap(),
                TokenState::Inactive,
                "{exp}"
            );
        }
        assert_eq!(
            read(json!({"active": true, "exp": NOW as f64 + 0.9})).unwrap(),
            TokenState::Inactive
        );
        active(json!({"active": true, "exp": NOW + 1}));
    }

    #[test]
    fn members_of_another_type_are_told_and_not_shown() {
        for name in ["iss", "sub", "client_id", "azp", "sid", "jti", "scope", "aud"] {
            for value in [json!(7), json!({"secret": 1}), json!(true), json!(["secret", 1])] {
                let error = read(json!({"active": true, name: value})).unwrap_err();
                assert!(error.starts_with(name) && !error.contains("secret"), "{name}: {error}");
            }
        }
        for name in ["exp", "iat", "nbf"] {
            for value in [json!("1800000300"), json!(-1), json!(1e300), json!(true), json!([1])] {
                let error = read(json!({"active": true, name: value})).unwrap_err();
                assert!(error.starts_with(name), "{name}: {error}");
            }
        }
    }
}
