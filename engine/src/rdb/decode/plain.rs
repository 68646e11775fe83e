//! Keys with short strings, many at once and where they stand: nothing is copied before the caller puts it where
//! it belongs. Most keys of most snapshots are such.

use super::super::reader::{Reader, Step, Text};
use super::super::{kind, op};
use super::{Decoder, LARGE, Meta, State, expiry};
use core::mem;
use smallvec::SmallVec;

/// How many keys [`Decoder::plain_keys`] gives at most.
pub const PLAIN_KEYS: usize = 32;

/// A key with a short string, in the bytes that were fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain<'a> {
    /// The database.
    pub db: u32,
    /// The key.
    pub key: &'a [u8],
    /// Expiry as Unix time in milliseconds.
    pub expire_ms: Option<u64>,
    /// Seconds since the last access.
    pub idle_s: Option<u64>,
    /// Access frequency.
    pub frequency: Option<u8>,
    /// The value.
    pub value: PlainValue<'a>,
}

/// A short string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainValue<'a> {
    /// As bytes.
    Str(&'a [u8]),
    /// A number in decimal.
    Int(i64),
}

impl Decoder {
    /// The keys that come next, as long as they have strings that stand as they are in what was fed. None says
    /// nothing: [`Decoder::next_event`] does.
    pub fn plain_keys(&mut self) -> SmallVec<[Plain<'_>; PLAIN_KEYS]> {
        let mut keys = SmallVec::new();
        if !matches!(self.state, State::Item)
            || self.failed.is_some()
            || self.available() < self.wanted
        {
            return keys;
        }
        let Decoder {
            buffer,
            at,
            offset,
            meta,
            db,
            ..
        } = self;
        while keys.len() < PLAIN_KEYS {
            let mut reader = Reader {
                bytes: &buffer[*at..],
                at: 0,
            };
            let Ok(Some((found, key, value))) = plain_key(&mut reader, *meta) else {
                break;
            };
            keys.push(Plain {
                db: *db,
                key,
                expire_ms: found.expire_ms,
                idle_s: found.idle_s,
                frequency: found.frequency,
                value,
            });
            mem::take(meta);
            *at += reader.at;
            *offset += reader.at as u64;
        }
        keys
    }
}

/// A key that is wholly there, after what is known of it; nothing, if something else follows.
fn plain_key<'a>(
    reader: &mut Reader<'a>,
    mut meta: Meta,
) -> Step<Option<(Meta, &'a [u8], PlainValue<'a>)>> {
    loop {
        match reader.byte()? {
            op::EXPIRE_MS => meta.expire_ms = expiry(i64::from_le_bytes(reader.array()?)),
            op::FREQUENCY => meta.frequency = Some(reader.byte()?),
            op::IDLE => meta.idle_s = Some(reader.length()?),
            kind::STRING => break,
            _ => return Ok(None),
        }
    }
    let Text::Plain(length) = reader.text()? else {
        return Ok(None);
    };
    let key = reader.take(length)?;
    let value = match reader.text()? {
        Text::Plain(length) if length < LARGE => PlainValue::Str(reader.take(length)?),
        Text::Int(number) => PlainValue::Int(i64::from(number)),
        _ => return Ok(None),
    };
    Ok(Some((meta, key, value)))
}

#[cfg(test)]
#[path = "plain_tests.rs"]
mod tests;
