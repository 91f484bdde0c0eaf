//! The nonces of proofs (RFC 9449 section 9): nothing is kept of them, and every node of the cluster knows those of all.

use std::time::Duration;

use authmesh_proto::crypto::ServerNonces;
use authmesh_proto::time::Unix;

use super::rules::DpopRules;
use crate::jose::base64url;

/// The nonce of the present period.
pub(super) fn make(nonces: &ServerNonces, rules: &DpopRules, now: Unix) -> Box<str> {
    base64url::encode(&nonces.make(period(rules, now))).into()
}

/// Whether a nonce is of the present period or the one before; or of the one to come, if a member's clock may be there already.
pub(super) fn counts(nonces: &ServerNonces, rules: &DpopRules, nonce: &str, now: Unix, max_skew: Duration) -> bool {
    let made = base64url::decode(nonce.as_bytes()).and_then(|nonce| nonces.period_of(&nonce));
    let oldest = period(rules, now).saturating_sub(1);
    let newest = period(rules, now.saturating_add(max_skew.as_secs()));
    made.is_some_and(|made| (oldest..=newest).contains(&made))
}

fn period(rules: &DpopRules, at: Unix) -> u64 {
    at / rules.nonce_lifetime.as_secs().max(1)
}
