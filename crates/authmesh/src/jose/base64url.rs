//! base64url as JOSE uses it (RFC 7515 section 2, RFC 4648 section 5).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Decodes base64url: URL-safe alphabet, no padding, no white space, and no stray bits behind the last byte, so that
/// each byte string has exactly one encoding. `None` for anything else.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Encodes without padding.
pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_string_has_one_encoding() {
        assert_eq!(decode(b"Zm9v").as_deref(), Some(b"foo".as_slice()));
        assert_eq!(decode(b"Zg").as_deref(), Some(b"f".as_slice()));
        assert_eq!(decode(b"").as_deref(), Some(b"".as_slice()));
        assert_eq!(decode(b"-_-_").as_deref(), Some([0xfb, 0xff, 0xbf].as_slice()));
        // Zh would be a second spelling of "f": its last four bits are not zero.
        for bad in [
            "Zh",
            "Zg==",
            "Zg=",
            "Zm9v\n",
            " Zm9v",
            "Zm 9v",
            "+/+/",
            "Zm9v?",
            "Z",
            "Zm9vZ",
            "Zm9\u{f6}",
            "Zm9v\0",
        ] {
            assert_eq!(decode(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn encoding_is_the_inverse() {
        for length in 0..70_u8 {
            let bytes: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(37)).collect();
            assert_eq!(decode(encode(&bytes).as_bytes()), Some(bytes));
        }
    }
}
