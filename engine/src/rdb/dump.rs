//! One value as a self-checking string: what DUMP returns and RESTORE and MIGRATE take.
//!
//! ```text
//! payload  type:u8 value (as in a snapshot), version:u16 LE, CRC-64 (Jones):u64 LE of all before it
//! ```
//!
//! A checksum of eight zero bytes is accepted unverified, as Redis does from 7.0 on.

use super::{Decoder, Encoder, Event, Options, Origin, Value, ValueView, checksum};
use crate::value::listpack::Entry;
use alloc::vec::Vec;

/// Why a payload is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DumpError {
    /// Too short, from a newer server, or changed on its way.
    #[error("DUMP payload version or checksum are wrong")]
    Footer,
    /// The checksum is right, the value is not one.
    #[error("Bad data format")]
    Format,
}

/// The payload of a value.
pub fn dump(value: ValueView<'_>, compress: bool) -> Vec<u8> {
    let mut encoder = Encoder::new(Options {
        compress,
        checksum: false,
    });
    encoder.object(value);
    let version = match value {
        ValueView::HashTimed(_) => super::VERSION_WITH_TIMES,
        _ => super::VERSION,
    };
    sealed(encoder, version)
}

/// The payload of a hash of `count` pairs. The iterator must give as many.
pub fn dump_hash<'a>(
    count: u64,
    pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    compress: bool,
) -> Vec<u8> {
    let mut encoder = Encoder::new(Options {
        compress,
        checksum: false,
    });
    encoder.hash_object(count);
    for (field, value) in pairs {
        encoder.pair(field, value);
    }
    sealed(encoder, super::VERSION)
}

/// The payload of a sorted set of `count` members, the last first. The iterator must give as many.
pub fn dump_zset<'a>(
    count: u64,
    members: impl Iterator<Item = (Entry<'a>, f64)>,
    compress: bool,
) -> Vec<u8> {
    let mut encoder = Encoder::new(Options {
        compress,
        checksum: false,
    });
    encoder.zset_object(count);
    for (member, score) in members {
        encoder.member(&member.text(), score);
    }
    sealed(encoder, super::VERSION)
}

/// Function libraries as FUNCTION DUMP gives them.
pub fn dump_functions<'a>(libraries: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut encoder = Encoder::new(Options::default());
    libraries.for_each(|code| encoder.function(code));
    sealed(encoder, super::VERSION)
}

/// The function libraries of a payload.
///
/// # Errors
/// It is none, or holds something else.
pub fn restore_functions(payload: &[u8]) -> Result<Vec<Vec<u8>>, DumpError> {
    let (body, _) = unsealed(payload)?;
    let mut decoder = Decoder::items(body);
    let mut libraries = Vec::new();
    while decoder.offset() < body.len() as u64 {
        match decoder.next_event() {
            Ok(Event::Function(code)) => libraries.push(code),
            _ => return Err(DumpError::Format),
        }
    }
    Ok(libraries)
}

/// The value of a payload; nothing inside is an empty collection, which Redis refuses.
pub fn restore(payload: &[u8]) -> Result<Value, DumpError> {
    let (body, origin) = verified(payload)?;
    let mut decoder = Decoder::object(body, origin);
    match decoder.next_event() {
        Ok(Event::Key { value, .. }) if decoder.offset() == body.len() as u64 => Ok(value),
        _ => Err(DumpError::Format),
    }
}

/// The payload without its footer, if that is right.
pub fn verify(payload: &[u8]) -> Result<&[u8], DumpError> {
    verified(payload).map(|(body, _)| body)
}

fn verified(payload: &[u8]) -> Result<(&[u8], Origin), DumpError> {
    unsealed(payload).and_then(|found| match found.0 {
        [] => Err(DumpError::Footer),
        _ => Ok(found),
    })
}

/// The same of a payload that may be empty but for its footer.
fn unsealed(payload: &[u8]) -> Result<(&[u8], Origin), DumpError> {
    let (sealed, sum) = payload.split_last_chunk().ok_or(DumpError::Footer)?;
    let (body, version) = sealed.split_last_chunk().ok_or(DumpError::Footer)?;
    let (sum, version) = (u64::from_le_bytes(*sum), u16::from_le_bytes(*version));
    // Version 0 was never written; Redis takes it.
    let origin = Origin::of_version(u32::from(version).max(1)).ok_or(DumpError::Footer)?;
    if sum == 0 || sum == checksum(sealed) {
        Ok((body, origin))
    } else {
        Err(DumpError::Footer)
    }
}

fn sealed(mut encoder: Encoder, version: u32) -> Vec<u8> {
    let mut payload = Vec::from(encoder.take());
    payload.extend_from_slice(&(version as u16).to_le_bytes());
    let sum = checksum(&payload);
    payload.extend_from_slice(&sum.to_le_bytes());
    payload
}
