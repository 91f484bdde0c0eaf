//! The problem types (RFC 9457 section 3.1.1): a stable part of the interface.

use http::StatusCode;

/// Where the problem types are described. A type is this and its name.
pub const PREFIX: &str = "https://authmesh.dev/problems/";

/// One kind of refusal. Clients may tell refusals apart by it; names never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProblemType {
    /// The last part of the type's URI. For an error of a verification it is its
    /// [`code`](authmesh::VerifyError::code) with hyphens.
    pub name: &'static str,
    /// The HTTP status that it always comes with.
    pub status: StatusCode,
    /// A summary that never changes from one occurrence to the next.
    pub title: &'static str,
    /// What it means, and what whoever sent the request can do.
    pub meaning: &'static str,
}

impl ProblemType {
    /// The type's URI.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }

    /// The type of a verification's error; `None` for a code that has none.
    pub(super) fn of_code(code: &str) -> Option<&'static Self> {
        let hyphened = || code.bytes().map(|byte| if byte == b'_' { b'-' } else { byte });
        ALL.iter().find(|problem| problem.name.bytes().eq(hyphened()))
    }
}

/// Every problem type that a [`Rejection`](super::Rejection) can carry.
#[must_use]
pub const fn problem_types() -> &'static [ProblemType] {
    &ALL
}

const fn of(status: StatusCode, name: &'static str, title: &'static str, meaning: &'static str) -> ProblemType {
    ProblemType {
        name,
        status,
        title,
        meaning,
    }
}

pub(super) const NO_CREDENTIAL: &ProblemType = &of(
    StatusCode::UNAUTHORIZED,
    "no-credential",
    "No token",
    "The request carries no bearer token. Send one in the Authorization header.",
);
pub(super) const INVALID_REQUEST: &ProblemType = &of(
    StatusCode::BAD_REQUEST,
    "invalid-request",
    "The request is ambiguous or malformed",
    "It cannot be told which token is meant, what stands in a token's place is none, or the proxy does not tell clearly \
     which request it asks about. The detail says what to mend.",
);
pub(super) const INVALID_TOKEN: &ProblemType = &of(
    StatusCode::UNAUTHORIZED,
    "invalid-token",
    "The token is refused",
    "The token is refused for a reason that has no type of its own. Get a new token.",
);
pub(super) const INSUFFICIENT_SCOPE: &ProblemType = &of(
    StatusCode::FORBIDDEN,
    "insufficient-scope",
    "The token lacks a scope",
    "The token is valid, and not meant for this. Get one with the scopes that the challenge names.",
);
pub(super) const INSUFFICIENT_ROLE: &ProblemType = &of(
    StatusCode::FORBIDDEN,
    "insufficient-role",
    "The token lacks a role",
    "The token is valid, and its holder does not have a role that this needs.",
);
pub(super) const UNFIT_CLAIMS: &ProblemType = &of(
    StatusCode::UNAUTHORIZED,
    "unfit-claims",
    "The token's claims are not what this service reads",
    "The token is valid, and a claim that this service reads is missing or of another type. The service's log names the place.",
);
pub(super) const NOT_PROTECTED: &ProblemType = &of(
    StatusCode::INTERNAL_SERVER_ERROR,
    "not-protected",
    "The service is set up wrongly",
    "This route asks who the caller is, and no authmesh layer stands before it. The service's operator has to add one.",
);
pub(super) const UNAVAILABLE: &ProblemType = &of(
    StatusCode::SERVICE_UNAVAILABLE,
    "unavailable",
    "Nothing can be told about the token now",
    "Something that is needed to judge the token is away. Not a verdict: keep the token, and try again after Retry-After.",
);
pub(super) const TIMED_OUT: &ProblemType = &of(
    StatusCode::SERVICE_UNAVAILABLE,
    "timed-out",
    "The answer took too long",
    "Not a verdict: keep the token, and try again after Retry-After.",
);
pub(super) const NOT_FOUND: &ProblemType = &of(
    StatusCode::NOT_FOUND,
    "not-found",
    "Nothing is at this path",
    "The path is none of this service's.",
);

static ALL: [ProblemType; 35] = [
    of(
        StatusCode::UNAUTHORIZED,
        "too-large",
        "The token is too long",
        "The token is longer than the policy's max_token_bytes. Ask the issuer for fewer claims, or raise the limit.",
    ),
    of(
        StatusCode::UNAUTHORIZED,
        "malformed",
        "The token is malformed",
        "Not a signed JWT (RFC 7515, RFC 7519). Send the access token as the issuer gave it, whole.",
    ),
    of(
        StatusCode::UNAUTHORIZED,
        "unsupported",
        "The token is not supported",
        "Signed or encoded in a way that this verifier does not know or its policy does not allow (alg, crit, b64).",
    ),
    of(
        StatusCode::UNAUTHORIZED,
        "bad-signature",
        "The signature does not match",
        "The token was altered, or another key signed it. Get a new token.",
    ),
    of(
        StatusCode::UNAUTHORIZED,
        "unknown-key",
        "The signing key is unknown",
        "The issuer does not publish the key that the token's header names. Get a new token.",
    ),
    of(
        StatusCode::UNAUTHORIZED,
        "expired",
        "The token has expired",
        "Its exp has passed. Get a new token.",
    ),
    of(
        StatusCode::UNAUTHORIZED,
        "not-yet-valid",
        "The token is not valid yet",
        "Its nbf or iat lies ahead. If it is new, a clock is wrong: the issuer's or this node's.",
    ),
    of(
        StatusCode::UNAUTHORIZED,
        "wrong-issuer",
        "The issuer is not accepted",
        "Its iss is none of the policy's issuers, letter for letter. Get a token from an accepted one.",
    ),
    of(
        StatusCode::UNAUTHORIZED,
        "wrong-audience",
        "The token is meant for another service",
        "Its aud names none of the policy's audiences. Ask the issuer for a token for this service.",
    ),
    of(
        StatusCode::UNAUTHORIZED,
        "wrong-type",
        "The token is of another type",
        "Its typ is not accepted. Send an access token, not an ID token or a logout token.",
    ),
    of(
        StatusCode::UNAUTHORIZED,
        "missing-claim",
        "A required claim is missing",
        "The detail names the claim. The issuer has to add it.",
    ),
    of(
        StatusCode::UNAUTHORIZED,
        "invalid-claim",
        "A claim is malformed",
        "The detail names the claim. It is not of the JSON type that RFC 7519 asks for, or its value is impossible.",
    ),
    of(
        StatusCode::UNAUTHORIZED,
        "wrong-claim",
        "A claim has another value",
        "The detail names the claim. The policy demands another value of it: this is not the kind of token that is wanted here.",
    ),
    of(
        StatusCode::UNAUTHORIZED,
        "bound",
        "The token is bound to a key",
        "It is bound to a key of its holder (cnf), so it is no bearer token. Send it with the scheme DPoP and a proof in the DPoP \
         header (RFC 9449).",
    ),
    of(
        StatusCode::UNAUTHORIZED,
        "unsupported-binding",
        "The token is bound in an unknown way",
        "Its cnf has members that are not supported, or contradicts itself. Ask the issuer for jkt (DPoP) or x5t#S256 (mutual TLS).",
    ),
    of(
        StatusCode::UNAUTHORIZED,
        "not-bound",
        "The token is bound to no key",
        "It came with the scheme DPoP, or only bound tokens are accepted here. Get a token that is bound to your key.",
    ),
    of(
        StatusCode::UNAUTHORIZED,
        "certificate-mismatch",
        "The client certificate is another one",
        "The token is bound to a client certificate (RFC 8705). Use it over a connection with that certificate.",
    ),
    of(
        StatusCode::UNAUTHORIZED,
        "invalid-dpop-proof",
        "The DPoP proof is not valid",
        "The detail says why. Make a proof for this request, this token and this moment, with the key that the token is bound to.",
    ),
    of(
        StatusCode::UNAUTHORIZED,
        "use-dpop-nonce",
        "The DPoP proof needs a nonce",
        "Make another proof with the nonce that the header DPoP-Nonce gives, and send the request again (RFC 9449 section 9).",
    ),
    of(
        StatusCode::SERVICE_UNAVAILABLE,
        "too-many-proofs",
        "Too many DPoP proofs",
        "More came than can be remembered, of your key or of all clients. Not a verdict: try again after Retry-After, with another \
         proof.",
    ),
    of(
        StatusCode::UNAUTHORIZED,
        "inactive",
        "The token is not active",
        "The provider that issued it says so: it has ended, was revoked, or is none of its own. Sign in again.",
    ),
    of(
        StatusCode::UNAUTHORIZED,
        "lifetime-too-long",
        "The token lives too long",
        "There is more time between its iat and exp than the policy's max_token_lifetime. Ask the issuer for shorter ones.",
    ),
    of(
        StatusCode::UNAUTHORIZED,
        "revoked",
        "The token is revoked",
        "It, or something that it belongs to, was revoked. Sign in again.",
    ),
    of(
        StatusCode::SERVICE_UNAVAILABLE,
        "could-not-ask",
        "The issuer could not be asked",
        "The issuer's keys are needed and cannot be fetched. Not a verdict: keep the token, and try again after Retry-After.",
    ),
    of(
        StatusCode::SERVICE_UNAVAILABLE,
        "blind",
        "Revocations may be unknown",
        "The node cannot prove that it knows every revocation, and the route demands that. Not a verdict: keep the token, and \
         try again after Retry-After.",
    ),
    *NO_CREDENTIAL,
    *INVALID_REQUEST,
    *INVALID_TOKEN,
    *INSUFFICIENT_SCOPE,
    *INSUFFICIENT_ROLE,
    *UNFIT_CLAIMS,
    *NOT_PROTECTED,
    *UNAVAILABLE,
    *TIMED_OUT,
    *NOT_FOUND,
];
