//! The bodies of the fuzz targets: bytes of any origin go through each decoder, and through a whole
//! engine, and what must hold for all bytes is asserted.
//!
//! They live here so that a change of the code they use breaks them at once. `fuzz/` calls each in one
//! line; the tests below run them on random bytes and on mutated seeds wherever `cargo test` runs.

mod text;
mod value;

pub use text::{config, glob, libraries};
pub use value::value;

use crate::acl::Acl;
use crate::cluster::{bus, conf};
use crate::config::Config;
use crate::persistence::aof_reader::{CommandReader, Next};
use crate::persistence::manifest::Manifest;
use crate::rdb::{self, Decoder, Event};
use crate::resp::{self, Decoded, Limits, Partial};
use crate::{Address, ConnId, DiskError, DiskErrorKind, DiskReply, DiskRequest, Effect, Engine};
use crate::{Input, Listener, Now, OpenMode};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddr};

/// Rules of access, as lines of a file and as words: whatever they are, a user that they make is described by
/// rules that make the same user, and the file that holds it can be read.
pub fn acl(data: &[u8]) {
    let mut acl = Acl::new(crate::command::catalogue(), false);
    let before = acl.text();
    if acl.load(data, "users.acl").is_err() {
        assert_eq!(acl.text(), before);
    }
    for line in data.split(|&byte| byte == b'\n').take(64) {
        // Parentheses and quotes within patterns are beyond what a line can say.
        let words: Vec<&[u8]> = (line.split(|&byte| byte == b' '))
            .filter(|word| {
                !word
                    .iter()
                    .any(|byte| b"()\"'\\\t\r\x0b\x0c".contains(byte))
            })
            .collect();
        let _ = acl.set(
            b"anybody",
            &line.split(|&byte| byte == b' ').collect::<Vec<_>>(),
        );
        let _ = acl.set(b"somebody", &words);
        let selector = [b"(", &words.join(&b' ')[..], b")"].concat();
        let _ = acl.set(b"somebody", &[&selector]);
    }
    let Some(user) = acl.find(b"somebody").and_then(|id| acl.user(id)) else {
        return;
    };
    let line = user.describe(acl.catalogue());
    let mut again = Acl::new(acl.catalogue().clone(), false);
    let text = [b"user somebody ", &line[..], b"\n"].concat();
    again
        .load(&text, "users.acl")
        .expect("what was described can be read");
    let user = again.find(b"somebody").and_then(|id| again.user(id));
    assert_eq!(
        user.map(|user| user.describe(again.catalogue())),
        Some(line)
    );
}

/// Requests: however the bytes are cut, the same requests come out, and every argument lies within them.
pub fn resp(data: &[u8]) {
    // Beyond this, a line may be refused for its length before its end has come.
    let data = &data[..data.len().min(resp::INLINE_MAX / 2)];
    for unauthenticated in [false, true] {
        let limits = Limits {
            bulk: 512 << 20,
            unauthenticated,
        };
        let whole = requests(data, data.len().max(1), &limits);
        for step in [1, 7, 64] {
            assert_eq!(requests(data, step, &limits), whole, "in pieces of {step}");
        }
    }
}

#[derive(Debug, PartialEq)]
enum Request {
    Command(Vec<Vec<u8>>),
    Inline(Option<Vec<Vec<u8>>>),
    Broken(resp::ProtocolError),
}

fn requests(data: &[u8], step: usize, limits: &Limits) -> Vec<Request> {
    let (mut found, mut start, mut end) = (Vec::new(), 0, 0);
    let (mut partial, mut args) = (Partial::default(), Vec::new());
    while end < data.len() {
        end = (end + step).min(data.len());
        loop {
            let rest = &data[start..end];
            let taken = match resp::decode(rest, &mut partial, &mut args, limits) {
                Ok(Decoded::Incomplete) => break,
                Ok(Decoded::Command { len, .. }) => {
                    found.push(Request::Command(
                        args.iter().map(|arg| arg.of(rest).to_vec()).collect(),
                    ));
                    len
                }
                Ok(Decoded::Inline { len, line }) => {
                    found.push(Request::Inline(resp::split_words(&rest[..line])));
                    len
                }
                Ok(Decoded::Empty { len }) => len,
                Err(error) => {
                    found.push(Request::Broken(error));
                    return found;
                }
            };
            assert!(taken > 0, "nothing was taken");
            start += taken;
            partial = Partial::default();
            args.clear();
        }
    }
    found
}

/// Snapshots and DUMP payloads: however the bytes are cut, the same events and the same error.
pub fn rdb(data: &[u8]) {
    let whole = events(data, data.len().max(1));
    for step in [1, 13] {
        assert_eq!(events(data, step), whole, "in pieces of {step}");
    }
    let _ = rdb::dump::restore(data);
    // Behind a footer that asks for no check, so that the value itself is reached.
    let mut payload = data.to_vec();
    payload.extend_from_slice(&[11, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let _ = rdb::dump::restore(&payload);
    let _ = rdb::lzf::decompress(data, data.len() * 4);
}

fn events(data: &[u8], step: usize) -> (Vec<Event>, Option<rdb::RdbErrorKind>) {
    let mut decoder = Decoder::new(Some(data.len() as u64), false);
    let mut found = Vec::new();
    for piece in data.chunks(step) {
        decoder.feed(piece);
        loop {
            match decoder.next_event() {
                Ok(Event::NeedMore) => break,
                Ok(event) => found.push(event),
                Err(error) => return (found, Some(error.kind)),
            }
        }
    }
    let error = (!decoder.is_done()).then(|| decoder.cut_short().kind);
    (found, error)
}

/// Append-only files and their manifests: the same commands however the bytes are cut; a manifest that
/// is accepted is accepted again after it was written.
pub fn aof(data: &[u8]) {
    let whole = commands(data, data.len().max(1));
    for step in [1, 13] {
        assert_eq!(commands(data, step), whole, "in pieces of {step}");
    }
    if let Ok(manifest) = Manifest::parse(data) {
        let text = manifest.format();
        // A name of many odd bytes may be read, but its quoted form be too long a line.
        let fits = text.lines().all(|line| line.len() < 1000);
        if fits && !manifest.is_empty() {
            let again = Manifest::parse(text.as_bytes());
            assert_eq!(again.map(|again| again.format()), Ok(text));
        }
    }
}

fn commands(data: &[u8], step: usize) -> (Vec<Vec<Vec<u8>>>, Next, u64) {
    let mut reader = CommandReader::new(0, data.len() as u64);
    let mut found = Vec::new();
    for piece in data.chunks(step) {
        reader.feed(piece);
        loop {
            match reader.next_command() {
                Next::Command(command) => found.push(command),
                Next::Note(_) => {}
                Next::NeedMore => break,
                end => return (found, end, reader.offset()),
            }
        }
    }
    assert!(reader.offset() <= data.len() as u64);
    (found, Next::NeedMore, reader.offset())
}

/// Packets of the cluster bus: one that is understood is the same after it was sent on. A node's file:
/// one that is accepted has no second reading.
pub fn bus(data: &[u8]) {
    if let Ok(packet) = bus::decode(data) {
        let bytes = bus::encode(&packet);
        assert_eq!(bus::decode(&bytes).as_ref(), Ok(&packet));
    }
    // The length in the header is set right, so that what is behind it is reached.
    if data.len() >= 8 {
        let mut framed = data.to_vec();
        framed[..4].copy_from_slice(b"RCmb");
        framed[4..8].copy_from_slice(&(data.len() as u32).to_be_bytes());
        if let Ok(packet) = bus::decode(&framed) {
            assert_eq!(bus::decode(&bus::encode(&packet)).as_ref(), Ok(&packet));
        }
    }
    if let Ok(text) = core::str::from_utf8(data) {
        let _ = conf::parse(text);
    }
}

/// A whole engine with two clients who send the bytes in turns, in pieces whose sizes the bytes give.
pub fn session(data: &[u8]) {
    converse(data);
}

/// What the clients of a [`session`] were answered, in bytes.
fn converse(data: &[u8]) -> usize {
    let config = Config {
        // No value that would be refused elsewhere for want of memory.
        proto_max_bulk_len: 1 << 20,
        ..Config::default()
    };
    let mut now = Now {
        mono_us: 1_000_000,
        unix_us: 1_700_000_000_000_000,
    };
    let mut world = World {
        engine: Engine::new(config, [7; 32], now),
        over: false,
        answered: 0,
        closed: Vec::new(),
    };
    world.settle(now);
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 6379));
    let conns = [ConnId::accepted(0, 1), ConnId::accepted(1, 1)];
    for conn in conns {
        let peer = Address::Ip(SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)));
        world.engine.handle(
            now,
            Input::Accepted {
                conn,
                listener: Listener::Tcp,
                peer,
                local: Address::Ip(local),
            },
        );
        world.settle(now);
    }
    let mut rest = data;
    while let Some((&control, bytes)) = rest.split_first() {
        let (piece, after) = bytes.split_at((usize::from(control >> 1) * 4).min(bytes.len()));
        rest = after;
        let conn = conns[usize::from(control & 1)];
        if !world.closed.contains(&conn) {
            let reads = [(conn, piece)];
            let mut turn = world.engine.receive(&reads);
            while turn.step(now) {}
        }
        now.mono_us += 700 * u64::from(control);
        now.unix_us += 700 * u64::from(control);
        world.settle(now);
        world.engine.handle(now, Input::Tick);
        world.settle(now);
        if world.over {
            break;
        }
    }
    world.engine.invariants();
    world.answered
}

/// An engine on a machine with an empty disk and no network.
struct World {
    engine: Engine,
    over: bool,
    answered: usize,
    closed: Vec<ConnId>,
}

impl World {
    fn settle(&mut self, now: Now) {
        loop {
            let mut idle = true;
            while let Some(effect) = self.engine.poll_effect() {
                idle = false;
                match effect {
                    Effect::Close { conn } => self.closed.push(conn),
                    Effect::Connect { conn, .. } => {
                        self.engine.handle(
                            now,
                            Input::Closed {
                                conn,
                                reason: String::from("Connection refused"),
                            },
                        );
                    }
                    Effect::Disk { op, request } => {
                        self.engine.handle(
                            now,
                            Input::Disk {
                                op,
                                result: answer(&request),
                            },
                        );
                    }
                    Effect::Exit { .. } => self.over = true,
                    Effect::Reconfigured { .. } => {
                        let refused = None;
                        self.engine.handle(now, Input::Reconfigured { refused });
                    }
                    Effect::Log { .. }
                    | Effect::Role(_)
                    | Effect::Delay { .. }
                    | Effect::Purge
                    | Effect::Status(_)
                    | Effect::Crash(_) => {}
                }
            }
            while let Some(conn) = self.engine.poll_output() {
                idle = false;
                let bytes: usize = self.engine.output(conn).map(<[u8]>::len).sum();
                self.answered += bytes;
                self.engine.sent(conn, bytes);
            }
            if idle || self.over {
                return;
            }
        }
    }
}

fn answer(request: &DiskRequest) -> Result<DiskReply, DiskError> {
    match request {
        DiskRequest::Open {
            mode: OpenMode::Read,
            ..
        }
        | DiskRequest::List { .. } => Err(DiskError {
            kind: DiskErrorKind::NotFound,
            written: 0,
            message: String::from("No such file or directory"),
        }),
        DiskRequest::Open { .. } => Ok(DiskReply::Opened { len: 0 }),
        DiskRequest::Read { .. } => Ok(DiskReply::Data(Vec::new())),
        _ => Ok(DiskReply::Done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const SEEDS: &[(&str, &[u8])] = &[
        ("acl", include_bytes!("../../fuzz/seeds/acl/rules")),
        ("aof", include_bytes!("../../fuzz/seeds/aof/commands")),
        ("aof", include_bytes!("../../fuzz/seeds/aof/manifest")),
        ("bus", include_bytes!("../../fuzz/seeds/bus/conf")),
        ("bus", include_bytes!("../../fuzz/seeds/bus/ping")),
        ("config", include_bytes!("../../fuzz/seeds/config/text")),
        ("glob", include_bytes!("../../fuzz/seeds/glob/brackets")),
        ("glob", include_bytes!("../../fuzz/seeds/glob/stars")),
        (
            "libraries",
            include_bytes!("../../fuzz/seeds/libraries/json"),
        ),
        (
            "libraries",
            include_bytes!("../../fuzz/seeds/libraries/msgpack"),
        ),
        (
            "libraries",
            include_bytes!("../../fuzz/seeds/libraries/struct"),
        ),
        ("rdb", include_bytes!("../../fuzz/seeds/rdb/hashes")),
        ("rdb", include_bytes!("../../fuzz/seeds/rdb/strings")),
        ("resp", include_bytes!("../../fuzz/seeds/resp/inline")),
        ("resp", include_bytes!("../../fuzz/seeds/resp/pipeline")),
        (
            "session",
            include_bytes!("../../fuzz/seeds/session/commands"),
        ),
        (
            "value",
            include_bytes!("../../fuzz/seeds/value/hyperloglog"),
        ),
        ("value", include_bytes!("../../fuzz/seeds/value/intset")),
        ("value", include_bytes!("../../fuzz/seeds/value/set")),
        ("value", include_bytes!("../../fuzz/seeds/value/stream")),
        ("value", include_bytes!("../../fuzz/seeds/value/times")),
    ];

    fn run(target: &str, data: &[u8]) {
        match target {
            "acl" => acl(data),
            "aof" => aof(data),
            "bus" => bus(data),
            "config" => config(data),
            "glob" => glob(data),
            "libraries" => libraries(data),
            "rdb" => rdb(data),
            "resp" => resp(data),
            "value" => value(data),
            _ => session(data),
        }
    }

    #[test]
    fn seeds_pass_and_mean_something() {
        for (target, data) in SEEDS {
            run(target, data);
        }
        fn of(name: &'static str) -> impl Iterator<Item = &'static [u8]> {
            SEEDS
                .iter()
                .filter(move |(target, _)| *target == name)
                .map(|(_, data)| *data)
        }
        assert!(of("aof").any(|data| commands(data, 64).0.len() > 3));
        assert!(
            of("aof").any(|data| Manifest::parse(data).is_ok_and(|manifest| !manifest.is_empty()))
        );
        assert!(of("bus").any(|data| bus::decode(data).is_ok()));
        assert!(
            of("bus")
                .any(|data| core::str::from_utf8(data).is_ok_and(|text| conf::parse(text).is_ok()))
        );
        assert!(of("rdb").all(|data| matches!(events(data, 64).0.last(), Some(Event::End { .. }))));
        let limits = Limits {
            bulk: 512 << 20,
            unauthenticated: false,
        };
        assert!(of("session").all(|data| converse(data) > 500));
        assert!(of("session").all(|data| converse(data) > 500));
        assert!(of("resp").all(|data| requests(data, 64, &limits).len() > 3));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_bytes(data in vec(any::<u8>(), 0..600)) {
            let targets = [
                "acl", "aof", "bus", "config", "glob", "libraries", "rdb", "resp", "session", "value",
            ];
            for target in targets {
                run(target, &data);
            }
        }

        /// A seed with some bytes changed, cut out or doubled.
        #[test]
        fn mutated_seeds(seed in 0..SEEDS.len(), edits in vec((any::<u16>(), any::<u8>(), 0..4u8), 1..6)) {
            let (target, data) = SEEDS[seed];
            let mut data = data.to_vec();
            for (at, byte, kind) in edits {
                if data.is_empty() {
                    break;
                }
                let at = usize::from(at) % data.len();
                let end = (at + usize::from(byte)).min(data.len());
                match kind {
                    0 => data[at] = byte,
                    1 => data[at] ^= 1 << (byte % 8),
                    2 => drop(data.drain(at..end)),
                    _ => {
                        let piece = data[at..end].to_vec();
                        data.splice(at..at, piece);
                    }
                }
            }
            run(target, &data);
        }
    }
}
