//! Golden vectors: the bytes that version 1 puts on the wire and into storage.
//!
//! Each vector is encoded by the crate and compared with the bytes written here; then those bytes are read by
//! [`reader`], which shares no code with the crate. So the bytes cannot move by accident, and whoever replaces bincode
//! knows that a few lines suffice. `docs/protocol.md` describes the same formats in words.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod gossip;
mod keys;
mod plain;
mod reader;
mod sealed;
mod values;

/// Hexadecimal digits, white space aside.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).expect("a hexadecimal digit") as u8)
        .collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    assert!(rest.is_empty(), "an even number of digits");
    pairs.iter().map(|[high, low]| high << 4 | low).collect()
}

/// Compares with a vector, and shows what came as the vector would be written.
#[track_caller]
fn assert_bytes(actual: &[u8], golden: &str) {
    let written: String = actual.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(actual, hex(golden), "the bytes are now\n{written}");
}

/// Bytes that count upwards, so that an order turned round is seen.
const fn seq<const N: usize>(first: u8) -> [u8; N] {
    let mut bytes = [0; N];
    let mut at = 0;
    while at < N {
        bytes[at] = first.wrapping_add(at as u8);
        at += 1;
    }
    bytes
}
