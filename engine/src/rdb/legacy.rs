//! The two blobs in which old servers stored small collections. Read, never written.
//!
//! ```text
//! ziplist  total:u32 LE, offset of the last entry:u32 LE, count:u16 LE (65535: count them), entries, 0xFF
//! entry    length of the previous entry (one byte below 254, or 0xFE and u32 LE), then
//!          00nnnnnn | 01nnnnnn n:8 | 0x80 n:32 BE, and as many bytes: a string
//!          0xC0 i16 | 0xD0 i32 | 0xE0 i64 | 0xF0 i24 | 0xFE i8, little-endian: a number
//!          0xF1..=0xFD: a number, 0 to 12
//! zipmap   count:u8 (254 or more: count them), pairs, 0xFF
//! pair     length field length free:u8 value (free bytes of no meaning)
//! length   one byte below 254, or 0xFE and u32 LE
//! ```
//!
//! A hash is field, value, field, value, …, a sorted set member, score, member, score, …: an odd number of
//! entries is damage.

use crate::value::number::parse_f64_bound;
use alloc::format;
use alloc::vec::Vec;

/// Fields and values in the order in which they are stored.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// The pairs of a hash stored as a ziplist, or nothing if it is damaged.
pub fn ziplist_pairs(blob: &[u8]) -> Option<Pairs> {
    let mut entries = ziplist(blob)?.into_iter();
    let mut pairs = Pairs::new();
    while let Some(field) = entries.next() {
        pairs.push((field, entries.next()?));
    }
    Some(pairs)
}

/// The entries of a ziplist, or nothing if it is damaged.
pub fn ziplist(blob: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut rest, declared) = {
        let mut head = blob;
        let total = u32::from_le_bytes(head.split_off(..4)?.try_into().ok()?);
        head.split_off(..4)?;
        let count = u16::from_le_bytes(head.split_off(..2)?.try_into().ok()?);
        if total as usize != blob.len() {
            return None;
        }
        (head, count)
    };
    let mut entries = Vec::new();
    while *rest.first()? != 0xFF {
        if *rest.split_off_first()? == 0xFE {
            rest.split_off(..4)?;
        }
        entries.push(ziplist_entry(&mut rest)?);
    }
    let counted = declared == u16::MAX || usize::from(declared) == entries.len();
    (rest.len() == 1 && counted).then_some(entries)
}

/// Members with their scores in the order in which they are stored.
pub type Members = Vec<(Vec<u8>, f64)>;

/// The members of a sorted set stored as a ziplist, or nothing if it is damaged.
pub fn ziplist_members(blob: &[u8]) -> Option<Members> {
    let scored = ziplist_pairs(blob)?.into_iter().map(|(member, text)| {
        let score = score(&text)?;
        Some((member, score))
    });
    scored.collect()
}

/// A score in decimal.
pub fn score(text: &[u8]) -> Option<f64> {
    parse_f64_bound(text).filter(|_| !text.is_empty())
}

/// The pairs of a hash stored as a zipmap, or nothing if it is damaged.
pub fn zipmap_pairs(blob: &[u8]) -> Option<Pairs> {
    let mut rest = blob;
    let declared = *rest.split_off_first()?;
    let mut pairs = Pairs::new();
    while *rest.first()? != 0xFF {
        let length = zipmap_length(&mut rest)?;
        let field = rest.split_off(..length)?.to_vec();
        let length = zipmap_length(&mut rest)?;
        let free = usize::from(*rest.split_off_first()?);
        let value = rest.split_off(..length)?.to_vec();
        rest.split_off(..free)?;
        pairs.push((field, value));
    }
    let counted = declared >= 254 || usize::from(declared) == pairs.len();
    // (Redis never wrote an empty one, and takes none.)
    (rest.len() == 1 && counted && !pairs.is_empty()).then_some(pairs)
}

fn ziplist_entry(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let tag = *rest.split_off_first()?;
    let length = match tag {
        0x00..=0x3F => usize::from(tag),
        0x40..=0x7F => usize::from(tag & 0x3F) << 8 | usize::from(*rest.split_off_first()?),
        0x80 => u32::from_be_bytes(rest.split_off(..4)?.try_into().ok()?) as usize,
        _ => return Some(format!("{}", ziplist_number(tag, rest)?).into_bytes()),
    };
    Some(rest.split_off(..length)?.to_vec())
}

fn ziplist_number(tag: u8, rest: &mut &[u8]) -> Option<i64> {
    let width = match tag {
        0xC0 => 2,
        0xD0 => 4,
        0xE0 => 8,
        0xF0 => 3,
        0xFE => 1,
        0xF1..=0xFD => return Some(i64::from(tag - 0xF1)),
        _ => return None,
    };
    let mut word = [0; 8];
    word[8 - width..].copy_from_slice(rest.split_off(..width)?);
    // The number stands in the top bytes: shifting down spreads its sign.
    Some(i64::from_le_bytes(word) >> (64 - 8 * width))
}

fn zipmap_length(rest: &mut &[u8]) -> Option<usize> {
    match *rest.split_off_first()? {
        small @ 0..=253 => Some(usize::from(small)),
        254 => Some(u32::from_le_bytes(rest.split_off(..4)?.try_into().ok()?) as usize),
        255 => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn pair(field: &str, value: &str) -> (Vec<u8>, Vec<u8>) {
        (field.into(), value.into())
    }

    #[test]
    fn zipmap_of_the_format_description() {
        let blob = b"\x02\x03foo\x03\x00bar\x05hello\x05\x02world..\xff";
        assert_eq!(
            zipmap_pairs(blob).unwrap(),
            vec![pair("foo", "bar"), pair("hello", "world")]
        );
        for cut in 0..blob.len() {
            assert_eq!(zipmap_pairs(&blob[..cut]), None);
        }
        assert_eq!(
            zipmap_pairs(b"\x01\x03foo\x03\x00bar\x05hello\x05\x00world\xff"),
            None,
            "wrong count"
        );
        assert_eq!(zipmap_pairs(b"\x00\xff"), None, "empty");
    }

    #[test]
    fn ziplist_with_every_form_of_number() {
        let entries: &[(&[u8], &str)] = &[
            (b"\x03abc", "abc"),
            (b"\x40\x02xy", "xy"),
            (b"\x80\x00\x00\x00\x01z", "z"),
            (b"\xc0\xfe\xff", "-2"),
            (b"\xd0\x00\x00\x00\x80", "-2147483648"),
            (
                b"\xe0\x00\x00\x00\x00\x00\x00\x00\x80",
                "-9223372036854775808",
            ),
            (b"\xf0\x00\x00\x80", "-8388608"),
            (b"\xfe\x80", "-128"),
            (b"\xf1", "0"),
            (b"\xfd", "12"),
        ];
        let mut body = Vec::new();
        for (index, (bytes, _)) in entries.iter().enumerate() {
            body.extend_from_slice(if index == 1 {
                b"\xfe\x04\x00\x00\x00".as_slice()
            } else {
                b"\x04"
            });
            body.extend_from_slice(bytes);
        }
        body.push(0xFF);
        let mut blob = (body.len() as u32 + 10).to_le_bytes().to_vec();
        blob.extend_from_slice(&[0; 4]);
        blob.extend_from_slice(&(entries.len() as u16).to_le_bytes());
        blob.extend_from_slice(&body);
        let expected: Pairs = entries
            .chunks(2)
            .map(|two| pair(two[0].1, two[1].1))
            .collect();
        assert_eq!(ziplist_pairs(&blob).unwrap(), expected);
        for cut in 0..blob.len() {
            assert_eq!(ziplist_pairs(&blob[..cut]), None);
        }
    }

    proptest! {
        #[test]
        fn any_blob_is_answered(blob in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = zipmap_pairs(&blob);
            let mut sized = (blob.len() as u32 + 4).to_le_bytes().to_vec();
            sized.extend_from_slice(&blob);
            let _ = ziplist_pairs(&sized);
        }
    }
}
