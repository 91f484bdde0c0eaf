//! Reads one JWK (RFC 7517, RFC 7518 section 6, RFC 8037 section 2).

use std::sync::Arc;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, EcdsaVerificationAlgorithm, ParsedPublicKey,
};
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::key::{KeyOps, KeyType, VerificationKey};
use super::{Algorithm, MAX_KID_BYTES, SkipReason, base64url};

/// Most operations that are read from `key_ops`. RFC 7517 registers eight.
const MAX_KEY_OPS: usize = 16;

/// Members that hold a private key: RFC 7518 section 6.3.2 for RSA, `d` for EC and OKP as well, `priv` for AKP, `k`
/// for symmetric.
const PRIVATE_MEMBERS: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

/// Reads `kid`, or nothing if it is not a string that would be read.
pub(crate) fn readable_kid(jwk: &Value) -> Option<Arc<str>> {
    jwk.get("kid")?
        .as_str()
        .filter(|kid| kid.len() <= MAX_KID_BYTES)
        .map(Arc::from)
}

/// Checks one JWK and builds its key.
pub(crate) fn parse(jwk: &Value) -> Result<VerificationKey, SkipReason> {
    let jwk = jwk.as_object().ok_or(SkipReason::NotAnObject)?;
    let kty = jwk.get("kty");
    // First of all, and even if all else is wrong: what must be shouted about must not hide behind a lesser fault.
    if kty.is_some_and(|kty| kty == "oct") {
        return Err(SkipReason::SymmetricKey);
    }
    if PRIVATE_MEMBERS.iter().any(|name| jwk.contains_key(*name)) {
        return Err(SkipReason::PrivateKeyMaterial);
    }
    let kid = text(jwk, "kid")?;
    if kid.is_some_and(|kid| kid.len() > MAX_KID_BYTES) {
        return Err(SkipReason::TooLong("kid"));
    }
    let use_sig = match text(jwk, "use")? {
        None => false,
        Some("sig") => true,
        Some(_) => return Err(SkipReason::UseNotSig),
    };
    let key_ops = key_ops(jwk, use_sig)?;
    let alg: Option<Algorithm> = text(jwk, "alg")?
        .map(|name| name.parse().map_err(|_| SkipReason::UnsupportedAlgorithm))
        .transpose()?;

    let (key_type, thumbprint, decoding) = match required_text(jwk, "kty")? {
        "RSA" => rsa(jwk)?,
        "EC" => ec(jwk)?,
        "OKP" => okp(jwk)?,
        _ => return Err(SkipReason::UnknownKeyType),
    };
    if alg.is_some_and(|alg| !key_type.algorithms().contains(alg)) {
        return Err(SkipReason::AlgorithmContradictsKey);
    }
    Ok(VerificationKey {
        kid: kid.map(Arc::from),
        key_type,
        alg,
        use_sig,
        key_ops,
        thumbprint,
        decoding,
    })
}

fn key_ops(jwk: &Map<String, Value>, use_sig: bool) -> Result<Option<KeyOps>, SkipReason> {
    let Some(listed) = jwk.get("key_ops") else {
        return Ok(None);
    };
    let listed = listed.as_array().ok_or(SkipReason::WrongType("key_ops"))?;
    if listed.len() > MAX_KEY_OPS {
        return Err(SkipReason::TooLong("key_ops"));
    }
    let mut names = Vec::with_capacity(listed.len());
    for name in listed {
        let name = name.as_str().ok_or(SkipReason::WrongType("key_ops"))?;
        if names.contains(&name) {
            return Err(SkipReason::KeyOpsRepeated);
        }
        names.push(name);
    }
    let key_ops = KeyOps::of(names);
    if !key_ops.verifies() {
        return Err(SkipReason::KeyOpsWithoutVerify);
    }
    if use_sig && key_ops.beyond_signatures() {
        return Err(SkipReason::KeyOpsContradictUse);
    }
    Ok(Some(key_ops))
}

type Material = (KeyType, [u8; 32], DecodingKey);

fn rsa(jwk: &Map<String, Value>) -> Result<Material, SkipReason> {
    let (n_text, n) = unsigned(jwk, "n")?;
    let (e_text, e) = unsigned(jwk, "e")?;

    // Length first: it decides how much work the rest can be.
    let bits = bits(&n);
    if bits < 2048 {
        return Err(SkipReason::RsaTooShort { bits });
    }
    if bits > 8192 {
        return Err(SkipReason::RsaTooLong { bits });
    }
    if n.last().is_none_or(|byte| byte % 2 == 0) {
        return Err(SkipReason::RsaModulusEven);
    }
    // The back end takes no more than 33 bits, and neither should we: a long exponent is only a way to burn our time.
    let exponent = if e.len() <= 8 {
        e.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    } else {
        u64::MAX
    };
    if exponent % 2 == 0 || !(3..=1 << 33).contains(&exponent) {
        return Err(SkipReason::RsaExponent);
    }
    Ok((
        KeyType::Rsa,
        thumbprint(&[("e", e_text), ("kty", "RSA"), ("n", n_text)]),
        DecodingKey::from_rsa_raw_components(&n, &e),
    ))
}

fn ec(jwk: &Map<String, Value>) -> Result<Material, SkipReason> {
    let crv = required_text(jwk, "crv")?;
    let (key_type, length, algorithm): (_, _, &'static EcdsaVerificationAlgorithm) = match crv {
        "P-256" => (KeyType::P256, 32, &ECDSA_P256_SHA256_FIXED),
        "P-384" => (KeyType::P384, 48, &ECDSA_P384_SHA384_FIXED),
        _ => return Err(SkipReason::UnsupportedCurve),
    };
    let (x_text, x) = coordinate(jwk, "x", length)?;
    let (y_text, y) = coordinate(jwk, "y", length)?;

    // SEC 1 section 2.3.3, uncompressed. The back end takes no point that is off the curve.
    let point = [&[4], x.as_slice(), y.as_slice()].concat();
    ParsedPublicKey::new(algorithm, &point).map_err(|_| SkipReason::NotOnCurve)?;
    Ok((
        key_type,
        thumbprint(&[("crv", crv), ("kty", "EC"), ("x", x_text), ("y", y_text)]),
        // The name says DER; what the back end expects under it is the point.
        DecodingKey::from_ec_der(&point),
    ))
}

fn okp(jwk: &Map<String, Value>) -> Result<Material, SkipReason> {
    let crv = required_text(jwk, "crv")?;
    if crv != "Ed25519" {
        return Err(SkipReason::UnsupportedCurve);
    }
    let (x_text, x) = coordinate(jwk, "x", 32)?;
    if has_small_order(&x) {
        return Err(SkipReason::WeakPoint);
    }
    Ok((
        KeyType::Ed25519,
        thumbprint(&[("crv", crv), ("kty", "OKP"), ("x", x_text)]),
        DecodingKey::from_ed_der(&x),
    ))
}

/// Whether an encoded Ed25519 point has an order of 1, 2, 4 or 8, so that a signature which fits it needs no private key.
///
/// The back end accepts such keys. These are all encodings of the y coordinates of the eight points, non-canonical
/// ones included; the sign of x does not matter.
fn has_small_order(point: &[u8]) -> bool {
    /// y of the points of order 8, little-endian.
    const ORDER_8: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
            0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
            0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
    ];

    let Some((top, low)) = point.split_last() else {
        return false;
    };
    let top = top & 0x7f;
    // y of 0, 1, p - 1, p and p + 1 with p = 2^255 - 19.
    let near_zero = top == 0 && low[1..].iter().all(|byte| *byte == 0) && low[0] <= 1;
    let near_p = top == 0x7f && low[1..].iter().all(|byte| *byte == 0xff) && (0xec..=0xee).contains(&low[0]);
    near_zero || near_p || ORDER_8.iter().any(|y| y[..31] == *low && y[31] == top)
}

/// RFC 7638: SHA-256 over the members that make the key, in lexicographic order, without white space.
///
/// None of the values needs escaping: they are canonical base64url, or names that this module compared with its own.
fn thumbprint(members: &[(&str, &str)]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for (at, (name, value)) in members.iter().enumerate() {
        let lead = if at == 0 { "{\"" } else { ",\"" };
        for part in [lead, name, "\":\"", value, "\""] {
            hash.update(part);
        }
    }
    hash.update("}");
    hash.finalize().into()
}

fn text<'a>(jwk: &'a Map<String, Value>, name: &'static str) -> Result<Option<&'a str>, SkipReason> {
    match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(SkipReason::WrongType(name)),
    }
}

fn required_text<'a>(jwk: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, SkipReason> {
    text(jwk, name)?.ok_or(SkipReason::Missing(name))
}

fn bytes<'a>(jwk: &'a Map<String, Value>, name: &'static str) -> Result<(&'a str, Vec<u8>), SkipReason> {
    let text = required_text(jwk, name)?;
    let bytes = base64url::decode(text.as_bytes()).ok_or(SkipReason::NotBase64Url(name))?;
    Ok((text, bytes))
}

/// `Base64urlUInt` of RFC 7518 section 2: big-endian, in as few bytes as possible. Zero, one zero byte, is refused here too:
/// no member of a public key can be zero.
fn unsigned<'a>(jwk: &'a Map<String, Value>, name: &'static str) -> Result<(&'a str, Vec<u8>), SkipReason> {
    let (text, bytes) = bytes(jwk, name)?;
    match bytes.first() {
        None => Err(SkipReason::Missing(name)),
        Some(0) => Err(SkipReason::NotMinimal(name)),
        Some(_) => Ok((text, bytes)),
    }
}

/// A coordinate, which is as long as the curve says, leading zeros included.
fn coordinate<'a>(
    jwk: &'a Map<String, Value>,
    name: &'static str,
    length: usize,
) -> Result<(&'a str, Vec<u8>), SkipReason> {
    let (text, bytes) = bytes(jwk, name)?;
    if bytes.len() != length {
        return Err(SkipReason::CoordinateLength(name));
    }
    Ok((text, bytes))
}

/// Length in bits of a big-endian integer without leading zero bytes.
fn bits(integer: &[u8]) -> u64 {
    let zeros = integer.first().map_or(0, |byte| byte.leading_zeros());
    integer.len() as u64 * 8 - u64::from(zeros)
}
