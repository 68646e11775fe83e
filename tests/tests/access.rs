//! Users: what operators set up and clients meet, over sockets and over restarts; and with a real Redis as peer.

use reprise_tests::server::subject_is_oracle;
use reprise_tests::wait::{SOON, until};
use reprise_tests::{Conn, Server, oracle, subject};
use std::fs;

const FILE: &str = "user default on nopass sanitize-payload ~* &* +@all\n\
                    user reader on >secret ~r:* resetchannels -@all +@read\n";

fn with_file() -> Server {
    subject()
        .set("aclfile", "users.acl")
        .start_with(|dir| fs::write(dir.join("users.acl"), FILE).expect("the ACL file"))
}

fn as_reader(server: &Server) -> Conn {
    let mut conn = server.conn();
    conn.ok("AUTH reader secret");
    conn
}

#[test]
fn the_file_s_users_are_there_from_the_start_and_after_a_restart() {
    let mut server = with_file();
    let mut conn = server.conn();
    conn.ok("SET r:1 one");
    let mut reader = as_reader(&server);
    assert_eq!(reader.run("GET r:1").text(), "one");
    assert_eq!(
        reader.run("SET r:1 two").text(),
        "NOPERM this user has no permissions to run the 'set' command"
    );
    assert_eq!(
        reader.run("GET other").text(),
        "NOPERM this user has no permissions to access one of the keys used as arguments"
    );
    conn.ok("ACL SETUSER writer on >pen ~* +set");
    conn.ok("ACL SAVE");
    let saved = fs::read_to_string(server.path("users.acl")).expect("the file");
    assert_eq!(saved.lines().count(), 3);
    assert!(saved.starts_with(FILE.lines().next().expect("a line")));
    server.kill();
    server.restart();
    let mut writer = server.conn();
    writer.ok("AUTH writer pen");
    writer.ok("SET k v");
    assert!(writer.run("GET k").is_error());
}

#[test]
fn a_file_that_is_loaded_anew_replaces_users_or_changes_nothing() {
    let server = with_file();
    let (mut conn, mut reader) = (server.conn(), as_reader(&server));
    fs::write(server.path("users.acl"), "user reader on\nuser x +nosuch\n").expect("the file");
    let error = conn.run("ACL LOAD").text();
    assert!(
        error.contains("users.acl:2: Error in applying operation '+nosuch'"),
        "{error}"
    );
    assert!(!reader.run("GET r:1").is_error());
    fs::write(server.path("users.acl"), "user other on nopass +@all\n").expect("the file");
    conn.ok("ACL LOAD");
    until(SOON, "the reader is disconnected", || {
        reader.run("GET r:1");
        reader.is_closed()
    });
    assert_eq!(conn.ok("ACL USERS").items().len(), 2);
}

#[test]
fn a_server_with_a_broken_file_does_not_start() {
    for (text, why) in [
        (
            "user a on\nuser a off\n",
            "WARNING: Duplicate user 'a' found on line 2.",
        ),
        (
            "nobody\n",
            ":1 should start with user keyword followed by the username.",
        ),
        (
            "user a +nosuch\n",
            ":1: Error in applying operation '+nosuch'",
        ),
    ] {
        let mut server = with_file();
        server.kill();
        fs::write(server.path("users.acl"), text).expect("the file");
        let error = server.restart_fails();
        assert!(
            error.contains("Aborting Redis startup because of ACL errors: "),
            "{error}"
        );
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn users_of_the_configuration_file_are_kept_by_config_rewrite() {
    let mut server = subject()
        .set(
            "user",
            "keeper on >key ~k:* resetchannels &news +@all -debug (+get ~r:*)",
        )
        .start();
    let mut conn = server.conn();
    let described = conn.ok("ACL LIST").items()[1].text();
    assert!(
        described
            .ends_with("~k:* resetchannels &news +@all -debug (~r:* resetchannels -@all +get)"),
        "{described}"
    );
    conn.ok("ACL SETUSER second on nopass +ping");
    conn.ok("CONFIG REWRITE");
    server.kill();
    server.restart();
    let mut conn = server.conn();
    let lines = conn.ok("ACL LIST").items();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[1].text(), described);
    assert_eq!(
        lines[2].text(),
        "user second on nopass resetchannels -@all +ping"
    );
}

#[test]
fn a_limited_user_is_enough_to_replicate() {
    let primary = subject().start();
    let mut conn = primary.conn();
    conn.ok("ACL SETUSER follower on >link +psync +replconf +ping");
    conn.ok("ACL SETUSER default resetpass >key");
    conn.ok("AUTH key");
    conn.ok("SET k v");
    let others = [Some(subject()), oracle().filter(|_| !subject_is_oracle())];
    for launch in others.into_iter().flatten() {
        let replica = launch
            .set("masteruser", "follower")
            .set("masterauth", "link")
            .set("replicaof", &format!("127.0.0.1 {}", primary.port()))
            .start();
        let mut follower = replica.conn();
        until(SOON, "the replica has the data", || {
            follower.run("GET k").text() == "v"
        });
    }
    // Without its password it gets nothing.
    let stranger = subject()
        .set("replicaof", &format!("127.0.0.1 {}", primary.port()))
        .start();
    until(SOON, "the log says why", || {
        stranger.log().contains("NOAUTH Authentication required")
    });
}

#[test]
fn both_read_what_the_other_describes() {
    let Some(oracle) = oracle() else { return };
    let (subject, oracle) = (subject().start(), oracle.start());
    let (mut ours, mut theirs) = (subject.conn(), oracle.conn());
    let rules = [
        "on >a +@all -@dangerous +config|get ~x* %R~y &c",
        "off nopass +@read +@write -get -set|x ~*",
        "on +get +set +select|1 resetkeys (+@string ~s*) (%W~w +@hash -hget &*)",
        "on -@all +@connection -client|kill allchannels",
    ];
    for rules in rules {
        for server in [&mut ours, &mut theirs] {
            server.run("ACL DELUSER u v");
            server.run(&format!("ACL SETUSER u {rules}"));
        }
        for (from, to) in [(0, 1), (1, 0)] {
            let mut sides = [&mut ours, &mut theirs];
            let lines = sides[from].ok("ACL LIST").items();
            let Some(line) = lines
                .iter()
                .map(|l| l.text())
                .find(|l| l.starts_with("user u "))
            else {
                continue;
            };
            // Commands that only one of the two knows cannot be told to the other.
            let known: Vec<&str> = (line.split(' ').skip(2))
                .filter(|word| {
                    let name = word.trim_matches(|c| "()+-".contains(c));
                    let single =
                        word.contains(['+', '-']) && !name.contains(['@', '~', '%', '&', '#']);
                    let flag = ["sanitize-payload", "skip-sanitize-payload"].contains(word);
                    !single || flag || {
                        let name = name.split('|').next().unwrap_or_default();
                        !sides[to].cmd(&["COMMAND", "INFO", name]).items()[0].is_null()
                    }
                })
                .collect();
            let mut words = vec!["ACL", "SETUSER", "v"];
            words.extend(known);
            assert_eq!(sides[to].cmd(&words).text(), "OK", "{line}");
        }
    }
}
