//! For tests of commands: an engine with one connection, commands as text, replies as text; and files
//! of answers recorded from a real Redis (see `golden/record.py`).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

use super::context::condition;
use super::effects::encode;
use crate::config::{Config, ProtectedAction};
use crate::face::{
    Address, ConnId, DiskError, DiskErrorKind, DiskReply, DiskRequest, Effect, FileId, Input,
    Listener, Now, OpenMode,
};
use crate::{Engine, resp};

/// The time at which [`run`] runs its commands.
pub const NOW: Now = Now {
    mono_us: 1_000_000_000,
    unix_us: 1_700_000_000_000_000,
};

/// The connection of [`run`].
pub fn conn() -> ConnId {
    ConnId::accepted(0, 0)
}

/// An engine with the default configuration, and one client.
pub fn engine() -> Engine {
    engine_with(Config::default())
}

/// The same with another configuration.
pub fn engine_with(config: Config) -> Engine {
    let mut engine = Engine::new(config, [7; 32], NOW);
    let ip = || Address::Ip(([127, 0, 0, 1], 6379).into());
    engine.handle(
        NOW,
        Input::Accepted {
            conn: conn(),
            listener: Listener::Tcp,
            peer: ip(),
            local: ip(),
        },
    );
    settle(&mut engine);
    engine
}

/// Answers what the engine wants of the disk until it wants no more. The disk is empty at first, and
/// forgets all afterwards.
fn settle(engine: &mut Engine) {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut open: BTreeMap<FileId, String> = BTreeMap::new();
    loop {
        let Some(effect) = engine.poll_effect() else {
            // A long load goes on without the disk.
            if engine.parts.is(condition::LOADING) && engine.deadline() == Some(0) {
                engine.handle(NOW, Input::Tick);
                continue;
            }
            return;
        };
        if let Effect::Reconfigured { .. } = effect {
            engine.handle(NOW, Input::Reconfigured { refused: None });
        }
        let Effect::Disk { op, request } = effect else {
            continue;
        };
        let missing = DiskError {
            kind: DiskErrorKind::NotFound,
            written: 0,
            message: "No such file or directory".into(),
        };
        let result = match request {
            DiskRequest::Open {
                mode: OpenMode::Read,
                path,
                ..
            } if !files.contains_key(&path) => Err(missing),
            DiskRequest::Open { file, path, mode } => {
                let content = files.entry(path.clone()).or_default();
                if mode == OpenMode::Create {
                    content.clear();
                }
                let len = content.len() as u64;
                open.insert(file, path);
                Ok(DiskReply::Opened { len })
            }
            DiskRequest::List { .. } => Ok(DiskReply::Names(Vec::new())),
            DiskRequest::Read { file, offset, len } => {
                let rest = &files[&open[&file]][offset as usize..];
                Ok(DiskReply::Data(rest[..rest.len().min(len as usize)].into()))
            }
            DiskRequest::Write { file, data } => {
                // (The append-only file of another call is forgotten.)
                if let Some(content) = open.get(&file).and_then(|path| files.get_mut(path)) {
                    data.iter()
                        .for_each(|piece| content.extend_from_slice(piece));
                }
                Ok(DiskReply::Done)
            }
            DiskRequest::Rename { from, to } => {
                let content = files.remove(&from).unwrap_or_default();
                files.insert(to, content);
                Ok(DiskReply::Done)
            }
            _ => Ok(DiskReply::Done),
        };
        engine.handle(NOW, Input::Disk { op, result });
    }
}

/// Carries out a command (words with quotes as `redis-cli` reads them) and shows the reply: RESP, with
/// line ends as blanks and other odd bytes escaped.
pub fn run(engine: &mut Engine, command: &str) -> String {
    run_at(engine, NOW, command)
}

/// The same at another time.
pub fn run_at(engine: &mut Engine, now: Now, command: &str) -> String {
    run_and_journal(engine, now, command).0
}

/// The same, also with the commands that it left in the journal.
pub fn run_and_journal(engine: &mut Engine, now: Now, command: &str) -> (String, Vec<String>) {
    let words = resp::split_words(command.as_bytes()).unwrap();
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    let mut request = Vec::new();
    encode(&mut request, &words);
    // As if a replica read it.
    engine.parts.effects.wanted = true;
    let from = engine.parts.journal.end();
    let reads = [(conn(), &request[..])];
    let mut turn = engine.receive(&reads);
    while turn.step(now) {}
    drop(turn);
    // Before the engine finds out that nobody needs it.
    let effects = journalled(engine, from);
    settle(engine);
    while engine.poll_output().is_some() {}
    let reply: Vec<u8> = engine.output(conn()).flatten().copied().collect();
    engine.sent(conn(), reply.len());
    (shown(&reply), effects)
}

/// So many milliseconds after [`NOW`].
pub fn after_ms(ms: u64) -> Now {
    Now {
        mono_us: NOW.mono_us + ms * 1000,
        unix_us: NOW.unix_us + ms * 1000,
    }
}

/// Another client.
pub fn join(engine: &mut Engine, n: u32) -> ConnId {
    let conn = ConnId::accepted(n, 0);
    let ip = |port| Address::Ip(([127, 0, 0, 1], port).into());
    engine.handle(
        NOW,
        Input::Accepted {
            conn,
            listener: Listener::Tcp,
            peer: ip(50_000 + n as u16),
            local: ip(6379),
        },
    );
    conn
}

/// Sends a command; says what comes back at once. Disk requests go to `disk`.
pub fn send(engine: &mut Engine, conn: ConnId, now: Now, command: &str) -> String {
    let words = resp::split_words(command.as_bytes()).unwrap();
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    let mut request = Vec::new();
    encode(&mut request, &words);
    let reads = [(conn, &request[..])];
    let mut turn = engine.receive(&reads);
    while turn.step(now) {}
    drop(turn);
    collect(engine, conn)
}

/// Lets time pass; says what comes back.
pub fn wait(engine: &mut Engine, conn: ConnId, now: Now) -> String {
    engine.handle(now, Input::Tick);
    let mut turn = engine.receive(&[]);
    while turn.step(now) {}
    drop(turn);
    collect(engine, conn)
}

/// Sends bytes as they are; says what comes back.
pub fn send_raw(engine: &mut Engine, conn: ConnId, bytes: &[u8]) -> String {
    let reads = [(conn, bytes)];
    let mut turn = engine.receive(&reads);
    while turn.step(NOW) {}
    drop(turn);
    collect(engine, conn)
}

/// What has come back.
pub fn collect(engine: &mut Engine, conn: ConnId) -> String {
    while engine.poll_effect().is_some() {}
    while engine.poll_output().is_some() {}
    let reply: Vec<u8> = engine.output(conn).flatten().copied().collect();
    engine.sent(conn, reply.len());
    shown(&reply)
}

/// Bytes as text: see [`run`].
pub fn shown(bytes: &[u8]) -> String {
    let text = format!("{}", bytes.escape_ascii());
    text.replace("\\r\\n", " ").trim().into()
}

/// The commands in the journal from an offset on.
pub fn journalled(engine: &mut Engine, from: u64) -> Vec<String> {
    let journal = &mut engine.parts.journal;
    journal.seal();
    let bytes: Vec<u8> = journal
        .read(from, u64::MAX)
        .flat_map(|b| b.to_vec())
        .collect();
    let limits = resp::Limits {
        bulk: u64::MAX,
        unauthenticated: false,
    };
    let (mut rest, mut commands) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        let (mut partial, mut args) = (resp::Partial::default(), Vec::new());
        let decoded = resp::decode(rest, &mut partial, &mut args, &limits);
        let Ok(resp::Decoded::Command { len, .. }) = decoded else {
            panic!("the journal holds commands only");
        };
        let words: Vec<String> = args.iter().map(|a| shown(a.of(rest))).collect();
        commands.push(words.join(" "));
        rest = &rest[len..];
    }
    commands
}

/// What a command leaves in the journal, without the SELECT that may go before.
pub fn effects_of(engine: &mut Engine, command: &str) -> Vec<String> {
    let mut commands = run_and_journal(engine, NOW, command).1;
    commands.retain(|c| !c.starts_with("SELECT "));
    commands
}

/// Switches the connection to RESP3, or back.
pub fn protocol(engine: &mut Engine, version: u32) {
    let session = engine.parts.clients.get_mut(conn()).unwrap();
    session.out.resp3 = version == 3;
}

/// Selects a database.
pub fn select(engine: &mut Engine, db: usize) {
    engine.parts.clients.get_mut(conn()).unwrap().db = db;
}

/// Times (13 digits that begin with 1) as `T`, since they differ from run to run.
fn without_times(text: &str) -> String {
    let mut out = String::new();
    let runs = text
        .as_bytes()
        .chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit());
    for part in runs {
        let part = core::str::from_utf8(part).unwrap();
        out += if part.len() == 13 && part.starts_with('1') {
            "T"
        } else {
            part
        };
    }
    out
}

/// Carries out the commands of a recorded file, and compares replies and journalled effects with those
/// of the real Redis. The file's lines are described in `golden/record.py`.
pub fn compare(recorded: &str) {
    let mut engine = engine_with(Config {
        enable_debug_command: ProtectedAction::Yes,
        ..Config::default()
    });
    let mut now = NOW;
    let (mut expected, mut actual) = (String::new(), String::new());
    for line in recorded.lines().filter(|line| !line.is_empty()) {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        if matches!(kind, "<" | "!") {
            writeln!(expected, "{line}").unwrap();
            continue;
        }
        assert!(
            expected == actual,
            "Redis:\n{expected}\nhere:\n{actual}\nthen came {line}"
        );
        for text in [&mut expected, &mut actual] {
            text.clear();
            writeln!(text, "{line}").unwrap();
        }
        match kind {
            "@" => {
                let (what, n) = rest.split_once(' ').unwrap_or((rest, "0"));
                let n: u32 = n.parse().unwrap();
                match what {
                    "advance" => now.unix_us += u64::from(n) * 1000,
                    "protocol" => protocol(&mut engine, n),
                    "select" => select(&mut engine, n as usize),
                    "flush" => drop(run_at(&mut engine, now, "FLUSHALL")),
                    _ => panic!("{line}"),
                }
            }
            ">" | "~" => {
                let (reply, effects) = run_and_journal(&mut engine, now, rest);
                let mut reply = without_times(&reply);
                if kind == "~" {
                    let mut parts: Vec<&str> = reply.split_whitespace().collect();
                    parts.sort_unstable();
                    reply = parts.join(" ");
                }
                writeln!(actual, "< {reply}").unwrap();
                for command in effects {
                    writeln!(actual, "! {}", without_times(&command)).unwrap();
                }
            }
            _ => assert!(kind.starts_with('#'), "{line}"),
        }
    }
    assert!(
        expected == actual,
        "Redis:\n{expected}\nhere:\n{actual}\nat the end"
    );
    engine.invariants();
}
