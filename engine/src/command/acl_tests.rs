//! Users over several connections: what is recorded of a real Redis, and what a single connection cannot show.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::testing::{NOW, after_ms, collect, compare, conn, engine, join, run, send, shown};
use crate::config::Config;
use crate::face::{
    Address, ConnId, DiskError, DiskErrorKind, DiskReply, DiskRequest, Effect, Input, Listener,
};
use crate::{Engine, client};

#[test]
fn as_recorded() {
    compare(include_str!("golden/acl.txt"));
}

/// Connections that are closed.
fn closed(engine: &mut Engine) -> Vec<ConnId> {
    let mut closed = Vec::new();
    while let Some(effect) = engine.poll_effect() {
        if let Effect::Close { conn } = effect {
            closed.push(conn);
        }
    }
    closed
}

/// Sends a command without looking at effects.
fn tell(engine: &mut Engine, conn: ConnId, command: &str) {
    let line = format!("{command}\r\n");
    let reads = [(conn, line.as_bytes())];
    let mut turn = engine.receive(&reads);
    while turn.step(NOW) {}
}

/// KB-122.
#[test]
fn what_is_changed_holds_for_those_who_are_there() {
    let mut engine = engine();
    let (a, b) = (join(&mut engine, 1), join(&mut engine, 2));
    send(&mut engine, a, NOW, "ACL SETUSER u on nopass +@all ~*");
    for conn in [a, b] {
        assert_eq!(send(&mut engine, conn, NOW, "AUTH u x"), "+OK");
    }
    assert_eq!(send(&mut engine, b, NOW, "SET k 1"), "+OK");
    send(&mut engine, b, NOW, "MULTI");
    assert_eq!(send(&mut engine, b, NOW, "SET k 2"), "+QUEUED");
    assert_eq!(send(&mut engine, b, NOW, "GET k"), "+QUEUED");
    assert_eq!(send(&mut engine, a, NOW, "ACL SETUSER u -set"), "+OK");
    assert_eq!(
        send(&mut engine, b, NOW, "EXEC"),
        "*2 -NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. \
         This command is no longer allowed for the following reason: no permission to execute the command or \
         subcommand $1 1"
    );
    assert!(send(&mut engine, b, NOW, "SET k 2").starts_with("-NOPERM"));
    send(&mut engine, a, NOW, "ACL SETUSER u +@all allchannels");
    assert_eq!(send(&mut engine, b, NOW, "SET k 2"), "+OK");
    // A user that is off stays in, if it is in.
    send(&mut engine, a, NOW, "ACL SETUSER u off");
    assert_eq!(send(&mut engine, b, NOW, "GET k"), "$1 2");
    assert!(send(&mut engine, b, NOW, "AUTH u x").starts_with("-WRONGPASS"));
    assert_eq!(send(&mut engine, b, NOW, "ACL WHOAMI"), "$1 u");
    assert!(send(&mut engine, b, NOW, "CLIENT INFO").contains(" user=u "));
}

#[test]
fn who_is_deleted_is_gone() {
    let mut engine = engine();
    let (a, b, c) = (
        join(&mut engine, 1),
        join(&mut engine, 2),
        join(&mut engine, 3),
    );
    send(&mut engine, a, NOW, "ACL SETUSER u on nopass +@all ~*");
    send(&mut engine, b, NOW, "AUTH u x");
    send(&mut engine, c, NOW, "AUTH u x");
    // The one that does it has its answer.
    tell(&mut engine, c, "ACL DELUSER u nobody");
    assert_eq!(closed(&mut engine), [b]);
    while engine.poll_output().is_some() {}
    let reply: Vec<u8> = engine.output(c).flatten().copied().collect();
    assert_eq!(shown(&reply), ":1");
    engine.sent(c, reply.len());
    assert_eq!(closed(&mut engine), [c]);
    assert_eq!(send(&mut engine, a, NOW, "PING"), "+PONG");
    // CLIENT KILL USER knows who is who.
    send(&mut engine, a, NOW, "ACL SETUSER v on nopass +@all");
    let d = join(&mut engine, 4);
    send(&mut engine, d, NOW, "AUTH v x");
    tell(&mut engine, a, "CLIENT KILL USER v");
    assert_eq!(closed(&mut engine), [d]);
    assert_eq!(collect(&mut engine, a), ":1");
    assert_eq!(
        send(&mut engine, a, NOW, "CLIENT KILL USER w"),
        "-ERR No such user \\'w\\'"
    );
}

/// KB-122: nor do those stay who listen.
#[test]
fn who_listens_to_what_it_may_not_hear_any_more_is_cut_off() {
    let mut engine = engine();
    let a = join(&mut engine, 1);
    send(
        &mut engine,
        a,
        NOW,
        "ACL SETUSER u on nopass +@all &a &b* ~*",
    );
    let mut listen = |n: u32, command: &str| {
        let conn = join(&mut engine, n);
        send(&mut engine, conn, NOW, "AUTH u x");
        let reply = send(&mut engine, conn, NOW, command);
        (conn, reply)
    };
    let no = "-NOPERM this user has no permissions to access one of the channels used as arguments";
    assert_eq!(listen(2, "SUBSCRIBE c").1, no);
    assert_eq!(listen(3, "PSUBSCRIBE b?").1, no);
    let (by_name, _) = listen(4, "SUBSCRIBE a b1");
    let (by_pattern, _) = listen(5, "PSUBSCRIBE b*");
    let (sharded, _) = listen(6, "SSUBSCRIBE b2");
    let (spared, reply) = listen(7, "SUBSCRIBE a");
    assert!(reply.ends_with("$1 a :1"));
    tell(&mut engine, a, "ACL SETUSER u &d");
    assert_eq!(closed(&mut engine), []);
    tell(&mut engine, a, "ACL SETUSER u resetchannels &a &b");
    let mut cut = closed(&mut engine);
    cut.sort_unstable();
    assert_eq!(cut, [by_name, by_pattern, sharded]);
    tell(&mut engine, a, "ACL SETUSER u resetchannels");
    assert_eq!(closed(&mut engine), [spared]);
}

#[test]
fn refusals_are_remembered() {
    let mut engine = engine();
    let a = join(&mut engine, 1);
    send(&mut engine, a, NOW, "ACL SETUSER u on >p +@all -set ~a*");
    send(&mut engine, a, NOW, "AUTH u wrong");
    send(&mut engine, a, NOW, "HELLO 3 AUTH u wrong");
    send(&mut engine, a, NOW, "AUTH u p");
    send(&mut engine, a, after_ms(1), "GET b");
    send(&mut engine, a, after_ms(2), "GET b");
    send(&mut engine, a, NOW, "MULTI");
    send(&mut engine, a, NOW, "SET a b");
    send(&mut engine, a, NOW, "DISCARD");
    send(&mut engine, a, NOW, "PUBLISH c m");
    send(
        &mut engine,
        a,
        NOW,
        "EVAL \"return redis.pcall('set', 'a', 1)\" 0",
    );
    send(&mut engine, a, NOW, "CLIENT SETNAME me");
    send(&mut engine, a, NOW, "GET b");
    let log = run(&mut engine, "ACL LOG");
    let entries: Vec<&str> = log.split("*20 ").skip(1).collect();
    let field = |entry: &str, name: &str| -> String {
        let mut words = entry.split(' ').skip_while(|word| *word != name).skip(1);
        let word = words.next().unwrap_or_default();
        match word.strip_prefix(':') {
            Some(number) => number.into(),
            None => words.next().unwrap_or_default().into(),
        }
    };
    let told: Vec<[String; 5]> = (entries.iter())
        .map(|e| ["count", "reason", "context", "object", "username"].map(|name| field(e, name)))
        .collect();
    assert_eq!(
        told,
        [
            ["3", "key", "toplevel", "b", "u"],
            ["1", "command", "lua", "set", "u"],
            ["1", "channel", "toplevel", "c", "u"],
            ["1", "command", "multi", "set", "u"],
            ["1", "auth", "toplevel", "HELLO", "u"],
            ["1", "auth", "toplevel", "AUTH", "u"],
        ]
    );
    assert!(entries[0].contains(" name=me ") && entries[1].contains("cmd=eval user=u"));
    assert_eq!(field(entries[0], "entry-id"), "2");
    let stats = run(&mut engine, "INFO stats");
    for (field, count) in [("auth", 2), ("cmd", 2), ("key", 3), ("channel", 1)] {
        assert!(
            stats.contains(&format!("acl_access_denied_{field}:{count} ")),
            "{stats}"
        );
    }
    assert_eq!(run(&mut engine, "CONFIG SET acllog-max-len 2"), "+OK");
    send(&mut engine, a, NOW, "GET c");
    assert!(run(&mut engine, "ACL LOG").starts_with("*2 "));
    assert!(run(&mut engine, "ACL LOG 1").starts_with("*1 "));
    assert_eq!(run(&mut engine, "ACL LOG RESET"), "+OK");
    assert_eq!(run(&mut engine, "ACL LOG"), "*0");
}

#[test]
fn the_default_user_decides_who_must_say_who_they_are() {
    let mut engine = engine();
    let a = join(&mut engine, 1);
    assert_eq!(send(&mut engine, a, NOW, "CONFIG SET requirepass p"), "+OK");
    let b = join(&mut engine, 2);
    let no = "-NOAUTH Authentication required.";
    assert_eq!(send(&mut engine, b, NOW, "PING"), no);
    // Who was in stays in.
    assert_eq!(send(&mut engine, a, NOW, "PING"), "+PONG");
    assert_eq!(
        send(&mut engine, a, NOW, "ACL SETUSER default nopass"),
        "+OK"
    );
    assert_eq!(send(&mut engine, b, NOW, "PING"), "+PONG");
    assert_eq!(
        send(&mut engine, a, NOW, "ACL SETUSER default resetpass >q"),
        "+OK"
    );
    assert_eq!(send(&mut engine, b, NOW, "PING"), no);
    assert_eq!(send(&mut engine, b, NOW, "AUTH q"), "+OK");
    // A default user that may not do everything is as limited as any other.
    assert_eq!(
        send(&mut engine, a, NOW, "ACL SETUSER default -config"),
        "+OK"
    );
    assert!(send(&mut engine, b, NOW, "CONFIG GET port").starts_with("-NOPERM"));
}

#[test]
fn passwords_are_shown_to_nobody() {
    let mut engine = engine();
    let (a, b) = (join(&mut engine, 1), join(&mut engine, 2));
    send(&mut engine, a, NOW, "CONFIG SET slowlog-log-slower-than 0");
    send(&mut engine, b, NOW, "MONITOR");
    for secret in [
        "AUTH hush",
        "AUTH u hush",
        "ACL SETUSER u >hush",
        "HELLO 2 AUTH u hush",
    ] {
        send(&mut engine, a, NOW, secret);
    }
    let seen = collect(&mut engine, b);
    assert!(
        seen.contains("AUTH\\\" \\\"(redacted)") && !seen.contains("hush"),
        "{seen}"
    );
    let slow = send(&mut engine, a, NOW, "SLOWLOG GET -1");
    assert!(
        slow.contains("(redacted)") && !slow.contains("hush"),
        "{slow}"
    );
}

/// An engine that is to read users.acl first.
fn with_file() -> Config {
    Config {
        aclfile: "users.acl".into(),
        ..Config::default()
    }
}

/// The next request to the disk, and the log lines before it.
fn request(engine: &mut Engine, log: &mut String) -> Option<DiskRequest> {
    while let Some(effect) = engine.poll_effect() {
        match effect {
            Effect::Disk { request, .. } => return Some(request),
            Effect::Log { text, .. } => *log += &(text + "\n"),
            Effect::Exit { code } => *log += &format!("exit {code}\n"),
            _ => {}
        }
    }
    None
}

fn answer(engine: &mut Engine, result: Result<DiskReply, DiskError>) {
    let op = crate::OpId(0);
    engine.handle(NOW, Input::Disk { op, result });
}

fn no_file() -> DiskError {
    DiskError {
        kind: DiskErrorKind::NotFound,
        written: 0,
        message: "No such file or directory".into(),
    }
}

/// Answers the requests of reading the file.
fn read_file(engine: &mut Engine, text: &str) {
    let mut log = String::new();
    let mut text = Some(text);
    loop {
        match request(engine, &mut log) {
            Some(DiskRequest::Open { path, .. }) if path == "users.acl" => {
                answer(engine, Ok(DiskReply::Opened { len: 0 }));
            }
            Some(DiskRequest::Read { .. }) => {
                let piece = text.take().unwrap_or_default();
                answer(engine, Ok(DiskReply::Data(piece.into())));
            }
            Some(DiskRequest::Close { .. }) => return answer(engine, Ok(DiskReply::Done)),
            other => panic!("{other:?}, {log}"),
        }
    }
}

#[test]
fn nobody_is_served_before_the_users_are_known() {
    let mut engine = Engine::new(with_file(), [7; 32], NOW);
    let a = join(&mut engine, 1);
    let stranger = ConnId::accepted(2, 0);
    let far = Address::Ip(([10, 0, 0, 1], 1).into());
    engine.handle(
        NOW,
        Input::Accepted {
            conn: stranger,
            listener: Listener::Tcp,
            peer: far.clone(),
            local: far,
        },
    );
    tell(&mut engine, a, "ACL WHOAMI");
    tell(&mut engine, stranger, "ACL WHOAMI");
    read_file(
        &mut engine,
        "user default on nopass ~* +@all\nuser u on >p +@all\n",
    );
    let mut turn = engine.receive(&[]);
    while turn.step(NOW) {}
    drop(turn);
    assert_eq!(collect(&mut engine, a), "$7 default");
    // Protected mode holds for who came early too.
    assert!(collect(&mut engine, stranger).starts_with("-DENIED"));
    assert!(send(&mut engine, a, NOW, "HELLO 2").starts_with("*14 "));
    assert_eq!(send(&mut engine, a, NOW, "AUTH u p"), "+OK");
    assert_eq!(send(&mut engine, a, NOW, "ACL WHOAMI"), "$1 u");
}

#[test]
fn a_server_whose_users_cannot_be_read_does_not_start() {
    let mut engine = Engine::new(with_file(), [7; 32], NOW);
    let mut log = String::new();
    assert!(request(&mut engine, &mut log).is_some());
    answer(&mut engine, Err(no_file()));
    assert_eq!(request(&mut engine, &mut log), None);
    assert!(log.ends_with(
        "Aborting Redis startup because of ACL errors: Error loading ACLs, opening file 'users.acl': \
         No such file or directory\nexit 1\n"
    ));
    let mut engine = Engine::new(with_file(), [7; 32], NOW);
    read_file(&mut engine, "user u on\nwrong\n");
    log.clear();
    assert_eq!(request(&mut engine, &mut log), None);
    assert!(
        log.contains("users.acl:2 should start with user keyword") && log.ends_with("exit 1\n")
    );
    let both = Config {
        users: vec![vec![b"u".to_vec()]],
        ..with_file()
    };
    log.clear();
    assert_eq!(
        request(&mut Engine::new(both, [7; 32], NOW), &mut log),
        None
    );
    assert!(log.starts_with("Configuring Redis with users defined in redis.conf"));
    let unknown = Config {
        users: vec![vec![b"u".to_vec(), b"+nosuch".to_vec()]],
        ..Config::default()
    };
    log.clear();
    assert_eq!(
        request(&mut Engine::new(unknown, [7; 32], NOW), &mut log),
        None
    );
    assert!(log.ends_with("Critical error while loading ACLs. Exiting.\nexit 1\n"));
}

/// A server that has read its users.
fn served(text: &str) -> Engine {
    let mut engine = Engine::new(with_file(), [7; 32], NOW);
    read_file(&mut engine, text);
    // What is asked of the disk next (the data) is not there.
    let mut log = String::new();
    while let Some(asked) = request(&mut engine, &mut log) {
        answer(
            &mut engine,
            match asked {
                DiskRequest::List { .. } => Ok(DiskReply::Names(Vec::new())),
                DiskRequest::Open { .. } => Err(no_file()),
                _ => Ok(DiskReply::Done),
            },
        );
    }
    engine
}

#[test]
fn the_file_is_loaded_and_saved() {
    let mut engine = served("user default on nopass ~* &* +@all\nuser u on nopass ~* +@all\n");
    let (a, b, c) = (
        join(&mut engine, 1),
        join(&mut engine, 2),
        join(&mut engine, 3),
    );
    send(&mut engine, b, NOW, "AUTH u x");
    send(&mut engine, c, NOW, "AUTH u x");
    tell(&mut engine, a, "ACL LOAD");
    let mut log = String::new();
    assert!(request(&mut engine, &mut log).is_some());
    answer(&mut engine, Err(no_file()));
    assert_eq!(
        collect(&mut engine, a),
        "-ERR Error loading ACLs, opening file \\'users.acl\\': No such file or directory"
    );
    tell(&mut engine, a, "ACL LOAD");
    read_file(&mut engine, "user u +nosuch");
    assert_eq!(
        collect(&mut engine, a),
        "-ERR users.acl:1: Error in applying operation \\'+nosuch\\': Unknown command or category name in ACL. \
         WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
    );
    assert_eq!(send(&mut engine, b, NOW, "PING"), "+PONG");
    // Who asked has its answer, though its user is another one now.
    tell(&mut engine, b, "ACL LOAD");
    read_file(&mut engine, "user u on nopass +@all\n");
    assert_eq!(closed(&mut engine), [c]);
    while engine.poll_output().is_some() {}
    let reply: Vec<u8> = engine.output(b).flatten().copied().collect();
    assert_eq!(shown(&reply), "+OK");
    engine.sent(b, reply.len());
    assert_eq!(closed(&mut engine), [b]);
    assert_eq!(send(&mut engine, a, NOW, "ACL SETUSER v +get ~k"), "+OK");
    tell(&mut engine, a, "ACL SAVE");
    let mut written = Vec::new();
    let mut steps = Vec::new();
    while let Some(asked) = request(&mut engine, &mut log) {
        steps.push(match asked {
            DiskRequest::Open { path, .. } => format!("open {path}"),
            DiskRequest::Write { data, .. } => {
                data.iter()
                    .for_each(|piece| written.extend_from_slice(piece));
                "write".into()
            }
            DiskRequest::Sync { .. } => "sync".into(),
            DiskRequest::Close { .. } => "close".into(),
            DiskRequest::Rename { from, to } => format!("rename {from} {to}"),
            DiskRequest::SyncDir { path } => format!("sync {path}"),
            other => panic!("{other:?}"),
        });
        answer(&mut engine, Ok(DiskReply::Done));
    }
    assert_eq!(
        steps,
        [
            "open users.acl.tmp",
            "write",
            "sync",
            "close",
            "rename users.acl.tmp users.acl",
            "sync ."
        ]
    );
    assert_eq!(collect(&mut engine, a), "+OK");
    assert_eq!(
        String::from_utf8(written).unwrap(),
        "user default on nopass ~* &* +@all\nuser u on nopass resetchannels +@all\n\
         user v off ~k resetchannels -@all +get\n"
    );
    tell(&mut engine, a, "ACL SAVE");
    assert!(request(&mut engine, &mut log).is_some());
    answer(&mut engine, Err(no_file()));
    assert!(
        collect(&mut engine, a).starts_with("-ERR There was an error trying to save the ACLs.")
    );
}

#[test]
fn limits_cost_nothing_to_those_who_have_none() {
    let mut engine = engine();
    run(&mut engine, "ACL SETUSER u on nopass +@all ~* &*");
    run(&mut engine, "AUTH u x");
    let alerts = |engine: &Engine| engine.parts.clients.get(conn()).map(|s| s.alerts);
    assert_eq!(alerts(&engine), Some(0));
    run(&mut engine, "ACL SETUSER u -debug");
    assert_eq!(alerts(&engine), Some(client::alert::LIMITED));
}
