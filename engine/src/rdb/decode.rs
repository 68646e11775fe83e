//! Reading a snapshot in pieces, as they come from a file or a replication link.
//!
//! The decoder keeps the bytes of one unfinished string and no more: large collections arrive pair by
//! pair, large strings are moved to their final place as they arrive, and nothing is allocated in
//! proportion to a length before that many bytes are there. It is total: any input gives events, a wish
//! for more, or one error with its place in the file; never a panic.

use super::list::{self, ListPart};
use super::stream::Builder;
use super::{CRC, MAGIC, MAX_VERSION, kind, legacy, lzf, op, special};
use crate::value::hash::MAX_TIME_MS;
use crate::value::listpack::{Entry, Listpack};
use crate::value::stream::Stream;
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::mem;

/// One thing found in a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// [`feed`](Decoder::feed) more, or say that there is no more by [`Decoder::cut_short`].
    NeedMore,
    /// A named fact about the file.
    Aux {
        /// Its name.
        name: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// The keys that follow belong to this database. Check it against the number of databases.
    SelectDb(u32),
    /// A hint: that many keys follow in this database, of which so many expire.
    ResizeDb {
        /// Keys.
        keys: u64,
        /// Keys with an expiry.
        expires: u64,
    },
    /// A key. Checking that it is new is the caller's part.
    Key {
        /// The database.
        db: u32,
        /// The key.
        key: Vec<u8>,
        /// Expiry as Unix time in milliseconds.
        expire_ms: Option<u64>,
        /// Seconds since the last access.
        idle_s: Option<u64>,
        /// Access frequency.
        frequency: Option<u8>,
        /// The value.
        value: Value,
    },
    /// A key whose collection is empty, as some old servers wrote. Redis drops it with a warning.
    EmptyKey {
        /// The key.
        key: Vec<u8>,
    },
    /// A function library's source.
    Function(Vec<u8>),
    /// The snapshot is complete and right. Bytes behind it are in [`Decoder::take_rest`].
    End {
        /// Whether it had a checksum and that was verified.
        checked: bool,
    },
}

/// A value as the snapshot stores it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string.
    Str(Vec<u8>),
    /// A string that is a number in decimal.
    Int(i64),
    /// A small hash as a listpack of fields and values; its frame was checked, not its entries.
    HashListpack(Vec<u8>),
    /// A hash, pair by pair. Fields may be there twice in a damaged file: the caller refuses that.
    Hash(legacy::Pairs),
    /// A hash with the times at which its fields expire, in Unix milliseconds. Fields may be there twice in a damaged
    /// file: the caller refuses that.
    HashTimed(Vec<TimedPair>),
    /// A list.
    List(Vec<ListPart>),
    /// A set as an intset; not checked.
    SetIntset(Vec<u8>),
    /// A small set as a listpack; its frame was checked, not its entries.
    SetListpack(Vec<u8>),
    /// A set, member by member. Members may be there twice in a damaged file: the caller refuses that.
    Set(Vec<Vec<u8>>),
    /// A stream, checked.
    Stream(Box<Stream>),
    /// A small sorted set as a listpack of members and scores; its frame was checked, not its entries.
    ZSetListpack(Vec<u8>),
    /// A sorted set, member by member, in any order; no score is NaN. Members may be there twice in a
    /// damaged file: the caller refuses that.
    ZSet(legacy::Members),
}

/// A field, its value, and when it expires.
pub type TimedPair = (Vec<u8>, Vec<u8>, Option<u64>);

/// What is wrong with a snapshot, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} (at offset {offset})")]
pub struct RdbError {
    /// Where in the file, in bytes.
    pub offset: u64,
    /// What.
    pub kind: RdbErrorKind,
}

/// What is wrong with a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RdbErrorKind {
    /// It does not begin with `REDIS`.
    #[error("Wrong signature trying to load DB from file")]
    Signature,
    /// A version that is none, or is newer than [`MAX_VERSION`].
    #[error("Can't handle RDB format version {0}")]
    Version(u32),
    /// The checksum at the end is not that of the bytes before it.
    #[error("Wrong RDB checksum expected: ({expected:x}) but got ({found:x}). Aborting now.")]
    Checksum {
        /// Computed from the bytes.
        expected: u64,
        /// Found in the file.
        found: u64,
    },
    /// A type byte that means nothing.
    #[error("Unknown RDB encoding type {0}")]
    UnknownType(u8),
    /// A type that this server does not have yet.
    #[error("The RDB file contains data of type {number} ({name}), which this server can't load")]
    Unsupported {
        /// The type byte.
        number: u8,
        /// What Redis keeps under it.
        name: &'static str,
    },
    /// Something that cannot be.
    #[error("{0}")]
    Corrupt(&'static str),
    /// The file ends in the middle.
    #[error("Unexpected EOF reading RDB file: expected {0}")]
    ShortRead(&'static str),
}

/// Strings from this length are moved out of the buffer as they arrive.
const LARGE: u64 = 64 << 10;
/// No string is longer: a length above is damage even where the file's size is unknown.
const MAX_STRING: u64 = 1 << 40;

/// Reads one snapshot: [`feed`](Decoder::feed), then [`next`](Decoder::next_event) until it wants more.
pub struct Decoder {
    buffer: Vec<u8>,
    /// Where in `buffer` the first byte stands that was not consumed.
    at: usize,
    /// Offset in the file of `buffer[at]`.
    offset: u64,
    /// Do not try again before so many bytes are there.
    wanted: usize,
    total: Option<u64>,
    verify: bool,
    digest: crc::Digest<'static, u64, crc::Table<16>>,
    version: u32,
    state: State,
    db: u32,
    meta: Meta,
    failed: Option<RdbError>,
}

#[derive(Clone, Copy, Default)]
struct Meta {
    expire_ms: Option<u64>,
    idle_s: Option<u64>,
    frequency: Option<u8>,
}

enum State {
    Header,
    Item,
    Value {
        kind: u8,
        key: Vec<u8>,
    },
    /// A plain string value of which `left` bytes are to come.
    Large {
        key: Vec<u8>,
        text: Vec<u8>,
        left: u64,
    },
    Pairs {
        key: Vec<u8>,
        pairs: legacy::Pairs,
        left: u64,
    },
    TimedPairs {
        key: Vec<u8>,
        pairs: Vec<TimedPair>,
        left: u64,
        /// What 1 stands for among the times.
        first: u64,
    },
    Parts {
        key: Vec<u8>,
        /// The list's type byte.
        kind: u8,
        parts: Vec<ListPart>,
        left: u64,
    },
    Elements {
        key: Vec<u8>,
        elements: Vec<Vec<u8>>,
        left: u64,
    },
    Stream {
        key: Vec<u8>,
        builder: Box<Builder>,
    },
    Members {
        key: Vec<u8>,
        members: legacy::Members,
        left: u64,
        /// Scores are eight bytes, not text.
        binary: bool,
    },
    Checksum,
    Done,
}

/// Why a step did not finish: nothing is consumed then.
pub(super) enum Stop {
    /// That many bytes must be there, counted from the first one not consumed.
    More(u64),
    Bad(RdbErrorKind),
}

pub(super) type Step<T> = Result<T, Stop>;

impl core::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Decoder")
            .field("offset", &self.offset)
            .field("waiting_for", &self.expected())
            .finish_non_exhaustive()
    }
}

impl Decoder {
    /// A decoder at the start of a snapshot. `total` is the size of the file or transfer if known: lengths
    /// that reach beyond it are refused at once. `verify`: check the checksum (`rdbchecksum`).
    pub fn new(total: Option<u64>, verify: bool) -> Decoder {
        Decoder {
            buffer: Vec::new(),
            at: 0,
            offset: 0,
            wanted: 0,
            total,
            verify,
            digest: CRC.digest(),
            version: 0,
            state: State::Header,
            db: 0,
            meta: Meta::default(),
            failed: None,
        }
    }

    /// Reads a snapshot's items without its header and end.
    pub(super) fn items(payload: &[u8]) -> Decoder {
        let mut decoder = Decoder::new(Some(payload.len() as u64), false);
        decoder.feed(payload);
        decoder.state = State::Item;
        decoder
    }

    /// A decoder for one value without key or end, as in a DUMP payload.
    pub(super) fn object(payload: &[u8]) -> Decoder {
        let mut decoder = Decoder::new(Some(payload.len() as u64), false);
        decoder.feed(payload);
        decoder.state = match payload.first() {
            Some(&kind) => {
                decoder.consume(1);
                State::Value {
                    kind,
                    key: Vec::new(),
                }
            }
            None => State::Item,
        };
        decoder
    }

    /// The next bytes of the file.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.at > 0 {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Offset in the file of the first byte that was not consumed.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether [`Event::End`] was given.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Bytes behind the end of the snapshot that were fed with it.
    pub fn take_rest(&mut self) -> Vec<u8> {
        let mut rest = mem::take(&mut self.buffer);
        rest.drain(..mem::take(&mut self.at));
        rest
    }

    /// The error of a file that ends here.
    pub fn cut_short(&self) -> RdbError {
        RdbError {
            offset: self.offset + self.available() as u64,
            kind: RdbErrorKind::ShortRead(self.expected()),
        }
    }

    /// What comes next. After an error, the same error again; after the end, [`Event::NeedMore`].
    pub fn next_event(&mut self) -> Result<Event, RdbError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let answer = self.advance();
        if let Err(error) = &answer {
            self.failed = Some(error.clone());
        }
        answer
    }

    fn advance(&mut self) -> Result<Event, RdbError> {
        while !self.is_done() {
            if self.available() < self.wanted {
                return Ok(Event::NeedMore);
            }
            self.wanted = 0;
            match self.step() {
                Ok(Some(event)) => return Ok(event),
                Ok(None) => {}
                Err(Stop::More(wanted)) => {
                    if self
                        .total
                        .is_some_and(|total| self.offset.saturating_add(wanted) > total)
                    {
                        let kind = RdbErrorKind::ShortRead(self.expected());
                        return Err(RdbError {
                            offset: self.offset,
                            kind,
                        });
                    }
                    self.wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
                }
                Err(Stop::Bad(kind)) => {
                    return Err(RdbError {
                        offset: self.offset,
                        kind,
                    });
                }
            }
        }
        Ok(Event::NeedMore)
    }

    fn step(&mut self) -> Step<Option<Event>> {
        match mem::replace(&mut self.state, State::Item) {
            State::Header => {
                self.state = State::Header;
                self.header()?;
                self.state = State::Item;
                Ok(None)
            }
            State::Item => self.item(),
            State::Value { kind, key } => match self.value(kind) {
                Ok(Found::Value(value)) => Ok(Some(self.key_event(key, value))),
                Ok(Found::Empty) => {
                    self.meta = Meta::default();
                    Ok(Some(Event::EmptyKey { key }))
                }
                Ok(Found::Large(left)) => {
                    self.state = State::Large {
                        key,
                        text: Vec::new(),
                        left,
                    };
                    Ok(None)
                }
                Ok(Found::Pairs(left)) => {
                    self.state = State::Pairs {
                        key,
                        pairs: Vec::new(),
                        left,
                    };
                    Ok(None)
                }
                Ok(Found::TimedPairs { left, first }) => {
                    self.state = State::TimedPairs {
                        key,
                        pairs: Vec::new(),
                        left,
                        first,
                    };
                    Ok(None)
                }
                Ok(Found::Parts(left)) => {
                    self.state = State::Parts {
                        key,
                        kind,
                        parts: Vec::new(),
                        left,
                    };
                    Ok(None)
                }
                Ok(Found::Elements(left)) => {
                    self.state = State::Elements {
                        key,
                        elements: Vec::new(),
                        left,
                    };
                    Ok(None)
                }
                Ok(Found::Stream) => {
                    let builder = Box::new(Builder::new(kind));
                    self.state = State::Stream { key, builder };
                    Ok(None)
                }
                Ok(Found::Members { count, binary }) => {
                    self.state = State::Members {
                        key,
                        members: Vec::new(),
                        left: count,
                        binary,
                    };
                    Ok(None)
                }
                Err(stop) => {
                    self.state = State::Value { kind, key };
                    Err(stop)
                }
            },
            State::Large {
                key,
                mut text,
                mut left,
            } => {
                let here = self
                    .available()
                    .min(usize::try_from(left).unwrap_or(usize::MAX));
                left -= here as u64;
                // Doubling, but never beyond the end: the last growth fits exactly.
                if text.capacity() - text.len() < here {
                    let most = usize::try_from(left)
                        .unwrap_or(usize::MAX)
                        .saturating_add(here);
                    text.reserve_exact(most.min(here.max(text.len())));
                }
                text.extend_from_slice(&self.buffer[self.at..self.at + here]);
                self.consume(here);
                if left == 0 {
                    return Ok(Some(self.key_event(key, Value::Str(text))));
                }
                self.state = State::Large { key, text, left };
                Err(Stop::More(1))
            }
            State::Pairs {
                key,
                mut pairs,
                mut left,
            } => {
                // All pairs that are here, so that a large hash does not move in and out for each.
                let stop = loop {
                    if left == 0 {
                        return Ok(Some(self.key_event(key, Value::Hash(pairs))));
                    }
                    match self.pair() {
                        Ok(pair) => pairs.push(pair),
                        Err(stop) => break stop,
                    }
                    left -= 1;
                };
                self.state = State::Pairs { key, pairs, left };
                Err(stop)
            }
            State::TimedPairs {
                key,
                mut pairs,
                mut left,
                first,
            } => {
                let stop = loop {
                    if left == 0 {
                        return Ok(Some(self.key_event(key, Value::HashTimed(pairs))));
                    }
                    match self.timed_pair(first) {
                        Ok(pair) => pairs.push(pair),
                        Err(stop) => break stop,
                    }
                    left -= 1;
                };
                self.state = State::TimedPairs {
                    key,
                    pairs,
                    left,
                    first,
                };
                Err(stop)
            }
            State::Parts {
                key,
                kind,
                mut parts,
                mut left,
            } => {
                let stop = loop {
                    if left == 0 && parts.is_empty() {
                        self.meta = Meta::default();
                        return Ok(Some(Event::EmptyKey { key }));
                    }
                    if left == 0 {
                        return Ok(Some(self.key_event(key, Value::List(parts))));
                    }
                    match self.part(kind) {
                        Ok(part) => parts.extend(part),
                        Err(stop) => break stop,
                    }
                    left -= 1;
                };
                self.state = State::Parts {
                    key,
                    kind,
                    parts,
                    left,
                };
                Err(stop)
            }
            State::Elements {
                key,
                mut elements,
                mut left,
            } => {
                let stop = loop {
                    if left == 0 {
                        return Ok(Some(self.key_event(key, Value::Set(elements))));
                    }
                    match self.element() {
                        Ok(element) => elements.push(element),
                        Err(stop) => break stop,
                    }
                    left -= 1;
                };
                self.state = State::Elements {
                    key,
                    elements,
                    left,
                };
                Err(stop)
            }
            State::Stream { key, mut builder } => {
                let stop = loop {
                    let mut reader = self.reader();
                    match builder.step(&mut reader) {
                        Ok(complete) => {
                            let read = reader.at;
                            self.consume(read);
                            if complete {
                                let stream = Box::new(builder.into_stream());
                                return Ok(Some(self.key_event(key, Value::Stream(stream))));
                            }
                        }
                        Err(stop) => break stop,
                    }
                };
                self.state = State::Stream { key, builder };
                Err(stop)
            }
            State::Members {
                key,
                mut members,
                mut left,
                binary,
            } => {
                let stop = loop {
                    if left == 0 {
                        return Ok(Some(self.key_event(key, Value::ZSet(members))));
                    }
                    match self.member(binary) {
                        Ok(member) => members.push(member),
                        Err(stop) => break stop,
                    }
                    left -= 1;
                };
                self.state = State::Members {
                    key,
                    members,
                    left,
                    binary,
                };
                Err(stop)
            }
            State::Checksum => {
                self.state = State::Checksum;
                let checked = self.checksum()?;
                self.state = State::Done;
                Ok(Some(Event::End { checked }))
            }
            State::Done => {
                self.state = State::Done;
                Ok(Some(Event::NeedMore))
            }
        }
    }

    fn header(&mut self) -> Step<()> {
        let mut reader = self.reader();
        // A foreign file shows by its first bytes, however short it is.
        let magic = reader.bytes.len().min(MAGIC.len());
        if reader.bytes[..magic] != MAGIC[..magic] {
            return Err(Stop::Bad(RdbErrorKind::Signature));
        }
        if reader.bytes.len() < 9 {
            return Err(Stop::More(reader.bytes.len() as u64 + 1));
        }
        let head = reader.take(9)?;
        let mut version = 0;
        for digit in &head[5..] {
            if !digit.is_ascii_digit() {
                return Err(Stop::Bad(RdbErrorKind::Version(version)));
            }
            version = version * 10 + u32::from(digit - b'0');
        }
        if version == 0 || version > MAX_VERSION {
            return Err(Stop::Bad(RdbErrorKind::Version(version)));
        }
        self.version = version;
        self.consume(9);
        Ok(())
    }

    /// One item up to its value. `self.state` is `Item` and stays so unless a value or the end follows.
    fn item(&mut self) -> Step<Option<Event>> {
        let mut reader = self.reader();
        let code = reader.byte()?;
        let mut event = None;
        let (mut state, mut meta, mut db) = (State::Item, self.meta, self.db);
        match code {
            op::EXPIRE_S => {
                let seconds = i32::from_le_bytes(reader.array()?);
                meta.expire_ms = expiry(i64::from(seconds) * 1000);
            }
            op::EXPIRE_MS => meta.expire_ms = expiry(i64::from_le_bytes(reader.array()?)),
            op::FREQUENCY => meta.frequency = Some(reader.byte()?),
            op::IDLE => meta.idle_s = Some(reader.length()?),
            op::EOF if self.version < 5 => {
                state = State::Done;
                event = Some(Event::End { checked: false });
            }
            op::EOF => state = State::Checksum,
            op::SELECT_DB => {
                db = u32::try_from(reader.length()?)
                    .map_err(|_| corrupt("Invalid database number"))?;
                event = Some(Event::SelectDb(db));
            }
            op::RESIZE_DB => {
                event = Some(Event::ResizeDb {
                    keys: reader.length()?,
                    expires: reader.length()?,
                })
            }
            op::AUX => {
                event = Some(Event::Aux {
                    name: reader.string()?,
                    value: reader.string()?,
                })
            }
            op::FUNCTION => event = Some(Event::Function(reader.string()?)),
            op::FUNCTION_PRE_GA => return Err(unsupported(code, "pre-release function")),
            op::MODULE_AUX => return Err(unsupported(code, "module auxiliary data")),
            kind::STRING
            | kind::HASH
            | kind::HASH_LISTPACK
            | kind::HASH_ZIPLIST
            | kind::HASH_ZIPMAP
            | kind::HASH_TIMED
            | kind::HASH_TIMED_PRE_GA
            | kind::HASH_LISTPACK_TIMED
            | kind::HASH_LISTPACK_TIMED_PRE_GA
            | kind::LIST
            | kind::LIST_ZIPLIST
            | kind::LIST_QUICKLIST
            | kind::LIST_QUICKLIST_2
            | kind::SET
            | kind::SET_INTSET
            | kind::SET_LISTPACK
            | kind::STREAM
            | kind::STREAM_2
            | kind::STREAM_3
            | kind::ZSET
            | kind::ZSET_2
            | kind::ZSET_LISTPACK
            | kind::ZSET_ZIPLIST => {
                state = State::Value {
                    kind: code,
                    key: reader.string()?,
                };
            }
            _ => return Err(foreign_type(code)),
        }
        let read = reader.at;
        (self.state, self.meta, self.db) = (state, meta, db);
        self.consume(read);
        Ok(event)
    }

    fn value(&mut self, kind: u8) -> Step<Found> {
        let mut reader = self.reader();
        let found = match kind {
            kind::STRING => match reader.text()? {
                Text::Int(number) => Found::Value(Value::Int(i64::from(number))),
                Text::Plain(length) if length >= LARGE => Found::Large(length),
                text => Found::Value(Value::Str(reader.resolve(text)?)),
            },
            kind::HASH => match reader.length()? {
                0 => Found::Empty,
                pairs => Found::Pairs(pairs),
            },
            kind::HASH_LISTPACK => {
                let blob = reader.string()?;
                match listpack_count(&blob) {
                    Some(0) => Found::Empty,
                    Some(count) if count % 2 == 0 => Found::Value(Value::HashListpack(blob)),
                    _ => return Err(corrupt("Hash listpack integrity check failed.")),
                }
            }
            kind::HASH_ZIPLIST => {
                let pairs = legacy::ziplist_pairs(&reader.string()?);
                found_pairs(pairs, "Hash ziplist integrity check failed.")?
            }
            kind::HASH_ZIPMAP => {
                let pairs = legacy::zipmap_pairs(&reader.string()?);
                found_pairs(pairs, "Zipmap integrity check failed.")?
            }
            kind::HASH_TIMED | kind::HASH_TIMED_PRE_GA => {
                let first = match kind {
                    kind::HASH_TIMED => u64::from_le_bytes(reader.array()?),
                    _ => 1,
                };
                if first > MAX_TIME_MS {
                    return Err(corrupt("Hash read invalid minExpire value"));
                }
                match reader.length()? {
                    0 => Found::Empty,
                    left => Found::TimedPairs { left, first },
                }
            }
            kind::HASH_LISTPACK_TIMED | kind::HASH_LISTPACK_TIMED_PRE_GA => {
                if kind == kind::HASH_LISTPACK_TIMED {
                    reader.array::<8>()?;
                }
                let pairs = timed_pairs(reader.string()?)
                    .ok_or_else(|| corrupt("Hash listpack integrity check failed."))?;
                match pairs.is_empty() {
                    true => Found::Empty,
                    false => Found::Value(Value::HashTimed(pairs)),
                }
            }
            kind if list::in_parts(kind) => match reader.length()? {
                0 => Found::Empty,
                parts => Found::Parts(parts),
            },
            kind::LIST_ZIPLIST => {
                let parts = list::of_ziplist(&reader.string()?).map_err(corrupt)?;
                if parts.is_empty() {
                    Found::Empty
                } else {
                    Found::Value(Value::List(parts))
                }
            }
            kind::SET => match reader.length()? {
                0 => Found::Empty,
                members => Found::Elements(members),
            },
            kind::SET_INTSET => Found::Value(Value::SetIntset(reader.string()?)),
            kind::SET_LISTPACK => {
                let blob = reader.string()?;
                match listpack_count(&blob) {
                    Some(0) => Found::Empty,
                    Some(_) => Found::Value(Value::SetListpack(blob)),
                    None => return Err(corrupt("Set listpack integrity check failed.")),
                }
            }
            kind::STREAM | kind::STREAM_2 | kind::STREAM_3 => Found::Stream,
            kind::ZSET | kind::ZSET_2 => match reader.length()? {
                0 => Found::Empty,
                count => Found::Members {
                    count,
                    binary: kind == kind::ZSET_2,
                },
            },
            kind::ZSET_LISTPACK => {
                let blob = reader.string()?;
                match listpack_count(&blob) {
                    Some(0) => Found::Empty,
                    Some(count) if count % 2 == 0 => Found::Value(Value::ZSetListpack(blob)),
                    _ => return Err(corrupt("Zset listpack integrity check failed.")),
                }
            }
            kind::ZSET_ZIPLIST => match legacy::ziplist_members(&reader.string()?) {
                None => return Err(corrupt("Zset ziplist integrity check failed.")),
                Some(members) if members.is_empty() => Found::Empty,
                Some(members) => Found::Value(Value::ZSet(members)),
            },
            other => return Err(foreign_type(other)),
        };
        let read = reader.at;
        self.consume(read);
        Ok(found)
    }

    fn pair(&mut self) -> Step<(Vec<u8>, Vec<u8>)> {
        let mut reader = self.reader();
        let pair = (reader.string()?, reader.string()?);
        let read = reader.at;
        self.consume(read);
        Ok(pair)
    }

    fn timed_pair(&mut self, first: u64) -> Step<TimedPair> {
        let mut reader = self.reader();
        let time = match reader.length()? {
            0 => None,
            time => Some((time - 1).saturating_add(first)),
        };
        if time.is_some_and(|time| time > MAX_TIME_MS) {
            return Err(corrupt("invalid expireAt time"));
        }
        let pair = (reader.string()?, reader.string()?, time);
        let read = reader.at;
        self.consume(read);
        Ok(pair)
    }

    /// One piece of a list; nothing, if it has no elements.
    fn part(&mut self, kind: u8) -> Step<Option<ListPart>> {
        let mut reader = self.reader();
        let container = if kind == kind::LIST_QUICKLIST_2 {
            reader.length()?
        } else {
            0
        };
        if kind == kind::LIST_QUICKLIST_2 && !list::is_container(container) {
            return Err(corrupt(list::BAD_CONTAINER));
        }
        let part = list::part(kind, container, reader.string()?).map_err(corrupt)?;
        let read = reader.at;
        self.consume(read);
        Ok(part)
    }

    fn element(&mut self) -> Step<Vec<u8>> {
        let mut reader = self.reader();
        let element = reader.string()?;
        let read = reader.at;
        self.consume(read);
        Ok(element)
    }

    fn member(&mut self, binary: bool) -> Step<(Vec<u8>, f64)> {
        let mut reader = self.reader();
        let member = reader.string()?;
        let score = if binary {
            f64::from_le_bytes(reader.array()?)
        } else {
            match reader.byte()? {
                253 => f64::NAN,
                254 => f64::INFINITY,
                255 => f64::NEG_INFINITY,
                length => legacy::score(reader.take(u64::from(length))?)
                    .ok_or_else(|| corrupt("Invalid score"))?,
            }
        };
        if score.is_nan() {
            return Err(corrupt("Zset with NAN score detected"));
        }
        let read = reader.at;
        self.consume(read);
        Ok((member, score))
    }

    fn checksum(&mut self) -> Step<bool> {
        let found = u64::from_le_bytes(self.reader().array()?);
        let expected = self.digest.clone().finalize();
        let checked = self.verify && found != 0;
        if checked && found != expected {
            return Err(Stop::Bad(RdbErrorKind::Checksum { expected, found }));
        }
        self.consume(8);
        Ok(checked)
    }

    fn key_event(&mut self, key: Vec<u8>, value: Value) -> Event {
        let Meta {
            expire_ms,
            idle_s,
            frequency,
        } = mem::take(&mut self.meta);
        Event::Key {
            db: self.db,
            key,
            expire_ms,
            idle_s,
            frequency,
            value,
        }
    }

    fn available(&self) -> usize {
        self.buffer.len() - self.at
    }

    fn reader(&self) -> Reader<'_> {
        Reader {
            bytes: &self.buffer[self.at..],
            at: 0,
        }
    }

    fn consume(&mut self, count: usize) {
        if self.verify {
            self.digest.update(&self.buffer[self.at..self.at + count]);
        }
        self.at += count;
        self.offset += count as u64;
    }

    fn expected(&self) -> &'static str {
        match self.state {
            State::Header => "the signature and version",
            State::Item => "a key, an opcode or the end mark",
            State::Value { .. } | State::Large { .. } => "a value",
            State::Pairs { .. } | State::TimedPairs { .. } => "the fields of a hash",
            State::Parts { .. } => "the nodes of a list",
            State::Elements { .. } => "the elements of a collection",
            State::Stream { .. } => "the parts of a stream",
            State::Members { .. } => "the members of a sorted set",
            State::Checksum => "the checksum",
            State::Done => "nothing",
        }
    }
}

enum Found {
    Value(Value),
    Empty,
    /// A plain string of so many bytes follows.
    Large(u64),
    /// So many pairs follow.
    Pairs(u64),
    /// So many fields with values and times follow.
    TimedPairs {
        left: u64,
        first: u64,
    },
    /// So many pieces of a list follow.
    Parts(u64),
    /// So many strings follow.
    Elements(u64),
    /// A stream follows.
    Stream,
    /// So many members with scores follow.
    Members {
        count: u64,
        binary: bool,
    },
}

fn found_pairs(pairs: Option<legacy::Pairs>, damage: &'static str) -> Step<Found> {
    match pairs {
        None => Err(corrupt(damage)),
        Some(pairs) if pairs.is_empty() => Ok(Found::Empty),
        Some(pairs) => Ok(Found::Value(Value::Hash(pairs))),
    }
}

/// The entries of a listpack of field, value and time.
fn timed_pairs(blob: Vec<u8>) -> Option<Vec<TimedPair>> {
    let list = Listpack::from_bytes(blob).ok()?;
    let mut entries = list.iter();
    let mut pairs = Vec::new();
    while let Some(field) = entries.next() {
        let (value, time) = (entries.next()?, entries.next()?);
        let Entry::Int(time) = time else { return None };
        let time = u64::try_from(time)
            .ok()
            .filter(|time| *time <= MAX_TIME_MS)?;
        let time = (time > 0).then_some(time);
        pairs.push((field.text().to_vec(), value.text().to_vec(), time));
    }
    Some(pairs)
}

pub(super) fn corrupt(what: &'static str) -> Stop {
    Stop::Bad(RdbErrorKind::Corrupt(what))
}

fn unsupported(number: u8, name: &'static str) -> Stop {
    Stop::Bad(RdbErrorKind::Unsupported { number, name })
}

fn foreign_type(number: u8) -> Stop {
    let name = match number {
        6 | 7 => "module",
        _ => return Stop::Bad(RdbErrorKind::UnknownType(number)),
    };
    unsupported(number, name)
}

/// Redis keeps -1 for "never"; anything else before the epoch has long expired.
fn expiry(ms: i64) -> Option<u64> {
    (ms != -1).then(|| u64::try_from(ms).unwrap_or(0))
}

/// The number of entries of a listpack whose frame is right: `total:u32 LE count:u16 LE entries 0xFF`.
fn listpack_count(blob: &[u8]) -> Option<usize> {
    let mut head = blob;
    let total = u32::from_le_bytes(head.split_off(..4)?.try_into().ok()?);
    let count = u16::from_le_bytes(head.split_off(..2)?.try_into().ok()?);
    (total as usize == blob.len() && head.last() == Some(&0xFF) && count < u16::MAX)
        .then_some(usize::from(count))
}

/// The head of a string.
enum Text {
    Plain(u64),
    Int(i32),
    Lzf { packed: u64, plain: u64 },
}

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: u64) -> Step<&'a [u8]> {
        let end = self.at as u64 + count;
        if end > self.bytes.len() as u64 {
            return Err(Stop::More(end));
        }
        let piece = &self.bytes[self.at..end as usize];
        self.at = end as usize;
        Ok(piece)
    }

    fn byte(&mut self) -> Step<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    pub(super) fn length(&mut self) -> Step<u64> {
        let first = self.byte()?;
        self.length_after(first)?
            .ok_or_else(|| corrupt("Invalid length"))
    }

    /// The length that opens with `first`, or nothing if it opens a special string.
    fn length_after(&mut self, first: u8) -> Step<Option<u64>> {
        Ok(Some(match first >> 6 {
            0 => u64::from(first),
            1 => u64::from(first & 0x3F) << 8 | u64::from(self.byte()?),
            2 => match first {
                0x80 => u64::from(u32::from_be_bytes(self.array()?)),
                0x81 => u64::from_be_bytes(self.array()?),
                _ => return Err(corrupt("Unknown length encoding")),
            },
            _ => return Ok(None),
        }))
    }

    fn text(&mut self) -> Step<Text> {
        let first = self.byte()?;
        let text = match (self.length_after(first)?, first) {
            (Some(length), _) => Text::Plain(length),
            (None, special::INT8) => Text::Int(i32::from(self.byte()? as i8)),
            (None, special::INT16) => Text::Int(i32::from(i16::from_le_bytes(self.array()?))),
            (None, special::INT32) => Text::Int(i32::from_le_bytes(self.array()?)),
            (None, special::LZF) => Text::Lzf {
                packed: self.length()?,
                plain: self.length()?,
            },
            (None, _) => return Err(corrupt("Unknown RDB string encoding type")),
        };
        match text {
            Text::Plain(length) | Text::Lzf { packed: length, .. } if length > MAX_STRING => {
                Err(corrupt("Impossible string length"))
            }
            text => Ok(text),
        }
    }

    fn resolve(&mut self, text: Text) -> Step<Vec<u8>> {
        match text {
            Text::Plain(length) => Ok(self.take(length)?.to_vec()),
            Text::Int(number) => Ok(format!("{number}").into_bytes()),
            Text::Lzf { packed, plain } => {
                let plain =
                    usize::try_from(plain).map_err(|_| corrupt("Invalid LZF compressed string"))?;
                lzf::decompress(self.take(packed)?, plain)
                    .ok_or_else(|| corrupt("Invalid LZF compressed string"))
            }
        }
    }

    pub(super) fn string(&mut self) -> Step<Vec<u8>> {
        let text = self.text()?;
        self.resolve(text)
    }
}
