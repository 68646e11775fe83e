//! Peers that are broken or malicious: nothing they say may panic, or make us spin or allocate.

use super::golden::{Line, recorded};
use super::world::{SECOND, World, settings};
use crate::journal::Journal;
use crate::replication::{Action, ReplconfReply, Replication, Settings, SyncReply, SyncRequest};
use crate::{Address, ConnId, Now};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use proptest::prelude::*;

struct Server {
    repl: Replication,
    journal: Journal,
    now: Now,
    connects: u64,
    log: Vec<String>,
    sent: Vec<u8>,
    stream: Vec<u8>,
    closed: usize,
}

impl Server {
    fn new() -> Server {
        let now = Now {
            mono_us: SECOND,
            unix_us: 0,
        };
        Server {
            repl: Replication::new(settings(), [3; 32], now),
            journal: Journal::new(0),
            now,
            connects: 0,
            log: Vec::new(),
            sent: Vec::new(),
            stream: Vec::new(),
            closed: 0,
        }
    }

    fn replica() -> Server {
        let mut server = Server::new();
        server.repl.start_following(server.now, "h", 1);
        server.second();
        server
    }

    fn second(&mut self) {
        self.now.mono_us += SECOND;
        self.repl.tick(self.now, &mut self.journal);
        self.drain();
    }

    fn receive(&mut self, bytes: &[u8]) {
        let conn = ConnId::outgoing(self.connects);
        self.repl.receive(self.now, &mut self.journal, conn, bytes);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(action) = self.repl.poll_action(self.now, &mut self.journal) {
            match action {
                Action::Connect { .. } => {
                    self.connects += 1;
                    let conn = ConnId::outgoing(self.connects);
                    self.repl.connecting(conn);
                    self.repl.connected(self.now, &mut self.journal, conn);
                }
                Action::Close { .. } => self.closed += 1,
                Action::Log { text, .. } => self.log.push(text),
                Action::PayloadEnd { .. } => self.repl.loaded(self.now, &mut self.journal, None),
                Action::Send { bytes, .. } => self.sent.extend_from_slice(&bytes),
                Action::Stream(bytes) => {
                    self.stream.extend_from_slice(&bytes);
                    let len = bytes.len() as u64;
                    self.repl.applied(self.now, &mut self.journal, len, 0);
                }
                _ => {}
            }
        }
    }

    fn logged(&self, text: &str) -> bool {
        self.log.iter().any(|line| line.contains(text))
    }
}

/// Brings a new replica to the point where the primary answers its PSYNC.
fn asked() -> Server {
    let mut server = Server::replica();
    server.receive(b"+PONG\r\n+OK\r\n+OK\r\n");
    assert!(
        server
            .sent
            .ends_with(b"$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n")
    );
    server
}

#[test]
fn errors_in_the_handshake() {
    let cases: [(&[u8], &str); 4] = [
        (
            b"-ERR nope\r\n",
            "Error reply to PING from master: '-ERR nope'",
        ),
        (
            b"-LOADING x\r\n",
            "Error reply to PING from master: '-LOADING x'",
        ),
        (&[b'x'; 2000], "line too long"),
        (b"$-1\r\n", "Error reply to PING from master: '$-1'"),
    ];
    for (reply, line) in cases {
        let mut server = Server::replica();
        server.receive(reply);
        assert!(server.logged(line), "{line}: {:?}", server.log);
        assert_eq!((server.closed, server.connects), (1, 1));
        // The next attempt comes with the routine, not at once.
        server.second();
        assert_eq!(server.connects, 2);
    }
    // Old primaries, and ones that want a password that we do not have.
    let mut server = Server::replica();
    server.receive(b"-NOAUTH Authentication required.\r\n-ERR a\r\n-ERR b\r\n");
    assert!(
        server.logged("(Non critical) Master does not understand REPLCONF listening-port: -ERR a")
    );
    assert!(server.logged("(Non critical) Master does not understand REPLCONF capa: -ERR b"));
    assert!(server.sent.ends_with(b"-1\r\n"));
}

#[test]
fn answers_to_psync() {
    for later in ["-NOMASTERLINK Can't SYNC", "-LOADING Redis is loading"] {
        let mut server = asked();
        server.receive(alloc::format!("\n\r\n{later}\r\n").as_bytes());
        assert!(server.logged("Master is currently unable to PSYNC"));
        assert_eq!((server.closed, server.connects), (1, 1));
    }
    // A continuation that nobody asked for.
    let mut server = asked();
    server.receive(b"+CONTINUE\r\nFLUSHALL\r\n");
    assert!(!server.repl.link_up());
    assert_eq!(server.stream, b"");
    // A primary that does not know PSYNC: full synchronisation without a history.
    let mut server = asked();
    server.receive(b"-ERR unknown command\r\n");
    assert!(server.logged("Master does not support PSYNC or is in error state"));
    assert!(server.sent.ends_with(b"SYNC\r\n"));
    server.receive(b"\n$3\r\nabc*1\r\n$4\r\nPING\r\n");
    assert!(server.repl.link_up());
    assert_eq!(server.stream, b"*1\r\n$4\r\nPING\r\n");
    let sent = server.sent.len();
    server.second();
    assert_eq!(
        server.sent.len(),
        sent,
        "no acknowledgements for an old primary"
    );
    // Errors and nonsense where the payload should begin.
    for (line, log) in [
        (
            "-ERR BGSAVE failed",
            "MASTER aborted replication with an error: ERR BGSAVE failed",
        ),
        (
            "hello",
            "Bad protocol from MASTER, the first byte is not '$' (we received 'hello')",
        ),
    ] {
        let mut server = asked();
        server.receive(alloc::format!("+FULLRESYNC {} 7\r\n{line}\r\n", "a".repeat(40)).as_bytes());
        assert!(server.logged(log), "{:?}", server.log);
    }
    // Offsets that could overflow, and ids that are none.
    for answer in [
        alloc::format!("+FULLRESYNC {} 18446744073709551615", "a".repeat(40)),
        alloc::format!("+FULLRESYNC {} -5", "a".repeat(40)),
        "+FULLRESYNC short 5".to_string(),
        "+FULLRESYNC".to_string(),
    ] {
        let mut server = asked();
        server.receive(answer.as_bytes());
        server.receive(b"\r\n$1\r\nx");
        assert!(server.logged("Master replied with wrong +FULLRESYNC syntax."));
        assert_eq!(server.journal.end(), 0);
    }
}

/// A primary that accepts and fails at once does not have us spin.
#[test]
fn failing_attempts_are_a_second_apart() {
    let mut server = Server::replica();
    for _ in 0..50 {
        server.receive(b"+PONG\r\n+OK\r\n+OK\r\n-ERR no\r\n-ERR never\r\n");
    }
    assert_eq!(server.connects, 1);
    for n in 2..6 {
        server.second();
        assert_eq!(server.connects, n);
        server.receive(b"+PONG\r\n+OK\r\n+OK\r\n-ERR no\r\n-ERR never\r\n");
    }
}

/// A stream that cannot be parsed ends the link and its history.
#[test]
fn a_corrupt_stream_is_not_continued() {
    let mut server = asked();
    server.receive(alloc::format!("+FULLRESYNC {} 7\r\n$1\r\nx", "a".repeat(40)).as_bytes());
    assert!(server.repl.link_up());
    server.second();
    server.repl.stream_corrupt(server.now, &mut server.journal);
    server.drain();
    assert_eq!(server.repl.rdb_info(&server.journal), None);
    assert!(server.logged("master stream corruption?"));
    server.receive(b"+PONG\r\n+OK\r\n+OK\r\n");
    assert!(server.sent.ends_with(b"$1\r\n?\r\n$2\r\n-1\r\n"));
}

fn request<'a>(peer: &'a Address, args: &'a [&'a [u8]]) -> SyncRequest<'a> {
    SyncRequest {
        conn: ConnId::accepted(1, 1),
        peer,
        args,
        output_pending: false,
        client_info: "",
    }
}

/// KB-47: one answer, and no replica, for a wrong request.
#[test]
fn wrong_requests_get_one_error() {
    let peer = Address::Unix("/tmp/s".to_string());
    let mut server = Server::new();
    let mut sync = |args: &[&[u8]]| {
        let reply = server
            .repl
            .sync(server.now, &mut server.journal, &request(&peer, args));
        server.drain();
        assert_eq!((server.repl.replica_count(), server.sent.len()), (0, 0));
        match reply {
            SyncReply::Error(error) => error,
            other => panic!("{other:?}"),
        }
    };
    for offset in [
        "",
        "abc",
        "1.5",
        "+1",
        "01",
        " 1",
        "99999999999999999999",
        "-",
    ] {
        assert_eq!(
            sync(&[b"PSYNC", b"?", offset.as_bytes()]),
            "ERR value is not an integer or out of range"
        );
    }
    assert_eq!(
        sync(&[b"PSYNC", b"?", b"-1", b"FAILOVER"]),
        "ERR PSYNC FAILOVER can't be sent to a master."
    );
    let pending = SyncRequest {
        output_pending: true,
        ..request(&peer, &[b"SYNC"])
    };
    assert_eq!(
        server.repl.sync(server.now, &mut server.journal, &pending),
        SyncReply::Error("ERR SYNC and PSYNC are invalid with pending output".to_string())
    );
}

#[test]
fn replconf_answers_like_redis() {
    let mut server = Server::new();
    let conn = ConnId::accepted(1, 1);
    let mut ask = |args: &[&str]| {
        let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
        match server
            .repl
            .replconf(server.now, &mut server.journal, conn, &args)
        {
            ReplconfReply::Error(error) => String::from_utf8(error).unwrap(),
            ReplconfReply::Ok => "OK".to_string(),
            ReplconfReply::Silent => "".to_string(),
        }
    };
    // Answers of redis-server 7.0.15.
    for (args, answer) in [
        (&["REPLCONF"][..], "OK"),
        (&["REPLCONF", "a"], "ERR syntax error"),
        (
            &["REPLCONF", "rdb-only", "2"],
            "ERR value is out of range, value must between 0 and 1",
        ),
        (
            &["REPLCONF", "rdb-only", "x"],
            "ERR value is not an integer or out of range",
        ),
        (
            &["REPLCONF", "listening-port", "abc"],
            "ERR value is not an integer or out of range",
        ),
        (
            &["REPLCONF", "foo", "bar"],
            "ERR Unrecognized REPLCONF option: foo",
        ),
        (
            &["REPLCONF", "rdb-filter-only", "keys"],
            "ERR Unsupported rdb-filter-only option: keys",
        ),
        (&["REPLCONF", "rdb-filter-only", "functions"], "OK"),
        (&["REPLCONF", "getack", "x"], ""),
        (&["REPLCONF", "ack", "1"], ""),
        (&["REPLCONF", "capa", "unheard-of", "CAPA", "EOF"], "OK"),
    ] {
        assert_eq!(ask(args), answer, "{args:?}");
    }
}

/// A client that only wants a snapshot is let go when it has it, and holds no journal meanwhile.
#[test]
fn an_rdb_only_client_is_closed_after_its_snapshot() {
    let peer = Address::Unix("/tmp/s".to_string());
    let mut server = Server::new();
    let conn = ConnId::accepted(1, 1);
    let (now, journal) = (server.now, &mut server.journal);
    let args: [&[u8]; 5] = [b"REPLCONF", b"rdb-only", b"1", b"capa", b"eof"];
    assert_eq!(
        server.repl.replconf(now, journal, conn, &args),
        ReplconfReply::Ok
    );
    let reply = server.repl.sync(now, journal, &request(&peer, &[b"SYNC"]));
    assert_eq!(reply, SyncReply::Taken);
    server.repl.snapshot_began(now, journal);
    journal.append_command(&[b"SET", b"a", b"b"]);
    server.repl.snapshot_ended(now, journal, true);
    server.drain();
    assert!(server.sent.starts_with(b"$EOF:"));
    assert_eq!(server.sent.len(), 5 + 40 + 2 + 40);
    assert_eq!(server.closed, 0);
    server.repl.output_pending(now, conn, 0);
    server.drain();
    assert_eq!((server.closed, server.repl.replica_count()), (1, 0));
}

proptest! {
    /// FZ-psync, the replica's side: recorded conversations, bent.
    #[test]
    fn no_primary_can_break_us(
        which in 0usize..2,
        bends in prop::collection::vec((any::<u16>(), any::<u8>(), 0u8..4), 0..6),
        piece in 1usize..60,
        resume in any::<bool>(),
    ) {
        let mut bytes: Vec<u8> = recorded()[which]
            .iter()
            .filter_map(|line| match line {
                Line::Primary(bytes) => Some(bytes.clone()),
                _ => None,
            })
            .flatten()
            .collect();
        for (at, byte, how) in bends {
            if bytes.is_empty() {
                break;
            }
            let at = usize::from(at) % bytes.len();
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => { bytes.remove(at); }
                _ => bytes.truncate(at + 1),
            }
        }
        let mut server = Server::replica();
        if resume {
            let (now, journal) = (server.now, &mut server.journal);
            server.repl.unset_primary(now, journal);
            server.repl.set_primary(now, journal, "h", 1);
            server.drain();
        }
        for piece in bytes.chunks(piece) {
            server.receive(piece);
        }
        server.second();
        prop_assert!(server.connects < 5);
    }

    /// FZ-psync, the primary's side.
    #[test]
    fn no_replica_can_break_us(
        commands in prop::collection::vec(
            (0usize..4, prop::collection::vec(prop_oneof![
                prop::sample::select(alloc::vec![
                    "listening-port", "ip-address", "capa", "eof", "psync2", "ack", "rdb-only",
                    "rdb-filter-only", "functions", "0", "1", "-1", "9223372036854775807",
                    "-9223372036854775808", "?", "failover", "\"",
                ]).prop_map(|s| s.as_bytes().to_vec()),
                prop::collection::vec(any::<u8>(), 0..50),
            ], 0..5)),
            0..30,
        ),
    ) {
        let mut world = World::new(1, Settings { diskless_sync_delay_s: 1, ..settings() });
        world.write(0, 0, "x");
        let node = &mut world.nodes[0];
        let peer = Address::Unix(String::new());
        for (n, (what, args)) in commands.iter().enumerate() {
            let conn = ConnId::accepted(n as u32 % 3, 1);
            let id = node.repl.ids().current();
            let mut slices: Vec<&[u8]> = alloc::vec![b"PSYNC"];
            if *what == 3 {
                slices.push(id.as_str().as_bytes());
            }
            slices.extend(args.iter().map(|arg| &arg[..]));
            if *what == 0 {
                let _ = node.repl.replconf(world.now, &mut node.journal, conn, &slices);
            } else if slices.len() >= 3 {
                let request = SyncRequest { conn, args: &slices, ..request(&peer, &[]) };
                let _ = node.repl.sync(world.now, &mut node.journal, &request);
            }
            world.now.mono_us += SECOND / 3;
            node.repl.tick(world.now, &mut node.journal);
            while let Some(action) = node.repl.poll_action(world.now, &mut node.journal) {
                if let Action::WantSnapshot { .. } = action {
                    node.repl.snapshot_began(world.now, &mut node.journal);
                    node.repl.snapshot_ended(world.now, &mut node.journal, true);
                }
            }
            prop_assert!(node.repl.needed_from(&node.journal) <= node.journal.end());
        }
    }
}
