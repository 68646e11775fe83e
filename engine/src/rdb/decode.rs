//! Reading a snapshot in pieces, as they come from a file or a replication link.
//!
//! The decoder keeps the bytes of one unfinished string and no more: large collections arrive pair by
//! pair, large strings are moved, or decompressed, to their final place as they arrive, and nothing is allocated in
//! proportion to a length before that many bytes are there. It is total: any input gives events, a wish
//! for more, or one error with its place in the file; never a panic.

mod plain;

pub use plain::{PLAIN_KEYS, Plain, PlainValue};

use super::event::{Event, RdbError, RdbErrorKind, TimedPair, Value};
use super::gather::Gathered;
use super::lzf::{self, Unpacking};
use super::reader::{Reader, Step, Stop, Text, corrupt};
use super::stream::Builder;
use super::{CRC, Origin, kind, legacy, list, op};
use crate::value::hash::MAX_TIME_MS;
use crate::value::listpack::{Entry, Listpack};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

/// Bytes of a key in a snapshot, at least: its type, and an empty key and value.
const SMALLEST_KEY: u64 = 3;

/// Room that a large string gets before its bytes are there.
const AT_ONCE: usize = 128 << 20;

/// Strings from this length are moved out of the buffer, or decompressed, as they arrive.
const LARGE: u64 = 64 << 10;

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
    /// Of all bytes before `buffer[summed]`: it is brought up to date for many items at once.
    digest: crc::Digest<'static, u64, crc::Table<16>>,
    summed: usize,
    version: u32,
    origin: Origin,
    state: State,
    db: u32,
    meta: Meta,
    failed: Option<RdbError>,
    /// Large collections are given part by part.
    in_parts: bool,
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
    /// A compressed string value of which `left` compressed bytes are to come.
    Packed {
        key: Vec<u8>,
        unpacking: Unpacking,
        left: u64,
    },
    /// A collection of which `left` elements are to come.
    Gather {
        key: Vec<u8>,
        gathered: Gathered,
        left: u64,
    },
    Stream {
        key: Vec<u8>,
        builder: Box<Builder>,
    },
    Checksum,
    Done,
}

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
            summed: 0,
            version: 0,
            origin: Origin::Redis,
            state: State::Header,
            db: 0,
            meta: Meta::default(),
            failed: None,
            in_parts: false,
        }
    }

    /// The same, but that it gives large collections part by part, as they arrive.
    pub fn in_parts(self) -> Decoder {
        Decoder {
            in_parts: true,
            ..self
        }
    }

    /// Reads a snapshot's items without its header and end.
    pub(super) fn items(payload: &[u8]) -> Decoder {
        let mut decoder = Decoder::new(Some(payload.len() as u64), false);
        decoder.feed(payload);
        decoder.state = State::Item;
        decoder
    }

    /// A decoder for one value without key or end, as in a DUMP payload by a server of `origin`.
    pub(super) fn object(payload: &[u8], origin: Origin) -> Decoder {
        let mut decoder = Decoder::new(Some(payload.len() as u64), false);
        decoder.origin = origin;
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
            self.sum_up();
            self.buffer.drain(..self.at);
            (self.at, self.summed) = (0, 0);
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
        self.summed = 0;
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
                Ok(Found::Value(value)) => Ok(Some(self.found(key, value))),
                Ok(Found::Large(left)) => {
                    self.state = State::Large {
                        key,
                        text: Vec::new(),
                        left,
                    };
                    Ok(None)
                }
                Ok(Found::Packed(unpacking, left)) => {
                    self.state = State::Packed {
                        key,
                        unpacking,
                        left,
                    };
                    Ok(None)
                }
                Ok(Found::Gather(gathered, left)) => {
                    self.state = State::Gather {
                        key,
                        gathered,
                        left,
                    };
                    Ok(None)
                }
                Ok(Found::Stream) => {
                    let builder = Box::new(Builder::new(kind));
                    self.state = State::Stream { key, builder };
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
                // Doubling, but never beyond the end: the last growth fits exactly. Moving what is there takes long: a
                // string of usual size gets its room at once, which costs nothing before it is used.
                if text.capacity() - text.len() < here {
                    let all = left.saturating_add(here as u64);
                    let end = (self.total).map_or(u64::MAX, |total| total - self.offset.min(total));
                    let most = usize::try_from(all.min(end.max(here as u64))).unwrap_or(usize::MAX);
                    text.reserve_exact(most.min(here.max(text.len()).max(AT_ONCE)));
                }
                text.extend_from_slice(&self.buffer[self.at..self.at + here]);
                self.consume(here);
                if left == 0 {
                    return Ok(Some(self.key_event(key, Value::Str(text))));
                }
                self.state = State::Large { key, text, left };
                Err(Stop::More(1))
            }
            State::Packed {
                key,
                mut unpacking,
                left,
            } => {
                let damaged = || corrupt("Invalid LZF compressed string");
                let here = self
                    .available()
                    .min(usize::try_from(left).unwrap_or(usize::MAX));
                if unpacking.is_empty() {
                    let end = (self.total).map_or(u64::MAX, |total| total - self.offset.min(total));
                    let most = left.min(end).saturating_mul(lzf::MAX_RATIO as u64);
                    unpacking.reserve(most.min(AT_ONCE as u64) as usize);
                }
                let used = unpacking
                    .step(&self.buffer[self.at..self.at + here])
                    .ok_or_else(damaged)?;
                self.consume(used);
                let left = left - used as u64;
                if left == 0 {
                    let text = unpacking.into_plain().ok_or_else(damaged)?;
                    return Ok(Some(self.key_event(key, Value::Str(text))));
                }
                let unused = here as u64 - used as u64;
                if unused == left {
                    return Err(damaged());
                }
                self.state = State::Packed {
                    key,
                    unpacking,
                    left,
                };
                Err(Stop::More(unused + 1))
            }
            State::Gather {
                key,
                mut gathered,
                mut left,
            } => {
                // All that are here, so that a large collection does not move in and out for each.
                let mut reader = self.reader();
                let mut read = 0;
                let stop = loop {
                    if left == 0 {
                        break None;
                    }
                    if self.in_parts && gathered.is_part() {
                        let value = gathered.take_part();
                        self.consume(read);
                        self.state = State::Gather {
                            key,
                            gathered,
                            left,
                        };
                        return Ok(Some(Event::Part { value, left }));
                    }
                    match gathered.one(&mut reader) {
                        Ok(()) => read = reader.at,
                        Err(stop) => break Some(stop),
                    }
                    left -= 1;
                };
                self.consume(read);
                let Some(stop) = stop else {
                    return Ok(Some(self.found(key, gathered.value())));
                };
                let stop = stop.after(read);
                self.state = State::Gather {
                    key,
                    gathered,
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
        let starts = |magic: &[u8]| {
            let common = reader.bytes.len().min(magic.len());
            reader.bytes[..common] == magic[..common]
        };
        let (origin, magic) = match () {
            () if starts(Origin::Redis.magic()) => (Origin::Redis, Origin::Redis.magic()),
            () if starts(Origin::Valkey.magic()) => (Origin::Valkey, Origin::Valkey.magic()),
            () => return Err(Stop::Bad(RdbErrorKind::Signature)),
        };
        if reader.bytes.len() < 9 {
            return Err(Stop::More(reader.bytes.len() as u64 + 1));
        }
        let head = reader.take(9)?;
        let mut version = 0;
        for digit in &head[magic.len()..] {
            if !digit.is_ascii_digit() {
                return Err(Stop::Bad(RdbErrorKind::Version(version)));
            }
            version = version * 10 + u32::from(digit - b'0');
        }
        if Origin::of_version(version) != Some(origin) {
            return Err(Stop::Bad(RdbErrorKind::Version(version)));
        }
        (self.version, self.origin) = (version, origin);
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
                let left = self
                    .total
                    .map_or(u64::MAX, |total| total - self.offset.min(total));
                let most = left / SMALLEST_KEY;
                event = Some(Event::ResizeDb {
                    db,
                    keys: reader.length()?.min(most),
                    expires: reader.length()?.min(most),
                })
            }
            op::AUX => {
                event = Some(Event::Aux {
                    name: reader.string()?,
                    value: reader.string()?,
                })
            }
            op::FUNCTION => event = Some(Event::Function(reader.string()?)),
            op::SLOT_INFO => {
                // Which slot the next keys belong to, how many they are, how many of them expire: hints.
                for _ in 0..3 {
                    reader.length()?;
                }
            }
            op::FUNCTION_PRE_GA => return Err(unsupported(code, "pre-release function")),
            op::MODULE_AUX => {
                let module = reader.length()?;
                // When it is to be loaded, as an opcode and a number: of no use without the module.
                reader.length()?;
                reader.length()?;
                reader.module_data()?;
                event = Some(Event::ModuleAux {
                    module: super::module_name(module),
                });
            }
            code if kind::is_known(code) => {
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
                Text::Int(number) => Found::Value(Some(Value::Int(i64::from(number)))),
                Text::Plain(length) if length >= LARGE => Found::Large(length),
                Text::Lzf { packed, plain } if plain >= LARGE => {
                    let unpacking = Unpacking::new(packed, plain)
                        .ok_or_else(|| corrupt("Invalid LZF compressed string"))?;
                    Found::Packed(unpacking, packed)
                }
                text => Found::Value(Some(Value::Str(reader.resolve(text)?))),
            },
            kind::HASH_LISTPACK => {
                let value = listpack(reader.string()?, 2, Value::HashListpack);
                whole(value, "Hash listpack integrity check failed.")?
            }
            kind::HASH_ZIPLIST => {
                let pairs = legacy::ziplist_pairs(&reader.string()?);
                let value = pairs.map(|pairs| Gathered::Pairs(pairs).value());
                whole(value, "Hash ziplist integrity check failed.")?
            }
            kind::HASH_ZIPMAP => {
                let pairs = legacy::zipmap_pairs(&reader.string()?);
                let value = pairs.map(|pairs| Gathered::Pairs(pairs).value());
                whole(value, "Zipmap integrity check failed.")?
            }
            kind::HASH_LISTPACK_TIMED | kind::HASH_LISTPACK_TIMED_PRE_GA => {
                if kind == kind::HASH_LISTPACK_TIMED {
                    reader.array::<8>()?;
                }
                let pairs = timed_pairs(reader.string()?);
                let value =
                    pairs.map(|pairs| (!pairs.is_empty()).then_some(Value::HashTimed(pairs)));
                whole(value, "Hash listpack integrity check failed.")?
            }
            kind::LIST_ZIPLIST => {
                let parts = list::of_ziplist(&reader.string()?).map_err(corrupt)?;
                Found::Value((!parts.is_empty()).then_some(Value::List(parts)))
            }
            kind::SET_INTSET => Found::Value(Some(Value::SetIntset(reader.string()?))),
            kind::SET_LISTPACK => {
                let value = listpack(reader.string()?, 1, Value::SetListpack);
                whole(value, "Set listpack integrity check failed.")?
            }
            kind::STREAM | kind::STREAM_2 | kind::STREAM_3 => Found::Stream,
            kind::ZSET_LISTPACK => {
                let value = listpack(reader.string()?, 2, Value::ZSetListpack);
                whole(value, "Zset listpack integrity check failed.")?
            }
            kind::ZSET_ZIPLIST => {
                let members = legacy::ziplist_members(&reader.string()?);
                let value =
                    members.map(|members| (!members.is_empty()).then_some(Value::ZSet(members)));
                whole(value, "Zset ziplist integrity check failed.")?
            }
            kind => {
                let gathered = Gathered::begin(kind, self.origin, &mut reader)?
                    .ok_or_else(|| foreign_type(kind))?;
                match reader.length()? {
                    0 => Found::Value(None),
                    left => Found::Gather(gathered, left),
                }
            }
        };
        let read = reader.at;
        self.consume(read);
        Ok(found)
    }

    fn checksum(&mut self) -> Step<bool> {
        let found = u64::from_le_bytes(self.reader().array()?);
        self.sum_up();
        let expected = self.digest.clone().finalize();
        let checked = self.verify && found != 0;
        if checked && found != expected {
            return Err(Stop::Bad(RdbErrorKind::Checksum { expected, found }));
        }
        self.consume(8);
        Ok(checked)
    }

    /// The event of a key with `value`, or of one without elements.
    fn found(&mut self, key: Vec<u8>, value: Option<Value>) -> Event {
        match value {
            Some(value) => self.key_event(key, value),
            None => {
                self.meta = Meta::default();
                Event::EmptyKey { key }
            }
        }
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
        self.at += count;
        self.offset += count as u64;
    }

    /// Takes what was consumed into the checksum.
    fn sum_up(&mut self) {
        if self.verify {
            self.digest.update(&self.buffer[self.summed..self.at]);
        }
        self.summed = self.at;
    }

    /// The key whose value is being read.
    pub fn key_under_way(&self) -> Option<&[u8]> {
        match &self.state {
            State::Value { key, .. }
            | State::Large { key, .. }
            | State::Packed { key, .. }
            | State::Gather { key, .. }
            | State::Stream { key, .. } => Some(key),
            State::Header | State::Item | State::Checksum | State::Done => None,
        }
    }

    /// What stands, or should stand, behind what was read, in words.
    pub fn expected(&self) -> &'static str {
        match self.state {
            State::Header => "the signature and version",
            State::Item => "a key, an opcode or the end mark",
            State::Value { .. } | State::Large { .. } | State::Packed { .. } => "a value",
            State::Gather { ref gathered, .. } => gathered.expected(),
            State::Stream { .. } => "the parts of a stream",
            State::Checksum => "the checksum",
            State::Done => "nothing",
        }
    }
}

/// What stands where a value is expected.
enum Found {
    /// The whole value; nothing, if it is a collection without elements.
    Value(Option<Value>),
    /// A plain string of so many bytes follows.
    Large(u64),
    /// A compressed string of so many bytes follows.
    Packed(Unpacking, u64),
    /// A collection of so many elements follows.
    Gather(Gathered, u64),
    /// A stream follows.
    Stream,
}

/// A collection kept as one blob: `damage` says what it is if it is not that.
fn whole(value: Option<Option<Value>>, damage: &'static str) -> Step<Found> {
    value.map(Found::Value).ok_or_else(|| corrupt(damage))
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

/// A collection kept as a listpack of groups of `each` entries whose frame is right; nothing inside, if it has no
/// entries. `total:u32 LE count:u16 LE entries 0xFF`
fn listpack(blob: Vec<u8>, each: usize, value: fn(Vec<u8>) -> Value) -> Option<Option<Value>> {
    let mut head = &blob[..];
    let total = u32::from_le_bytes(head.split_off(..4)?.try_into().ok()?);
    let count = u16::from_le_bytes(head.split_off(..2)?.try_into().ok()?);
    // As many or more must be counted by who takes them apart.
    let many = count == u16::MAX;
    let sound = total as usize == blob.len()
        && head.last() == Some(&0xFF)
        && (many || usize::from(count).is_multiple_of(each));
    let holds_some = count > 0 && head.len() > 1;
    sound.then(|| holds_some.then(|| value(blob)))
}
