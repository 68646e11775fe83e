//! CLUSTER and the gates, against answers recorded from Redis; and when orders are answered.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::effects::encode;
use super::testing::{NOW, conn, join, shown};
use crate::config::Config;
use crate::face::{
    Address, DiskError, DiskErrorKind, DiskReply, DiskRequest, Effect, Input, Listener, Now, OpId,
    OpenMode,
};
use crate::{Engine, resp};

/// What the disk does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Disk {
    /// It does all, and forgets it.
    Works,
    /// It answers nothing.
    Hangs,
    /// It writes nothing.
    Full,
}

/// An engine with one client and a disk.
struct Server {
    engine: Engine,
    now: Now,
    disk: Disk,
    asked: Vec<(OpId, DiskRequest)>,
    /// What nodes.conf holds at the start.
    conf: &'static str,
    /// All that was written to files.
    written: String,
}

impl Server {
    fn new(config: Config) -> Server {
        let mut server = Server::with_conf(config, "");
        server.settle();
        server
    }

    /// Its disk is not asked yet.
    fn with_conf(config: Config, conf: &'static str) -> Server {
        let mut engine = Engine::new(config, [7; 32], NOW);
        let ip = || Address::Ip(([127, 0, 0, 1], 6379).into());
        let (conn, listener) = (conn(), Listener::Tcp);
        let (peer, local) = (ip(), ip());
        let client = Input::Accepted {
            conn,
            listener,
            peer,
            local,
        };
        engine.handle(NOW, client);
        Server {
            engine,
            now: NOW,
            disk: Disk::Works,
            asked: Vec::new(),
            conf,
            written: String::new(),
        }
    }

    fn cluster() -> Server {
        Server::new(Config {
            cluster_enabled: true,
            port: 21790,
            ..Config::default()
        })
    }

    /// Takes the engine's effects, and answers for the disk.
    fn settle(&mut self) {
        loop {
            while let Some(effect) = self.engine.poll_effect() {
                if let Effect::Disk { op, request } = effect {
                    self.asked.push((op, request));
                }
            }
            if self.asked.is_empty() || self.disk == Disk::Hangs {
                return;
            }
            let (op, request) = self.asked.remove(0);
            let result = self.answer(&request);
            self.engine.handle(self.now, Input::Disk { op, result });
        }
    }

    fn answer(&mut self, request: &DiskRequest) -> Result<DiskReply, DiskError> {
        let error = |kind, message: &str| DiskError {
            kind,
            written: 0,
            message: message.into(),
        };
        match request {
            DiskRequest::Open { path, mode, .. }
                if path == "nodes.conf" && *mode == OpenMode::Read && !self.conf.is_empty() =>
            {
                Ok(DiskReply::Opened {
                    len: self.conf.len() as u64,
                })
            }
            DiskRequest::Open {
                mode: OpenMode::Read,
                ..
            } => Err(error(DiskErrorKind::NotFound, "No such file or directory")),
            DiskRequest::Write { .. } if self.disk == Disk::Full => {
                Err(error(DiskErrorKind::NoSpace, "No space left on device"))
            }
            DiskRequest::Open { .. } => Ok(DiskReply::Opened { len: 0 }),
            DiskRequest::List { .. } => Ok(DiskReply::Names(Vec::new())),
            DiskRequest::Read { .. } => Ok(DiskReply::Data(self.conf.into())),
            DiskRequest::Write { data, .. } => {
                for piece in data {
                    self.written += &String::from_utf8_lossy(piece);
                }
                Ok(DiskReply::Done)
            }
            _ => Ok(DiskReply::Done),
        }
    }

    /// Time passes.
    fn advance(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(100) {
            self.now.mono_us += 100_000;
            self.now.unix_us += 100_000;
            self.engine.handle(self.now, Input::Tick);
            self.settle();
        }
    }

    /// Sends commands in one piece, and shows what comes back.
    fn pipeline(&mut self, commands: &[&str]) -> String {
        let mut bytes = Vec::new();
        for command in commands {
            let words = resp::split_words(command.as_bytes()).unwrap();
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            encode(&mut bytes, &words);
        }
        let reads = [(conn(), &bytes[..])];
        let mut turn = self.engine.receive(&reads);
        while turn.step(self.now) {}
        drop(turn);
        self.settle();
        self.replies()
    }

    /// What the engine has to say.
    fn replies(&mut self) -> String {
        while self.engine.poll_output().is_some() {}
        let reply: Vec<u8> = self.engine.output(conn()).flatten().copied().collect();
        self.engine.sent(conn(), reply.len());
        shown(&reply)
    }

    fn run(&mut self, command: &str) -> String {
        self.pipeline(&[command])
    }

    fn ask(&mut self, what: &str) -> Vec<String> {
        what.lines().map(|line| self.run(line.trim())).collect()
    }
}

/// Names of nodes, which are 40 hexadecimal digits, as NAME.
fn without_names(text: &str) -> String {
    let mut out = String::new();
    for part in text
        .as_bytes()
        .chunk_by(|a, b| a.is_ascii_alphanumeric() == b.is_ascii_alphanumeric())
    {
        let part = core::str::from_utf8(part).unwrap();
        out += if part.len() == 40 { "NAME" } else { part };
    }
    out
}

#[test]
fn replies_are_those_of_redis() {
    let mut server = Server::cluster();
    let mut recorded = include_str!("golden/cluster.txt").lines().peekable();
    while let Some(line) = recorded.next() {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (kind, rest.split_once(' ')) {
            (">", _) => {
                let expected = recorded.next_if(|l| l.starts_with('<')).unwrap_or_default();
                // A write's effect is replication's business.
                while recorded.next_if(|l| l.starts_with('!')).is_some() {}
                let reply = format!("< {}", without_names(&server.run(rest)));
                assert_eq!(reply.trim(), expected.trim(), "{rest}");
            }
            ("@", Some(("advance", ms))) => server.advance(ms.parse().unwrap()),
            ("@", Some(("protocol", n))) => {
                server
                    .engine
                    .parts
                    .clients
                    .get_mut(conn())
                    .unwrap()
                    .out
                    .resp3 = n == "3";
            }
            _ => assert!(line.starts_with('#') || line.is_empty(), "{line}"),
        }
    }
    let cluster = server.engine.parts.cluster.as_ref().unwrap();
    cluster.invariants();
}

/// Replies of a Valkey 9 that counts keys only.
#[test]
fn slots_are_counted_as_valkey_does() {
    let mut server = Server::new(Config {
        cluster_enabled: true,
        cluster_require_full_coverage: false,
        port: 21790,
        ..Config::default()
    });
    server.run("CLUSTER ADDSLOTSRANGE 860 870 5061 5061 12182 12182");
    server.advance(9000);
    for key in ["foo", "bar", "hello", "{hello}2"] {
        assert_eq!(server.run(&format!("SET {key} v")), "+OK");
    }
    let stats = |slots: &[(u16, usize)]| {
        let mut text = format!("*{}", slots.len());
        for (slot, keys) in slots {
            text += &format!(" *2 :{slot} *2 $9 key-count :{keys}");
        }
        text
    };
    let arity = "-ERR wrong number of arguments for \\'cluster|slot-stats\\' command";
    let wrong = "-ERR unknown subcommand or wrong number of arguments for \\'slot-stats\\'. Try CLUSTER HELP.";
    let range = "-ERR Invalid or out of range slot";
    let limit = "-ERR Limit has to lie in between 1 and 16384 (maximum number of slots).";
    let metric = "-ERR Unrecognized sort metric for ORDERBY.";
    let twice = "-ERR Multiple filters of the same type are disallowed.";
    let syntax = "-ERR syntax error";
    for (words, reply) in [
        (
            "SLOTSRANGE 865 867",
            &*stats(&[(865, 0), (866, 2), (867, 0)]),
        ),
        ("SLOTSRANGE 5000 6000", &stats(&[(5061, 1)])),
        ("slotsrange 102 102", "*0"),
        ("SLOTSRANGE 5", wrong),
        ("SLOTSRANGE 3 5 6", wrong),
        ("SLOTSRANGE", arity),
        ("FOO bar", wrong),
        ("FOO", arity),
        (
            "SLOTSRANGE 5 3",
            "-ERR Start slot number 5 is greater than end slot number 3",
        ),
        ("SLOTSRANGE 5 x", range),
        ("SLOTSRANGE 5 16384", range),
        ("SLOTSRANGE -1 3", range),
        (
            "ORDERBY key-count LIMIT 3",
            &stats(&[(866, 2), (5061, 1), (12182, 1)]),
        ),
        (
            "ORDERBY Key-Count asc limit 2",
            &stats(&[(860, 0), (861, 0)]),
        ),
        ("ORDERBY key-count desc limit 1", &stats(&[(866, 2)])),
        ("ORDERBY", arity),
        ("ORDERBY cpu-usec", metric),
        ("ORDERBY foo LIMIT x", metric),
        ("ORDERBY key-count LIMIT", syntax),
        ("ORDERBY key-count foo", syntax),
        ("ORDERBY key-count LIMIT 0", limit),
        ("ORDERBY key-count LIMIT 16385", limit),
        ("ORDERBY key-count LIMIT x", limit),
        ("ORDERBY key-count ASC DESC", twice),
        ("ORDERBY key-count LIMIT 1 LIMIT 2", twice),
    ] {
        let told = server.run(&format!("CLUSTER SLOT-STATS {words}"));
        assert_eq!(told, reply, "{words}");
    }
    let all = server.run("CLUSTER SLOT-STATS ORDERBY key-count");
    assert!(all.starts_with("*13 "), "{all}");
    let name = server.run("CLUSTER MYSHARDID");
    assert_eq!(
        (name.len(), name == server.run("CLUSTER MYID")),
        (44, false)
    );
    assert_eq!(name, server.run("CLUSTER MYSHARDID"));
}

#[test]
fn without_cluster_mode_there_is_no_cluster() {
    let mut server = Server::new(Config::default());
    for command in [
        "CLUSTER INFO",
        "CLUSTER HELP",
        "CLUSTER RESET",
        "ASKING",
        "READONLY",
    ] {
        let reply = server.run(command);
        assert_eq!(reply, "-ERR This instance has cluster support disabled");
    }
}

/// The nodes.conf of a replica whose primary does not answer.
const REPLICA: &str = "\
    1111111111111111111111111111111111111111 127.0.0.1:1@10001 master - 0 0 1 connected 0-16383\n\
    2222222222222222222222222222222222222222 127.0.0.1:21790@31790 myself,slave \
    1111111111111111111111111111111111111111 0 0 1 connected\n\
    vars currentEpoch 1 lastVoteEpoch 0\n";

fn replica() -> Server {
    let config = Config {
        cluster_enabled: true,
        port: 21790,
        appendonly: true,
        ..Config::default()
    };
    Server::with_conf(config, REPLICA)
}

#[test]
fn nothing_is_written_before_nodes_conf_was_read() {
    let mut server = replica();
    server.disk = Disk::Hangs;
    server.advance(1000);
    assert_eq!(server.asked.len(), 1, "{:?}", server.asked);
    server.disk = Disk::Works;
    server.advance(1000);
    let name = "$40 2222222222222222222222222222222222222222";
    assert_eq!(server.run("CLUSTER MYID"), name);
    assert_eq!(server.run("GET a"), "-MOVED 15495 127.0.0.1:1");
}

#[test]
fn a_replica_that_is_reset_forgets_its_data_for_good() {
    let mut server = replica();
    server.advance(1000);
    assert!(!server.written.contains("FLUSHALL"));
    assert_eq!(server.run("CLUSTER RESET"), "+OK");
    server.advance(1000);
    assert!(server.written.contains("FLUSHALL"), "{}", server.written);
    assert!(server.run("ROLE").starts_with("*3 $6 master"));
}

#[test]
fn orders_are_answered_when_the_disk_holds_them() {
    let mut server = Server::cluster();
    server.disk = Disk::Hangs;
    assert_eq!(server.pipeline(&["CLUSTER ADDSLOTS 1", "ECHO x"]), "");
    assert_eq!(server.run("CLUSTER BUMPEPOCH"), "");
    server.disk = Disk::Works;
    server.settle();
    // What was sent meanwhile is carried out in the next turn.
    assert_eq!(server.replies(), "+OK");
    assert_eq!(server.pipeline(&[]), "$1 x +BUMPED 1");
}

#[test]
fn a_transaction_waits_for_no_disk() {
    let mut server = Server::cluster();
    server.disk = Disk::Hangs;
    let commands = [
        "MULTI",
        "CLUSTER ADDSLOTS 1",
        "CLUSTER SAVECONFIG",
        "EXEC",
        "ECHO x",
    ];
    let reply = server.pipeline(&commands);
    assert_eq!(reply, "+OK +QUEUED +QUEUED *2 +OK +OK $1 x");
}

#[test]
fn a_broken_disk_keeps_nobody_waiting() {
    let mut server = Server::cluster();
    server.disk = Disk::Full;
    assert_eq!(server.run("CLUSTER ADDSLOTS 1"), "+OK");
    // The next attempt comes after a second.
    assert_eq!(server.run("CLUSTER SAVECONFIG"), "");
    server.advance(1100);
    assert_eq!(
        server.replies(),
        "-ERR error saving the cluster node config: No space left on device"
    );
    server.disk = Disk::Works;
    server.run("CLUSTER DELSLOTS 1");
    server.advance(1100);
    assert_eq!(server.replies(), "+OK");
    assert_eq!(server.run("CLUSTER SAVECONFIG"), "+OK");
}

#[test]
fn asking_holds_for_one_command() {
    let mut server = Server::cluster();
    let asking = |server: &Server| {
        let session = server.engine.parts.clients.get(conn()).unwrap();
        session.is(crate::client::alert::ASKING)
    };
    for (command, holds) in [
        ("ASKING", true),
        ("ASKING", true),
        ("GET a", false),
        ("ASKING", true),
        ("NOSUCH", false),
        ("ASKING", true),
        ("MULTI", true),
        ("ECHO x", true),
        ("EXEC", false),
    ] {
        server.run(command);
        assert_eq!(asking(&server), holds, "after {command}");
    }
}

/// The nodes.conf of a primary that has all slots, and of its neighbour.
const NEIGHBOURS: &str = "\
    1111111111111111111111111111111111111111 127.0.0.1:1@10001 master - 0 0 1 connected\n\
    2222222222222222222222222222222222222222 127.0.0.1:21790@31790 myself,master - 0 0 2 connected 0-16383\n\
    vars currentEpoch 2 lastVoteEpoch 0\n";

#[test]
fn who_waits_for_a_key_is_sent_away_when_its_slot_has_gone_and_not_before() {
    let config = Config {
        cluster_enabled: true,
        port: 21790,
        ..Config::default()
    };
    let mut server = Server::with_conf(config, NEIGHBOURS);
    (0..5).for_each(|_| server.advance(1000));
    assert_eq!(server.run("BLPOP a 0"), "");
    let other = join(&mut server.engine, 1);
    let goes =
        |to: &str| format!("CLUSTER SETSLOT 15495 {to} 1111111111111111111111111111111111111111");
    let tell = |server: &mut Server, command: &str| {
        let words = resp::split_words(command.as_bytes()).unwrap();
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let mut request = Vec::new();
        encode(&mut request, &words);
        let reads = [(other, &request[..])];
        let mut turn = server.engine.receive(&reads);
        while turn.step(server.now) {}
        drop(turn);
        server.advance(1000);
        let reply: Vec<u8> = server.engine.output(other).flatten().copied().collect();
        server.engine.sent(other, reply.len());
        shown(&reply)
    };
    assert_eq!(tell(&mut server, &goes("MIGRATING")), "+OK");
    let asked = tell(&mut server, "BLPOP a 0");
    assert_eq!(asked, "-ASK 15495 127.0.0.1:1");
    assert_eq!(server.replies(), "");
    assert_eq!(tell(&mut server, &goes("NODE")), "+OK");
    // (The neighbour, which has a slot now, does not answer.)
    let sent_away = server.replies();
    assert!(
        [
            "-MOVED 15495 127.0.0.1:1",
            "-CLUSTERDOWN The cluster is down"
        ]
        .contains(&&*sent_away),
        "{sent_away}"
    );
}

/// As in Redis: two seconds after its start, since it was in no cluster of which it could have been a minority.
#[test]
fn who_gets_the_first_slots_serves_soon() {
    let mut server = Server::cluster();
    server.advance(1000);
    assert_eq!(server.run("CLUSTER ADDSLOTSRANGE 0 16383"), "+OK");
    let state = |server: &mut Server| {
        let info = server.run("CLUSTER INFO");
        info.contains("cluster_state:ok")
    };
    assert!(!state(&mut server));
    (0..15).for_each(|_| server.advance(100));
    assert!(state(&mut server));
}

#[test]
fn redirections_are_counted_as_errors() {
    let mut server = Server::cluster();
    server.run("GET a");
    server.run("MGET a b");
    let errors = &server.engine.parts.stats.errors;
    assert_eq!(errors.get(&b"CLUSTERDOWN"[..]), Some(&2));
}

// The expectations below are a real Redis 7.0.15's answers.

#[test]
fn a_stale_replica_refuses_what_needs_data() {
    const DOWN: &str =
        "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to \\'no\\'.";
    const READONLY: &str = "-READONLY You can\\'t write against a read only replica.";
    const ABORT: &str = "-EXECABORT Transaction discarded because of previous errors.";
    let mut server = Server::new(Config {
        replica_serve_stale_data: false,
        ..Config::default()
    });
    // Also for what comes in the same piece.
    assert_eq!(
        server.pipeline(&["REPLICAOF 127.0.0.1 1", "SET a 1"]),
        format!("+OK {READONLY}")
    );
    let replies =
        server.ask("GET a\nPING\nECHO a\nSET a 1\nMULTI\nGET a\nECHO a\nEXEC\nMULTI\nECHO a\nEXEC");
    let expected = [
        DOWN, DOWN, "$1 a", READONLY, "+OK", DOWN, "+QUEUED", ABORT, "+OK", "+QUEUED", "*1 $1 a",
    ];
    assert_eq!(replies, expected);
}

#[test]
fn too_few_replicas_refuse_writes() {
    const FEW: &str = "-NOREPLICAS Not enough good replicas to write.";
    let mut server = Server::new(Config {
        min_replicas_to_write: 1,
        ..Config::default()
    });
    let replies = server.ask("SET a 1\nGET a\nMULTI\nSET a 1\nEXEC\nMULTI\nGET a\nEXEC");
    let abort = "-EXECABORT Transaction discarded because of previous errors.";
    let expected = [FEW, "$-1", "+OK", FEW, abort, "+OK", "+QUEUED", "*1 $-1"];
    assert_eq!(replies, expected);
}

#[test]
fn a_failed_save_refuses_writes_and_pings() {
    const MISCONF: &str = "-MISCONF Redis is configured to save RDB snapshots, but it\\'s currently unable to \
                           persist to disk.";
    let mut server = Server::new(Config::default());
    assert_eq!(server.run("SET a 1"), "+OK");
    server.disk = Disk::Full;
    server.run("BGSAVE");
    server.advance(300);
    server.replies();
    for command in ["SET a 1", "PING", "PING x", "DEL a"] {
        let reply = server.run(command);
        assert!(reply.starts_with(MISCONF), "{command}: {reply}");
    }
    assert_eq!(server.run("GET a"), "$1 1");
    server.disk = Disk::Works;
    server.run("BGSAVE");
    server.advance(300);
    server.replies();
    assert_eq!(server.run("SET a 1"), "+OK");
}
