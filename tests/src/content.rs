//! What a server holds, read by ordinary commands, so that two servers can be compared whatever they
//! are; and something of every type to hold.

use crate::conn::Conn;
use crate::resp::Value;
use crate::server::subject;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Of each key in each database: its type, value and time of expiry in milliseconds (-1: none).
pub type Content = BTreeMap<(u32, Vec<u8>), (String, Value, i64)>;

/// Databases that are looked at.
const DATABASES: u32 = 3;

/// All that a server holds in its first three databases.
#[track_caller]
pub fn content(conn: &mut Conn) -> Content {
    databases(conn, DATABASES)
}

/// All that a node of a cluster holds (there is only one database), also if it is a replica.
#[track_caller]
pub fn content_of_node(conn: &mut Conn) -> Content {
    conn.ok("READONLY");
    databases(conn, 1)
}

#[track_caller]
fn databases(conn: &mut Conn, count: u32) -> Content {
    let mut found = Content::new();
    for database in 0..count {
        if count > 1 {
            conn.ok(&format!("SELECT {database}"));
        }
        for key in conn.cmd(&["KEYS", "*"]).items() {
            let kind = conn.cmd(&[b"TYPE", key.bytes()]).text();
            let mut value = match kind.as_str() {
                "hash" => pairs(conn.cmd(&[b"HGETALL", key.bytes()])),
                "list" => conn.cmd(&[b"LRANGE" as &[u8], key.bytes(), b"0", b"-1"]),
                "set" => conn.cmd(&[b"SMEMBERS", key.bytes()]),
                "stream" => conn.cmd(&[b"XRANGE" as &[u8], key.bytes(), b"-", b"+"]),
                "zset" => conn.cmd(&[b"ZRANGE" as &[u8], key.bytes(), b"0", b"-1", b"WITHSCORES"]),
                _ => conn.cmd(&[b"GET", key.bytes()]),
            };
            if let (Value::Array(items), "hash" | "set") = (&mut value, kind.as_str()) {
                items.sort();
            }
            let expiry = conn.cmd(&[b"PEXPIRETIME", key.bytes()]).int().unwrap_or(-3);
            // A key that expired while we looked is none.
            if kind != "none" {
                found.insert((database, key.bytes().to_vec()), (kind, value, expiry));
            }
        }
    }
    if count > 1 {
        conn.ok("SELECT 0");
    }
    found
}

fn pairs(value: Value) -> Value {
    Value::Array(
        value
            .items()
            .chunks(2)
            .map(|pair| Value::Array(pair.to_vec()))
            .collect(),
    )
}

/// Puts something of every type and size that the subject knows into a server, which may be the oracle.
/// The numbers that follow from `salt` make the content of one server different from another's.
#[track_caller]
pub fn fill(conn: &mut Conn, salt: usize) {
    let mut fill = Filler {
        conn,
        pending: Vec::new(),
    };
    for n in 0..200 {
        fill.send(&["SET", &format!("string:{n}"), &format!("value {salt} {n}")]);
        fill.send(&[
            "SET",
            &format!("number:{n}"),
            &(salt * 1_000_003 * n).to_string(),
        ]);
    }
    fill.send(&["SET", "long", &"abcdefghij".repeat(5_000 + salt)]);
    fill.send(&["SET", "", "the empty key"]);
    fill.send(&["SET", "until 2100", "v", "PXAT", "4102444800123"]);
    fill.send(&["MSET", "k\r\n\0", "binary\0\r\n", "{tag}a", "1"]);
    fill.send(&[
        "HSET",
        "small hash",
        "f",
        "1",
        "",
        "empty",
        "g",
        &salt.to_string(),
    ]);
    fill.send(&["PEXPIREAT", "small hash", "4102444800456"]);
    for n in 0..600 {
        fill.send(&[
            "HSET",
            "large hash",
            &format!("field {n}"),
            &format!("{}", n * salt),
        ]);
        fill.send(&["RPUSH", "large list", &format!("element {n} {salt}")]);
        fill.send(&["SADD", "large set", &format!("member {n} {salt}")]);
        fill.send(&[
            "ZADD",
            "large zset",
            &format!("{}.5", n * 7 % 600),
            &format!("member {n}"),
        ]);
        fill.send(&[
            "XADD",
            "stream",
            &format!("{}-1", n + 1),
            "field",
            &salt.to_string(),
        ]);
    }
    fill.send(&["HSET", "hash of long", "f", &"x".repeat(100)]);
    fill.send(&["RPUSH", "small list", "a", "b", "", "1"]);
    fill.send(&["SADD", "numbers", "1", "2", "70000", "-5"]);
    fill.send(&["SADD", "small set", "a", "b"]);
    fill.send(&["ZADD", "small zset", "1", "a", "-inf", "b", "2.25", "c"]);
    fill.send(&["SELECT", "2"]);
    fill.send(&["SET", "elsewhere", &salt.to_string()]);
    fill.send(&["SELECT", "0"]);
    fill.finish();
}

/// Sends without waiting.
struct Filler<'a> {
    conn: &'a mut Conn,
    pending: Vec<String>,
}

impl Filler<'_> {
    fn send(&mut self, args: &[&str]) {
        if subject_knows(args[0]) {
            self.conn.send(args);
            self.pending.push(args[..args.len().min(2)].join(" "));
        }
    }

    #[track_caller]
    fn finish(self) {
        for command in self.pending {
            let reply = self.conn.reply();
            assert!(
                !reply.is_error() && reply != Value::Closed,
                "{command}: {reply:?}"
            );
        }
    }
}

/// Whether the server under test has a command that makes collections: what it has not, it cannot load
/// or replicate either.
fn subject_knows(command: &str) -> bool {
    const MAKERS: [&str; 4] = ["RPUSH", "SADD", "XADD", "ZADD"];
    static KNOWN: OnceLock<Vec<&str>> = OnceLock::new();
    let known = KNOWN.get_or_init(|| {
        let server = subject().start();
        let mut conn = server.conn();
        let knows = |maker: &&str| !conn.cmd(&[maker]).text().starts_with("ERR unknown command");
        MAKERS.into_iter().filter(knows).collect()
    });
    !MAKERS.contains(&command) || known.contains(&command)
}
