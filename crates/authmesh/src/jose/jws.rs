//! The compact serialization of a JWS (RFC 7515 sections 3.1 and 7.1).

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::{Header, JwsError, base64url};

/// A token in compact serialization, decoded and not yet verified.
///
/// Borrows the token; holds the decoded payload and signature. `Debug` shows lengths only.
#[derive(Clone)]
pub struct CompactJws<'a> {
    signing_input: &'a [u8],
    header: Header,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> CompactJws<'a> {
    /// Longest token that is read, in bytes: 256 KiB.
    ///
    /// A last resort for a caller that sets no limit. A token that comes in an HTTP header is far shorter.
    pub const MAX_BYTES: usize = 256 * 1024;

    /// Decodes a token: three parts of canonical base64url, the first of them a strict JSON object with a supported
    /// `alg`. The payload may be empty and is not looked into.
    ///
    /// # Errors
    /// [`JwsError::Malformed`] if it is no such token, [`JwsError::Unsupported`] for `none`, HMAC, other unknown
    /// `alg`, any `crit`, and `b64` that is `false`.
    pub fn parse<T: AsRef<[u8]> + ?Sized>(token: &'a T) -> Result<Self, JwsError> {
        let token = token.as_ref();
        if token.len() > Self::MAX_BYTES {
            return Err(JwsError::Malformed("the token is longer than 256 KiB"));
        }
        let Parts {
            signing_input,
            header,
            payload,
            signature,
        } = split(token)?;
        let header =
            base64url::decode(header).ok_or(JwsError::Malformed("the header is not base64url without padding"))?;
        let header = Header::parse(&header)?;
        let payload =
            base64url::decode(payload).ok_or(JwsError::Malformed("the payload is not base64url without padding"))?;
        let signature = base64url::decode(signature)
            .ok_or(JwsError::Malformed("the signature is not base64url without padding"))?;
        Ok(Self {
            signing_input,
            header,
            payload,
            signature,
        })
    }

    /// The unverified header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The bytes that are signed: header and payload as they were sent, with the dot between.
    #[must_use]
    pub fn signing_input(&self) -> &'a [u8] {
        self.signing_input
    }

    /// SHA-256 of [`signing_input`](Self::signing_input).
    ///
    /// Names the token whatever its signature looks like: an ECDSA signature has a twin that verifies just as well, so
    /// a hash of the whole token would not.
    #[must_use]
    pub fn signing_input_sha256(&self) -> [u8; 32] {
        Sha256::digest(self.signing_input).into()
    }

    /// The decoded, unverified payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The decoded signature.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// A `Vec`, because the backend asks for one.
    pub(crate) fn signature_vec(&self) -> &Vec<u8> {
        &self.signature
    }

    pub(crate) fn into_header_and_payload(self) -> (Header, Vec<u8>) {
        (self.header, self.payload)
    }
}

impl fmt::Debug for CompactJws<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompactJws")
            .field("header", &self.header)
            .field("payload_bytes", &self.payload.len())
            .field("signature_bytes", &self.signature.len())
            .finish()
    }
}

struct Parts<'a> {
    signing_input: &'a [u8],
    header: &'a [u8],
    payload: &'a [u8],
    signature: &'a [u8],
}

/// Cuts at the first two dots. Stops at the third, and allocates nothing, so a token of dots costs nothing.
fn split(token: &[u8]) -> Result<Parts<'_>, JwsError> {
    const NOT_THREE: JwsError = JwsError::Malformed("not three parts with dots between");

    let mut dots = token
        .iter()
        .enumerate()
        .filter_map(|(at, byte)| (*byte == b'.').then_some(at));
    let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
        return Err(NOT_THREE);
    };
    Ok(Parts {
        signing_input: &token[..second],
        header: &token[..first],
        payload: &token[first + 1..second],
        signature: &token[second + 1..],
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::jose::Algorithm;

    fn malformed(token: &(impl AsRef<[u8]> + ?Sized)) -> &'static str {
        match CompactJws::parse(token) {
            Err(JwsError::Malformed(rule)) => rule,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_token_is_cut_and_decoded() {
        let header = base64url::encode(br#"{"alg":"ES256"}"#);
        let token = format!("{header}.Zm9v.AAEC");
        let jws = CompactJws::parse(&token).unwrap();
        assert_eq!(jws.header().algorithm(), Algorithm::ES256);
        assert_eq!(jws.signing_input(), format!("{header}.Zm9v").as_bytes());
        assert_eq!(jws.payload(), b"foo");
        assert_eq!(jws.signature(), [0, 1, 2]);
        assert_eq!(
            jws.signing_input_sha256(),
            <[u8; 32]>::from(Sha256::digest(format!("{header}.Zm9v")))
        );
        // Empty payload and empty signature are well-formed; no key accepts the latter.
        assert_eq!(CompactJws::parse(&format!("{header}..")).unwrap().payload(), b"");
    }

    #[test]
    fn all_but_three_parts_is_malformed() {
        let header = base64url::encode(br#"{"alg":"ES256"}"#);
        for token in [
            String::new(),
            header.clone(),
            format!("{header}.Zm9v"),
            format!("{header}.Zm9v.AA."),
            format!("{header}.Zm9v.AA.AA"),
            format!(".{header}.Zm9v.AA"),
            format!("{header}.Zm9v.AA.AA.AA"),
            "...".to_owned(),
            "....".to_owned(),
        ] {
            assert!(malformed(&token).contains("three parts"), "{token}");
        }
        assert!(malformed("..").contains("header"));
        assert!(malformed(".").contains("three parts"));
    }

    #[test]
    fn a_million_dots_stop_at_the_third() {
        let dots = vec![b'.'; 1_000_000];
        assert!(split(&dots).is_err());
        assert!(malformed(&dots[..CompactJws::MAX_BYTES]).contains("three parts"));
        assert!(malformed(&dots).contains("256 KiB"));
    }

    #[test]
    fn length_is_bounded() {
        let header = base64url::encode(br#"{"alg":"ES256"}"#);
        let token = format!("{header}.{}.AA", "A".repeat(CompactJws::MAX_BYTES - header.len() - 4));
        assert_eq!(token.len(), CompactJws::MAX_BYTES);
        assert!(CompactJws::parse(&token).is_ok());
        assert!(malformed(&vec![b'A'; CompactJws::MAX_BYTES + 1]).contains("256 KiB"));
        assert!(malformed(&vec![b'A'; 1 << 20]).contains("256 KiB"));
    }

    #[test]
    fn each_part_must_be_canonical_base64url() {
        let header = base64url::encode(br#"{"alg":"ES256"}"#);
        for bad in ["Zh", "Zg==", "Zm9v\n", "Zm 9v", "Z\u{f6}v", "+/8", "Zm9v?", "Z"] {
            assert!(malformed(&format!("{header}.{bad}.AA")).contains("payload"), "{bad:?}");
            assert!(
                malformed(&format!("{header}.AA.{bad}")).contains("signature"),
                "{bad:?}"
            );
            assert!(malformed(&format!("{header}{bad}.AA.AA")).contains("header"), "{bad:?}");
        }
        assert!(malformed(&format!(" {header}.AA.AA")).contains("header"));
        assert!(malformed(b"\xff\xfe.\xff.\xff".as_slice()).contains("header"));
    }

    #[test]
    fn json_serialization_is_no_token() {
        assert!(
            malformed(r#"{"payload":"Zm9v","protected":"eyJhbGciOiJFUzI1NiJ9","signature":"AA"}"#).contains("three")
        );
    }

    #[test]
    fn debug_shows_lengths_only() {
        let token = format!(
            "{}.c2VjcmV0.c2VjcmV0",
            base64url::encode(br#"{"alg":"ES256","kid":"secret"}"#)
        );
        let shown = format!("{:?}", CompactJws::parse(&token).unwrap());
        assert!(
            !shown.contains("secret") && !shown.contains("c2Vj") && !shown.contains("115"),
            "{shown}"
        );
        assert!(
            shown.contains("payload_bytes: 6") && shown.contains("signature_bytes: 6"),
            "{shown}"
        );
    }
}
