//! The client certificate of a request, by what tells it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// Longest value of a header that tells a certificate, in bytes.
const MAX_HEADER: usize = 16 * 1024;

/// SHA-256 of a certificate's DER: what `x5t#S256` names it by (RFC 8705 section 3.1).
#[must_use]
pub fn certificate_sha256(der: &[u8]) -> [u8; 32] {
    Sha256::digest(der).into()
}

/// As [`certificate_sha256`], of the value of a header in which a proxy tells the certificate that it has verified: `:`,
/// base64, `:` (`Client-Cert`, RFC 9440 section 2.2), or PEM with percent-encoding (nginx's `$ssl_client_escaped_cert`). `None`
/// of anything else.
#[must_use]
pub fn certificate_sha256_of_header(value: &[u8]) -> Option<[u8; 32]> {
    if value.len() > MAX_HEADER {
        return None;
    }
    let value = str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    let text = match value.strip_prefix(':') {
        Some(rest) => rest.strip_suffix(':')?.to_owned(),
        None => pem_body(&unescaped(value)?)?,
    };
    let der = STANDARD.decode(text).ok()?;
    // A certificate is a SEQUENCE (RFC 5280 section 4.1), and no shorter than its signature.
    (der.first() == Some(&0x30) && der.len() >= 64).then(|| certificate_sha256(&der))
}

/// The base64 of exactly one certificate.
fn pem_body(pem: &str) -> Option<String> {
    let body = pem.trim().strip_prefix("-----BEGIN CERTIFICATE-----")?;
    let body = body.strip_suffix("-----END CERTIFICATE-----")?;
    (!body.contains('-')).then(|| body.chars().filter(|c| !c.is_ascii_whitespace()).collect())
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
            u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The certificate of RFC 9440 section A.
    const RFC: &str = ":MIIBqDCCAU6gAwIBAgIBBzAKBggqhkjOPQQDAjA6MRswGQYDVQQKDBJMZXQncyBBdXRoZW50aWNhdGUxGzAZBgNVBAMMEkxBIEludGVybWVkaWF0ZSBDQTAeFw0yMDAxMTQyMjU1MzNaFw0yMTAxMjMyMjU1MzNaMA0xCzAJBgNVBAMMAkJDMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8YnXXfaUgmnMtOXU/IncWalRhebrXmckC8vdgJ1p5Be5F/3YC8OthxM4+k1M6aEAEFcGzkJiNy6J84y7uzo9M6NyMHAwCQYDVR0TBAIwADAfBgNVHSMEGDAWgBRm3WjLa38lbEYCuiCPct0ZaSED2DAOBgNVHQ8BAf8EBAMCBsAwEwYDVR0lBAwwCgYIKwYBBQUHAwIwHQYDVR0RAQH/BBMwEYEPYmRjQGV4YW1wbGUuY29tMAoGCCqGSM49BAMCA0gAMEUCIBHda/r1vaL6G3VliL4/Di6YK0Q6bMjeSkC3dFCOOB8TAiEAx/kHSB4urmiZ0NX5r5XarmPk0wmuydBVoU4hBVZ1yhk=:";

    #[test]
    fn a_proxy_may_tell_it_as_rfc_9440_says_or_as_nginx_does() {
        let sha256 = certificate_sha256_of_header(RFC.as_bytes()).unwrap();
        let base64 = RFC.trim_matches(':');
        assert_eq!(sha256, certificate_sha256(&STANDARD.decode(base64).unwrap()));
        let lines: Vec<&str> = base64
            .as_bytes()
            .chunks(64)
            .map(|line| str::from_utf8(line).unwrap())
            .collect();
        let body = lines
            .join("%0A")
            .replace('+', "%2B")
            .replace('/', "%2F")
            .replace('=', "%3D");
        let escaped = format!("-----BEGIN%20CERTIFICATE-----%0A{body}%0A-----END%20CERTIFICATE-----%0A");
        assert_eq!(certificate_sha256_of_header(escaped.as_bytes()), Some(sha256));
    }

    #[test]
    fn anything_else_is_no_certificate() {
        let base64 = RFC.trim_matches(':');
        let pem = |body: &str| format!("-----BEGIN%20CERTIFICATE-----%0A{body}%0A-----END%20CERTIFICATE-----%0A");
        let two = pem(base64) + &pem(base64);
        let altered = RFC.replacen("MII", "QII", 1);
        for odd in [
            "",
            ":",
            "::",
            base64,
            &RFC[1..],
            &RFC[..RFC.len() - 1],
            &format!("{RFC}, {RFC}"),
            &RFC.replacen('M', "-", 1),
            &RFC.replace('=', ""),
            &altered,
            ":MAA=:",
            &two,
            &pem("%zz"),
            &pem(base64).replace("CERTIFICATE", "PRIVATE%20KEY"),
            &format!(":{}:", "A".repeat(MAX_HEADER)),
            "\u{fc}",
        ] {
            assert_eq!(certificate_sha256_of_header(odd.as_bytes()), None, "{odd}");
        }
    }
}
