//! A data set drawn from a seed that has every type in every encoding, and all that can be seen of one.
//!
//! Which encodings come about depends on the thresholds that are drawn with it ([`Zoo::settings`]).

use crate::conn::Conn;
use crate::resp::Value;
use crate::server::Launch;
use std::collections::BTreeSet;

/// Draws of one data set.
pub struct Zoo {
    seed: u64,
    state: u64,
    kept: Kept,
}

/// How much of a data set survives a way of keeping it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All that a snapshot has.
    InSnapshot,
    /// All that Redis's commands say: not the times of last uses, when consumers were last seen, how much groups
    /// have read.
    AsCommands,
}

/// Databases with keys in them.
const DATABASES: u32 = 3;

impl Zoo {
    /// The data set of this seed, with nothing in it that is not kept so.
    pub fn new(seed: u64, kept: Kept) -> Zoo {
        Zoo {
            seed,
            kept,
            state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % limit
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// A server with thresholds of this data set.
    #[must_use]
    pub fn settings(&mut self, launch: Launch) -> Launch {
        let mut launch = launch;
        let choices: [(&str, &[&str]); 11] = [
            ("hash-max-listpack-entries", &["0", "4", "512"]),
            ("hash-max-listpack-value", &["8", "64"]),
            ("zset-max-listpack-entries", &["0", "4", "128"]),
            ("zset-max-listpack-value", &["8", "64"]),
            ("set-max-intset-entries", &["0", "8", "512"]),
            ("list-max-listpack-size", &["-2", "-1", "3", "128"]),
            ("list-compress-depth", &["0", "1", "2"]),
            ("stream-node-max-entries", &["2", "7", "100"]),
            ("stream-node-max-bytes", &["64", "4096"]),
            ("rdbcompression", &["yes", "yes", "no"]),
            (
                "maxmemory-policy",
                &["noeviction", "allkeys-lru", "allkeys-lfu"],
            ),
        ];
        for (name, values) in choices {
            launch = launch.set(name, self.pick(values));
        }
        // Counters that stay as they are, so that they can be compared.
        launch.set("lfu-decay-time", "0")
    }

    /// Bytes of many kinds: numbers, text that compresses and text that does not, none at all.
    fn bytes(&mut self) -> Vec<u8> {
        match self.below(9) {
            0 => Vec::new(),
            1 => (self.below(500) as i64 - 250).to_string().into_bytes(),
            2 => {
                let bits = self.below(64);
                let n = (self.below(u64::MAX) as i64) >> bits;
                n.to_string().into_bytes()
            }
            3 => vec![b'a' + (self.below(26) as u8); self.below(300) as usize],
            4 => {
                let len = self.below(40);
                (0..len).map(|_| self.below(256) as u8).collect()
            }
            5 if self.below(6) == 0 => {
                let len = 5_000 + self.below(20_000);
                (0..len).map(|_| self.below(256) as u8).collect()
            }
            6 if self.below(6) == 0 => b"all work and no play ".repeat(self.below(3_000) as usize),
            7 => self
                .pick(&[
                    &b"007"[..],
                    b"-0",
                    b" 1",
                    b"1e3",
                    b"9223372036854775808",
                    b"\r\n\0",
                ])
                .to_vec(),
            _ => format!("text {}", self.below(1_000_000)).into_bytes(),
        }
    }

    /// How many elements: few, or enough for the large encodings.
    fn size(&mut self) -> u64 {
        match self.below(4) {
            0 => 1,
            1 => 2 + self.below(6),
            2 => 20 + self.below(200),
            _ => 600 + self.below(300),
        }
    }

    /// (No -0: a small sorted set takes it for 0, a large one does not, so what becomes of it depends on when it comes.)
    fn score(&mut self) -> String {
        match self.below(6) {
            0 => self.pick(&["inf", "-inf", "0", "1e300", "5e-324"]).into(),
            1 => format!("{}", self.below(1 << 60)),
            2 => format!("{}.{}", self.below(100), self.below(1_000_000)),
            _ => format!("{}", self.below(1000) as i64 - 500),
        }
    }

    /// Puts the data set into a server.
    #[track_caller]
    pub fn fill(&mut self, conn: &mut Conn) {
        let mut out = Sender { conn, sent: 0 };
        let library = format!(
            "#!lua name=lib{0}\nredis.register_function('f{0}', function() return {0} end)\n",
            self.seed
        );
        out.send(&[b"FUNCTION".to_vec(), b"LOAD".to_vec(), library.into_bytes()]);
        for db in 0..DATABASES {
            out.words(&format!("SELECT {db}"));
            for n in 0..60 {
                let key = match self.below(12) {
                    0 => [self.bytes(), n.to_string().into_bytes()].concat(),
                    _ => format!("key:{n}").into_bytes(),
                };
                self.value(&mut out, &key);
                if self.below(4) == 0 {
                    let at = 4_102_444_800_000 + self.below(1_000_000_000);
                    out.send(&[b"PEXPIREAT".to_vec(), key, at.to_string().into_bytes()]);
                }
            }
            self.access(&mut out, db);
        }
        out.words("SELECT 0");
        out.finish();
    }

    fn value(&mut self, out: &mut Sender<'_>, key: &[u8]) {
        let kind = self.below(8);
        let count = if kind < 2 { 1 } else { self.size() };
        match kind {
            0 => out.send(&[b"SET".to_vec(), key.to_vec(), self.bytes()]),
            1 => {
                out.send(&[b"SET".to_vec(), key.to_vec(), b"a".to_vec()]);
                // Longer than it was made, and not shared with a request.
                out.send(&[b"APPEND".to_vec(), key.to_vec(), self.bytes()]);
            }
            2 => {
                for _ in 0..count {
                    let end = self.pick(&[&b"LPUSH"[..], b"RPUSH"]).to_vec();
                    out.send(&[end, key.to_vec(), self.bytes()]);
                }
            }
            3 => {
                // One width of numbers, or numbers and others.
                let (bits, odd) = (self.pick(&[8, 16, 33, 62]), self.below(3) == 0);
                for _ in 0..count {
                    let n = (self.below(1 << bits) as i64 - (1 << (bits - 1))).to_string();
                    let member = if odd { self.bytes() } else { n.into_bytes() };
                    out.send(&[b"SADD".to_vec(), key.to_vec(), member]);
                }
            }
            4 => {
                for _ in 0..count {
                    let score = self.score().into_bytes();
                    out.send(&[b"ZADD".to_vec(), key.to_vec(), score, self.bytes()]);
                }
            }
            5 => {
                for _ in 0..count {
                    let (field, value) = (self.bytes(), self.bytes());
                    out.send(&[b"HSET".to_vec(), key.to_vec(), field, value]);
                }
            }
            6 => {
                for _ in 0..count {
                    out.send(&[b"PFADD".to_vec(), key.to_vec(), self.bytes()]);
                }
            }
            _ => self.stream(out, key, count),
        }
    }

    fn stream(&mut self, out: &mut Sender<'_>, key: &[u8], count: u64) {
        let say = |out: &mut Sender<'_>, words: &[&[u8]]| {
            out.send(&words.iter().map(|word| word.to_vec()).collect::<Vec<_>>());
        };
        let same = self.below(2) == 0;
        let mut ids = Vec::new();
        for n in 0..count {
            let id = format!("{}-{}", 1 + n / 3, 1 + n % 3);
            let mut words = vec![b"XADD".to_vec(), key.to_vec(), id.clone().into_bytes()];
            for field in 0..1 + self.below(3) {
                let name = if same {
                    format!("f{field}").into_bytes()
                } else {
                    self.bytes()
                };
                words.extend([name, self.bytes()]);
            }
            out.send(&words);
            ids.push(id);
        }
        let deleted: Vec<String> = ids.iter().filter(|_| self.below(5) == 0).cloned().collect();
        // (What is pending and deleted is not kept by commands, neither by Redis's.)
        if self.kept == Kept::AsCommands {
            self.shorten(out, key, &deleted);
        }
        for group in 0..self.below(3) {
            let group = format!("group {group}");
            let group = group.as_bytes();
            let from = self.pick(&["0", "$", "1-2"]);
            say(out, &[b"XGROUP", b"CREATE", key, group, from.as_bytes()]);
            say(
                out,
                &[b"XGROUP", b"CREATECONSUMER", key, group, b"idle one"],
            );
            for consumer in [&b"a"[..], b"b"] {
                let some = (1 + self.below(20)).to_string();
                let some = some.as_bytes();
                say(
                    out,
                    &[
                        b"XREADGROUP",
                        b"GROUP",
                        group,
                        consumer,
                        b"COUNT",
                        some,
                        b"STREAMS",
                        key,
                        b">",
                    ],
                );
            }
            for id in ids.iter().take(9) {
                if self.below(3) > 0 {
                    continue;
                }
                match self.below(2) {
                    0 => say(out, &[b"XACK", key, group, id.as_bytes()]),
                    _ => say(
                        out,
                        &[
                            b"XCLAIM",
                            key,
                            group,
                            b"c",
                            b"0",
                            id.as_bytes(),
                            b"TIME",
                            b"1600000000000",
                            b"RETRYCOUNT",
                            b"7",
                        ],
                    ),
                }
            }
        }
        if self.kept == Kept::InSnapshot {
            self.shorten(out, key, &deleted);
        }
    }

    fn shorten(&mut self, out: &mut Sender<'_>, key: &[u8], deleted: &[String]) {
        let mut say = |words: &[&[u8]]| {
            out.send(&words.iter().map(|word| word.to_vec()).collect::<Vec<_>>());
        };
        for id in deleted {
            say(&[b"XDEL", key, id.as_bytes()]);
        }
        match self.below(4) {
            0 => say(&[b"XTRIM", key, b"MAXLEN", b"3"]),
            1 => say(&[
                b"XSETID",
                key,
                b"9999-9",
                b"ENTRIESADDED",
                b"5000",
                b"MAXDELETEDID",
                b"17-1",
            ]),
            _ => {}
        }
    }

    /// Keys with times of last use and counters of uses that are not what new ones have.
    fn access(&mut self, out: &mut Sender<'_>, db: u32) {
        // The value abc, as DUMP gives it. (Small numbers are objects that Redis shares.)
        let payload = b"\x00\x03abc\x0a\x00........".to_vec();
        let payload = checked(&payload);
        for (name, option, value) in [("idle", "IDLETIME", "70000"), ("used", "FREQ", "200")] {
            out.send(&[
                b"RESTORE".to_vec(),
                format!("{name}:{db}").into_bytes(),
                b"0".to_vec(),
                payload.clone(),
                option.as_bytes().to_vec(),
                value.as_bytes().to_vec(),
            ]);
        }
    }
}

/// The payload with the checksum that belongs to it.
fn checked(payload: &[u8]) -> Vec<u8> {
    let mut bytes = payload[..payload.len() - 8].to_vec();
    let mut crc = 0u64;
    for byte in &bytes {
        crc ^= u64::from(*byte);
        for _ in 0..8 {
            // CRC-64 (Jones), reflected.
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x95AC_9329_AC4B_C9B5
            } else {
                crc >> 1
            };
        }
    }
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Sends many commands at a time.
struct Sender<'a> {
    conn: &'a mut Conn,
    sent: usize,
}

impl Sender<'_> {
    fn words(&mut self, line: &str) {
        let words: Vec<Vec<u8>> = line.split(' ').map(|word| word.into()).collect();
        self.send(&words);
    }

    #[track_caller]
    fn send(&mut self, args: &[Vec<u8>]) {
        self.conn.send(args);
        self.sent += 1;
        if self.sent >= 100 {
            self.finish();
        }
    }

    #[track_caller]
    fn finish(&mut self) {
        for _ in 0..std::mem::take(&mut self.sent) {
            let reply = self.conn.reply();
            // A key may have been taken by another type, or a claimed entry be deleted: that is as good.
            let text = reply.text();
            let fine =
                !reply.is_error() || text.starts_with("WRONGTYPE") || text.contains("smaller than");
            assert!(fine && reply != Value::Closed, "{reply:?}");
        }
    }
}

/// All that can be seen of the data in a server, one line for each thing.
#[track_caller]
pub fn view(conn: &mut Conn, kept: Kept) -> Vec<String> {
    let mut lines = vec![format!(
        "functions {:?}",
        conn.run("FUNCTION LIST WITHCODE")
    )];
    // Of the two clocks of use a snapshot has the one that evictions go by.
    let policy = match kept {
        Kept::InSnapshot => conn.run("CONFIG GET maxmemory-policy").items()[1].text(),
        Kept::AsCommands => String::new(),
    };
    for db in 0..DATABASES {
        conn.ok(&format!("SELECT {db}"));
        let mut keys = conn.run("KEYS *").items();
        keys.sort();
        for key in keys {
            let key = key.bytes();
            let mut ask = |words: &[&[u8]]| {
                let words: Vec<&[u8]> = words
                    .iter()
                    .map(|w| if *w == b"KEY" { key } else { w })
                    .collect();
                conn.cmd(&words)
            };
            let kind = ask(&[b"TYPE", b"KEY"]).text();
            let mut line = format!(
                "{db} {} {kind} digest {:?} expires {:?}",
                key.escape_ascii(),
                ask(&[b"DEBUG", b"DIGEST-VALUE", b"KEY"]),
                ask(&[b"PEXPIRETIME", b"KEY"]),
            );
            if kind == "stream" {
                let full = ask(&[b"XINFO", b"STREAM", b"KEY", b"FULL", b"COUNT", b"0"]);
                line += &format!(" {:?}", without(full, kept));
            }
            if policy.contains("lfu") && key.starts_with(b"used:") {
                line += &format!(" frequency {:?}", ask(&[b"OBJECT", b"FREQ", b"KEY"]));
            }
            if policy.contains("lru") && key.starts_with(b"idle:") {
                let idle = ask(&[b"OBJECT", b"IDLETIME", b"KEY"]);
                // It has grown by the time of the test.
                line += &format!(" idle {:?}", idle.int().map(|idle| idle / 1000));
            }
            lines.push(line);
        }
    }
    lines.push(format!("digest {:?}", conn.run("DEBUG DIGEST")));
    conn.ok("SELECT 0");
    lines
}

/// The encodings of all values in a server. (Which one a value has is no part of it: a server that loads it may
/// choose another.)
#[track_caller]
pub fn encodings(conn: &mut Conn) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for db in 0..DATABASES {
        conn.ok(&format!("SELECT {db}"));
        for key in conn.run("KEYS *").items() {
            let ask =
                |conn: &mut Conn, words: [&[u8]; 2]| conn.cmd(&[words[0], words[1], key.bytes()]);
            let encoding = ask(conn, [b"OBJECT", b"ENCODING"]).text();
            let kind = conn.cmd(&[b"TYPE", key.bytes()]).text();
            found.insert(format!("{kind} {encoding}"));
        }
    }
    conn.ok("SELECT 0");
    found
}

/// What XINFO says, but for how a server keeps it, and for what is not kept.
fn without(value: Value, kept: Kept) -> Value {
    let Value::Array(items) = value else {
        return value;
    };
    let mut left = Vec::new();
    let mut items = items.into_iter();
    while let Some(item) = items.next() {
        let name = item.text();
        let hidden = match name.as_str() {
            "radix-tree-keys" | "radix-tree-nodes" | "active-time" => true,
            "seen-time" | "entries-read" | "lag" => kept == Kept::AsCommands,
            _ => false,
        };
        if hidden {
            items.next();
        } else {
            left.push(without(item, kept));
        }
    }
    Value::Array(left)
}
