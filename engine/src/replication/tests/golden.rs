//! What a Redis 7.0.15 primary and a Redis 7.0.15 replica said to each other, recorded by a proxy
//! between them; each of our sides takes one's place and must say the same.
//!
//! Lines of a recording: `R` bytes of the replica, `M` bytes of its primary, `W db key value` a
//! client's SET on the primary, `C` the connection was cut.

use super::world::{SECOND, decode};
use crate::journal::Journal;
use crate::replication::{Action, ReplconfReply, Replication, Settings, SyncReply, SyncRequest};
use crate::{Address, ConnId, Now};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bytes::Bytes;
use core::net::SocketAddr;
use memchr::memmem;

/// A snapshot streamed by the primary, no password.
const STREAMED: &str = include_str!("golden/streamed.txt");
/// A snapshot by way of a file, with a password and an announced address.
const FILE: &str = include_str!("golden/file.txt");

pub enum Line {
    Cut,
    Primary(Vec<u8>),
    Replica(Vec<u8>),
    Write(u32, String, String),
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'\\' => match bytes.next().unwrap() {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'\\' => b'\\',
                b'x' => {
                    let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                    u8::from_str_radix(core::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => panic!("{other}"),
            },
            byte => byte,
        });
    }
    out
}

pub fn recording(text: &str) -> Vec<Line> {
    text.lines()
        .map(|line| {
            let (mark, rest) = line.split_at(2);
            match mark {
                "C " => Line::Cut,
                "M " => Line::Primary(unescape(rest)),
                "R " => Line::Replica(unescape(rest)),
                "W " => {
                    let mut words = rest.split(' ').map(ToString::to_string);
                    let mut word = || words.next().unwrap();
                    Line::Write(word().parse().unwrap(), word(), word())
                }
                _ => panic!("{line}"),
            }
        })
        .collect()
}

pub fn recorded() -> [Vec<Line>; 2] {
    [recording(STREAMED), recording(FILE)]
}

fn settings(text: &str) -> Settings {
    let with_password = text.contains("AUTH");
    Settings {
        announce_ip: with_password.then(|| "10.0.0.9".to_string()),
        diskless_sync: !with_password,
        diskless_sync_delay_s: 0,
        listening_port: 21803,
        ping_period_s: 3600,
        primary_auth: with_password.then(|| b"secret".to_vec()),
        ..Settings::default()
    }
}

/// We in the replica's place: what the primary says arrives in pieces of `piece` bytes.
fn follow(text: &str, piece: usize) {
    let mut now = Now {
        mono_us: SECOND,
        unix_us: 0,
    };
    let mut journal = Journal::new(0);
    let mut repl = Replication::new(settings(text), [1; 32], now);
    let (mut sent, mut stream, mut payload) = (Vec::new(), Vec::new(), Vec::new());
    let mut executed: Vec<Vec<Vec<u8>>> = Vec::new();
    let mut conn = ConnId::outgoing(0);
    let mut opened = 0;
    let mut drain =
        |now: Now, repl: &mut Replication, journal: &mut Journal, sent: &mut Vec<u8>| {
            let mut db = 0;
            while let Some(action) = repl.poll_action(now, journal) {
                match action {
                    Action::Connect { .. } => {
                        opened += 1;
                        conn = ConnId::outgoing(opened);
                        repl.connecting(conn);
                        repl.connected(now, journal, conn);
                    }
                    Action::Send { bytes, .. } => sent.extend_from_slice(&bytes),
                    Action::Payload(bytes) => payload.extend_from_slice(&bytes),
                    Action::PayloadEnd { .. } => {
                        assert!(payload.starts_with(b"REDIS0010"));
                        assert_eq!(payload[payload.len() - 9], 0xff);
                        repl.loaded(now, journal, Some(0));
                    }
                    Action::StreamBegin { db: at, .. } => {
                        stream.clear();
                        db = at;
                    }
                    Action::Stream(bytes) => {
                        stream.extend_from_slice(&bytes);
                        while let Some((args, len)) = decode(&stream) {
                            stream.drain(..len);
                            if args[0] == b"SELECT" {
                                db = u32::from(args[1][0] - b'0');
                            }
                            executed.push(args);
                            repl.applied(now, journal, len as u64, db);
                        }
                    }
                    Action::Demoted | Action::Log { .. } | Action::PayloadBegin { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
            conn
        };
    repl.start_following(now, "127.0.0.1", 21802);
    repl.tick(now, &mut journal);
    let mut conn = drain(now, &mut repl, &mut journal, &mut sent);
    for line in recording(text) {
        match line {
            Line::Primary(bytes) => {
                for piece in bytes.chunks(piece) {
                    repl.receive(now, &mut journal, conn, piece);
                    conn = drain(now, &mut repl, &mut journal, &mut sent);
                }
            }
            Line::Replica(expected) => {
                for _ in 0..3 {
                    if sent.len() >= expected.len() {
                        break;
                    }
                    now.mono_us += SECOND;
                    repl.tick(now, &mut journal);
                    conn = drain(now, &mut repl, &mut journal, &mut sent);
                }
                let said = sent.drain(..expected.len().min(sent.len()));
                let said: Vec<u8> = said.collect();
                assert_eq!(
                    said.escape_ascii().to_string(),
                    expected.escape_ascii().to_string()
                );
            }
            Line::Cut => {
                now.mono_us += SECOND;
                repl.closed(now, &mut journal, conn, "");
                conn = drain(now, &mut repl, &mut journal, &mut sent);
            }
            Line::Write(..) => {}
        }
    }
    assert!(repl.link_up());
    assert_eq!(sent, b"");
    let sets = executed.iter().filter(|args| args[0] == b"SET").count();
    assert_eq!((sets, journal.end()), (3, 127));
    let id = repl.ids().current();
    assert!(text.contains(id.as_str()), "{id}");
}

#[test]
fn we_follow_a_redis() {
    for piece in [1, 2, 3, 7, 50, usize::MAX] {
        follow(STREAMED, piece);
        follow(FILE, piece);
    }
}

fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    while let Some(at) = memmem::find(bytes, from) {
        bytes[at..at + from.len()].copy_from_slice(to);
    }
}

/// The forty characters after the first `head`.
fn forty(text: &[u8], head: &[u8]) -> Option<Vec<u8>> {
    let at = memmem::find(text, head)? + head.len();
    Some(text[at..at + 40].to_vec())
}

/// We in the primary's place: what the replica says arrives in pieces of `piece` bytes.
fn serve(text: &str, piece: usize) {
    let now = Now::default();
    let lines = recording(text);
    let all: Vec<u8> = lines
        .iter()
        .filter_map(|line| match line {
            Line::Primary(bytes) => Some(bytes.clone()),
            _ => None,
        })
        .flatten()
        .collect();
    let id = forty(&all, b"+FULLRESYNC ").unwrap();
    let mark = forty(&all, b"$EOF:");
    let rdb = &all[memmem::find(&all, b"REDIS0010").unwrap()..];
    let rdb = match &mark {
        Some(mark) => &rdb[..memmem::find(rdb, mark).unwrap()],
        None => &rdb[..172],
    };

    let mut journal = Journal::new(0);
    let mut repl = Replication::new(settings(text), [2; 32], now);
    let (mut said, mut session) = (Vec::new(), Vec::new());
    let mut authenticated = !text.contains("AUTH");
    let mut serial = 1;
    let drain = |repl: &mut Replication, journal: &mut Journal, said: &mut Vec<u8>| {
        while let Some(action) = repl.poll_action(now, journal) {
            match action {
                Action::Send { bytes, .. } => said.extend_from_slice(&bytes),
                Action::WantSnapshot { diskless, .. } => {
                    assert_eq!(diskless, mark.is_some());
                    repl.snapshot_began(now, journal);
                    if !diskless && piece > 1 {
                        repl.snapshot_size(now, journal, rdb.len() as u64);
                    }
                    for chunk in rdb.chunks(29) {
                        repl.snapshot_chunk(now, journal, &Bytes::copy_from_slice(chunk));
                    }
                    repl.snapshot_ended(now, journal, true);
                }
                Action::Log { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    };
    for line in lines {
        let conn = ConnId::accepted(0, serial);
        match line {
            Line::Replica(mut bytes) => {
                replace(&mut bytes, &id, repl.ids().current().as_str().as_bytes());
                for piece in bytes.chunks(piece) {
                    session.extend_from_slice(piece);
                    while let Some((args, len)) = decode(&session) {
                        session.drain(..len);
                        let args: Vec<&[u8]> = args.iter().map(|arg| &arg[..]).collect();
                        let peer = Address::Ip(SocketAddr::from(([127, 0, 0, 1], 1)));
                        match args[0] {
                            b"PING" if authenticated => said.extend_from_slice(b"+PONG\r\n"),
                            b"PING" => {
                                said.extend_from_slice(b"-NOAUTH Authentication required.\r\n")
                            }
                            b"AUTH" => {
                                authenticated = true;
                                said.extend_from_slice(b"+OK\r\n");
                            }
                            b"REPLCONF" => {
                                let reply = repl.replconf(now, &mut journal, conn, &args);
                                if reply == ReplconfReply::Ok {
                                    said.extend_from_slice(b"+OK\r\n");
                                }
                            }
                            _ => {
                                let request = SyncRequest {
                                    conn,
                                    peer: &peer,
                                    args: &args,
                                    output_pending: false,
                                    client_info: "",
                                };
                                let reply = repl.sync(now, &mut journal, &request);
                                assert_eq!(reply, SyncReply::Taken);
                            }
                        }
                        drain(&mut repl, &mut journal, &mut said);
                    }
                }
            }
            Line::Primary(expected) => {
                replace(&mut said, repl.ids().current().as_str().as_bytes(), &id);
                if let (Some(ours), Some(mark)) = (forty(&said, b"$EOF:"), &mark) {
                    replace(&mut said, &ours, mark);
                }
                let heard: Vec<u8> = said.drain(..expected.len().min(said.len())).collect();
                assert_eq!(
                    heard.escape_ascii().to_string(),
                    expected.escape_ascii().to_string()
                );
            }
            Line::Write(db, key, value) => {
                journal.select(db);
                journal.append_command(&[b"SET", key.as_bytes(), value.as_bytes()]);
                drain(&mut repl, &mut journal, &mut said);
            }
            Line::Cut => {
                repl.closed(now, &mut journal, conn, "");
                serial += 1;
                authenticated = !text.contains("AUTH");
                session.clear();
                drain(&mut repl, &mut journal, &mut said);
            }
        }
    }
    assert_eq!(said, b"");
    assert_eq!(repl.acked_replicas(127), 1);
    let mut info = String::new();
    repl.write_info(now, &journal, &mut info);
    let ip = if text.contains("AUTH") {
        "10.0.0.9"
    } else {
        "127.0.0.1"
    };
    assert!(info.contains(&alloc::format!(
        "slave0:ip={ip},port=21803,state=online,offset=127,lag=0\r\n"
    )));
}

#[test]
fn we_serve_a_redis() {
    for piece in [1, 3, usize::MAX] {
        serve(STREAMED, piece);
        serve(FILE, piece);
    }
}
