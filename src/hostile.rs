//! Hostile input for the tests of whatever parses: bytes at random, and good input with something done to it.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// What parsers have stumbled over.
const NASTY: [&[u8]; 18] = [
    b"\0",
    b"\xff",
    b"\xc3\x28",
    b"\xef\xbb\xbf",
    "\u{202e}".as_bytes(),
    b"\r\n",
    b"\\",
    b"\"",
    b"-1",
    b"18446744073709551616",
    b"1e999",
    b"0.0000000000000000001",
    b"null",
    b"{}",
    b"[]",
    b"://",
    b"%",
    &[b'['; 300],
];

/// One thing that is done to good input: where, how much of it, and what.
#[derive(Debug, Clone)]
enum Harm {
    Overwrite(Index, u8),
    Insert(Index, &'static [u8]),
    Remove(Index, usize),
    Repeat(Index, usize),
    CutOff(Index),
}

/// Random bytes, or one of the `good` inputs, harmed up to five times.
pub(crate) fn bytes(good: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let harm = prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Harm::Overwrite(at, byte)),
        (any::<Index>(), select(&NASTY[..])).prop_map(|(at, what)| Harm::Insert(at, what)),
        (any::<Index>(), 1..20usize).prop_map(|(at, count)| Harm::Remove(at, count)),
        (any::<Index>(), 1..20usize).prop_map(|(at, count)| Harm::Repeat(at, count)),
        any::<Index>().prop_map(Harm::CutOff),
    ];
    let harmed = (select(good), vec(harm, 0..6)).prop_map(|(good, harms)| {
        harms.iter().fold(good.as_bytes().to_vec(), |mut bytes, harm| {
            harm.inflict(&mut bytes);
            bytes
        })
    });
    prop_oneof![1 => vec(any::<u8>(), 0..200), 3 => harmed]
}

/// The same for parsers of text.
pub(crate) fn text(good: &'static [&'static str]) -> impl Strategy<Value = String> {
    bytes(good).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

impl Harm {
    fn inflict(&self, bytes: &mut Vec<u8>) {
        let place = |at: &Index| at.index(bytes.len() + 1);
        let range = |at: &Index, count: usize| place(at)..bytes.len().min(place(at) + count);
        match self {
            Self::Overwrite(at, byte) => {
                let at = place(at);
                bytes.splice(at..bytes.len().min(at + 1), [*byte]);
            }
            Self::Insert(at, what) => {
                let at = place(at);
                bytes.splice(at..at, what.iter().copied());
            }
            Self::Remove(at, count) => {
                let range = range(at, *count);
                bytes.drain(range);
            }
            Self::Repeat(at, count) => {
                let range = range(at, *count);
                let (part, end) = (bytes[range.clone()].to_vec(), range.end);
                bytes.splice(end..end, part);
            }
            Self::CutOff(at) => {
                let at = place(at);
                bytes.truncate(at);
            }
        }
    }
}
