//! The values that commands are made of: few keys, and numbers and strings at the limits.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// Draws from one seed.
pub struct Draw(ChaCha8Rng);

impl Draw {
    /// The draws of a seed.
    pub fn new(seed: u64) -> Draw {
        Draw(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number below `n`; 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % (n as u64).max(1)) as usize
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of several.
    ///
    /// # Panics
    /// When there are none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Milliseconds that are over when [`super::run::Pair`] has waited for expiry.
pub const SHORT_MS: &str = "13";

/// Stands for what DUMP last answered on the *other* server, so that each restores the other's payload.
pub const DUMPED: &[u8] = b"\0what the other server dumped\0";

/// The databases that scripts use.
pub const DATABASES: &[&str] = &["0", "1", "9"];

const I64_MAX: &str = "9223372036854775807";
const I64_MIN: &str = "-9223372036854775808";
const OVER_I64: &str = "9223372036854775808";

/// Numbers for which no command runs long: either small, or beyond every limit.
const INTEGERS: &[&str] = &[
    "0", "1", "2", "3", "4", "5", "7", "10", "12", "100", "-1", "-2", "-3", "-5", "-100", I64_MAX,
    I64_MIN,
];
const NOT_INTEGERS: &[&str] = &[
    OVER_I64,
    "-9223372036854775809",
    "",
    "x",
    "1.5",
    " 1",
    "1 ",
    "+1",
    "01",
    "-0",
    "0x10",
    "1e3",
];
const FLOATS: &[&str] = &[
    "0",
    "1",
    "-1",
    "3.0",
    "0.1",
    "-2.5",
    "1e3",
    "1.5e-7",
    "5e-324",
    "1e17",
    "123456789.123456789",
    "-0",
    "10.50",
    "100000000000000000000",
    "0.30000000000000004",
    "9007199254740993",
];
const NOT_FLOATS: &[&str] = &[
    "inf", "-inf", "+inf", "nan", "", "x", " 1", "1 ", "1e400", "0x1p3", "1.0.0", "1e", ".",
];
const FIELDS: &[&[u8]] = &[
    b"f0",
    b"f1",
    b"f2",
    b"f3",
    b"f4",
    b"f5",
    b"a",
    b"b",
    b"c",
    b"",
    b"\0\xff\r\n",
    b"7",
];
/// Values that make no sense where a number or a word is due. No command takes long over one of them.
const NONSENSE: &[&[u8]] = &[
    b"",
    b"x",
    b"-1",
    b"0",
    b"1.5",
    I64_MAX.as_bytes(),
    I64_MIN.as_bytes(),
    OVER_I64.as_bytes(),
    b"\xff\0\r\n",
    b"NX",
    b"*",
];
const SECONDS: &[&str] = &[
    "100",
    "1000",
    "100000",
    "0",
    "-1",
    "-100",
    "9223372036854775",
    "9223372036854776",
    I64_MAX,
    I64_MIN,
];
const MILLISECONDS: &[&str] = &[
    "100000",
    "1000000",
    SHORT_MS,
    SHORT_MS,
    "0",
    "-1",
    "-1000",
    "9223372036854774000",
    I64_MAX,
    I64_MIN,
];
const UNIX_SECONDS: &[&str] = &[
    "4102444800",
    "4102444801",
    "1",
    "0",
    "-1",
    "9223372036854775",
    "9223372036854776",
    I64_MAX,
];
const UNIX_MILLISECONDS: &[&str] = &[
    "4102444800000",
    "4102444800999",
    "1",
    "0",
    "-1",
    I64_MAX,
    I64_MIN,
];
const PATTERNS: &[&[u8]] = &[
    b"*", b"?", b"f*", b"k*", b"h?", b"*1", b"[a-f]*", b"[^a]*", b"\\*", b"", b"[", b"k[0-9",
    b"**0", b"\0*", b"*\\", b"[]]", b"f[2-0]",
];
/// What SORT looks up for its elements.
const SORT_PATTERNS: &[&[u8]] = &[
    b"s*",
    b"h*->f0",
    b"h*->7",
    b"*->f1",
    b"#",
    b"nosort",
    b"l*",
    b"*",
    b"s*->f0",
    b"h*->",
    b"\0*",
    b"k*\0->f0",
];
const DIRECTIVES: &[&str] = &[
    "hash-max-listpack-entries",
    "hash-max-ziplist-entries",
    "hash-max-listpack-value",
    "hash-max-listpack-*",
    "HASH-MAX-LISTPACK-ENTRIES",
    "hash-max-ziplist-value",
    "zset-max-listpack-entries",
    "zset-max-listpack-value",
    "zset-max-ziplist-entries",
    "nosuch",
    "nosuch*",
    "maxmemory-policy",
    "stream-node-max-entries",
    "stream-node-max-bytes",
];
/// Rules of users: right and wrong ones.
const RULES: &[&[u8]] = &[
    b"on",
    b"on",
    b"off",
    b"nopass",
    b"nopass",
    b"resetpass",
    b"reset",
    b"clearselectors",
    b"skip-sanitize-payload",
    b">secret",
    b"<secret",
    b"#e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    b"!e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    b"#12",
    b"+@all",
    b"allcommands",
    b"nocommands",
    b"+@read",
    b"+@write",
    b"-@hash",
    b"+@keyspace",
    b"-@dangerous",
    b"+@nosuch",
    b"+get",
    b"-GET",
    b"+config|get",
    b"-config|set",
    b"+config|nosuch",
    b"+select|0",
    b"+acl|whoami",
    b"+object",
    b"-nosuch",
    b"~*",
    b"allkeys",
    b"resetkeys",
    b"~s*",
    b"%R~h?",
    b"%W~l*",
    b"%RW~[tz]?",
    b"%X~a",
    b"~",
    b"~a b",
    b"&*",
    b"&n*",
    b"allchannels",
    b"resetchannels",
    b"(+@set ~t*)",
    b"(+get %R~*",
    b"-@all)",
    b"(+@all allkeys)",
    b"(",
    b"",
];

/// Categories in which nothing is that Redis 7.0 does not know.
const CATEGORIES: &[&str] = &[
    "bitmap",
    "geo",
    "hyperloglog",
    "pubsub",
    "scripting",
    "SORTEDSET",
    "transaction",
    "all",
    "nosuch",
    "",
];
const TYPES: &[&str] = &[
    "string", "hash", "list", "set", "zset", "stream", "HASH", "nosuch",
];

/// What [`DIRECTIVES`] are set back to before each script.
pub const DEFAULTS: &[(&str, &str)] = &[
    ("hash-max-listpack-entries", "128"),
    ("hash-max-listpack-value", "64"),
    ("zset-max-listpack-entries", "128"),
    ("zset-max-listpack-value", "64"),
    ("list-max-listpack-size", "-2"),
    ("list-compress-depth", "0"),
    ("maxmemory-policy", "noeviction"),
    ("stream-node-max-bytes", "4096"),
    ("stream-node-max-entries", "100"),
];

/// All keys, those of the audit.
pub fn keys() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    for group in ["s", "h", "l", "t", "z", "x"] {
        all.extend((0..3).map(|n| format!("{group}{n}").into_bytes()));
    }
    all.extend([b"k{tag}".to_vec(), b"\0\xff key\r\n".to_vec(), Vec::new()]);
    all
}

/// A key; mostly one that holds the type the command's group is about.
pub fn key(draw: &mut Draw, group: &str) -> Vec<u8> {
    let letter = match group {
        "string" | "bitmap" | "hyperloglog" => "s",
        "hash" => "h",
        "list" => "l",
        "set" => "t",
        "sorted-set" | "geo" => "z",
        "stream" => "x",
        _ => "",
    };
    if !letter.is_empty() && draw.chance(75) {
        return format!("{letter}{}", draw.below(3)).into_bytes();
    }
    let all = keys();
    draw.pick(&all).clone()
}

/// Something that fits nowhere.
pub fn nonsense(draw: &mut Draw) -> Vec<u8> {
    draw.pick(NONSENSE).to_vec()
}

fn integer(draw: &mut Draw) -> Vec<u8> {
    match draw.below(20) {
        0 => draw.pick(NOT_INTEGERS).as_bytes().to_vec(),
        1 => nonsense(draw),
        2 => draw.below(100_000).to_string().into_bytes(),
        _ => draw.pick(INTEGERS).as_bytes().to_vec(),
    }
}

fn float(draw: &mut Draw) -> Vec<u8> {
    match draw.below(20) {
        0 | 1 => draw.pick(NOT_FLOATS).as_bytes().to_vec(),
        2 | 3 => integer(draw),
        4 => format!("{}.{}", draw.below(1000), draw.below(100_000)).into_bytes(),
        _ => draw.pick(FLOATS).as_bytes().to_vec(),
    }
}

/// A string value: numbers in all spellings, lengths around the limits of the encodings, any bytes.
fn string(draw: &mut Draw) -> Vec<u8> {
    match draw.below(16) {
        0..=3 => draw.pick(INTEGERS).as_bytes().to_vec(),
        4 => draw.pick(NOT_INTEGERS).as_bytes().to_vec(),
        5 | 6 => float(draw),
        7 => Vec::new(),
        8 => vec![b'v'; *draw.pick(&[1, 20, 43, 44, 45, 63, 64, 65, 100])],
        9 => vec![b'w'; *draw.pick(&[255, 256, 4095, 4096, 16383, 16384, 40000])],
        10 => (0..draw.below(40)).map(|_| draw.below(256) as u8).collect(),
        _ => draw.pick(FIELDS).to_vec(),
    }
}

fn field(draw: &mut Draw) -> Vec<u8> {
    match draw.below(20) {
        0 => string(draw),
        1..=4 => format!("n{}", draw.below(200)).into_bytes(),
        _ => draw.pick(FIELDS).to_vec(),
    }
}

fn of(draw: &mut Draw, words: &[&str]) -> Vec<u8> {
    draw.pick(words).as_bytes().to_vec()
}

/// An entry's id, or an end of a range of them.
fn stream_id(draw: &mut Draw, command: &str) -> Vec<u8> {
    let adds = matches!(command, "xadd" | "xsetid");
    match draw.below(if adds { 40 } else { 12 }) {
        0 => of(
            draw,
            &[
                "0-0",
                "0",
                "-",
                "+",
                "18446744073709551615-18446744073709551614",
                "18446744073709551615-18446744073709551615",
                "18446744073709551615",
                "18446744073709551616-1",
                "x",
                "$",
                ">",
                "01-1",
                "1--1",
                "1- -5",
                " 1-1",
                "-1-1",
                "3-",
                "(",
                "(0-0",
                "(+",
                "(-",
            ],
        ),
        1..=3 if !adds => of(draw, &["-", "+", "(1-1", "(2", "0-1", "5", "5-*"]),
        4..=20 if adds => format!("{}-*", draw.below(50)).into_bytes(),
        _ => format!("{}-{}", draw.below(50), draw.below(4)).into_bytes(),
    }
}

/// A value for an argument, from the command, its group, and the argument's kind and name.
pub fn value(draw: &mut Draw, command: &str, group: &str, kind: &str, name: &str) -> Vec<u8> {
    let waits = matches!(name, "timeout" | "milliseconds") || command == "wait";
    if draw.chance(2) && !waits {
        // An id by the clock is another on each server.
        return match nonsense(draw) {
            id if id == b"*" && command == "xadd" => b"7-*".to_vec(),
            other => other,
        };
    }
    match (command, kind, name) {
        // Which of several equal elements of a hash table comes first is chance.
        ("sort" | "sort_ro", "key", "key") => loop {
            let key = key(draw, "list");
            if !matches!(key.first(), Some(b't' | b'z')) {
                return key;
            }
        },
        (_, "key", _) => key(draw, group),
        ("setbit" | "bitfield" | "bitfield_ro", "integer", "offset") => {
            of(draw, &["0", "1", "7", "8", "100", "4294967296", "-1", "x"])
        }
        ("bitfield" | "bitfield_ro", _, "encoding") => {
            of(draw, &["u8", "i16", "u63", "i64", "u64", "i65", "u1", "x"])
        }
        ("setrange", _, "offset") => of(
            draw,
            &[
                "0",
                "1",
                "2",
                "5",
                "10",
                "30",
                "100",
                "-1",
                "536870912",
                I64_MAX,
                "x",
            ],
        ),
        // To wait for ever is not what a comparison is for.
        (_, "double", "timeout") => of(draw, &["0.001", "0.01", "-1", "x", "1e300"][..4]),
        ("wait", _, _) => of(draw, &["1", "2", "-1", "x"]),
        ("xread" | "xreadgroup", _, "milliseconds") => of(draw, &["1", "2", "-1", "x"]),
        ("lolwut", ..) => of(draw, &["1", "9", "x"]),
        (_, _, "db" | "destination-db" | "index1" | "index2") | ("select", ..) => {
            match draw.below(6) {
                0 => integer(draw),
                _ => of(draw, DATABASES),
            }
        }
        (_, "integer", "seconds") => of(draw, SECONDS),
        (_, "integer", "milliseconds") => of(draw, MILLISECONDS),
        (_, "unix-time", "unix-time-seconds") => of(draw, UNIX_SECONDS),
        (_, "unix-time", _) => of(draw, UNIX_MILLISECONDS),
        (_, _, "ttl") => of(
            draw,
            &["0", "100000", SHORT_MS, "-1", "x", I64_MAX, "4102444800000"],
        ),
        (_, _, "serialized-value") => match draw.below(5) {
            0 => string(draw),
            _ => DUMPED.to_vec(),
        },
        (_, _, "cursor") => match draw.below(10) {
            0 => integer(draw),
            _ => b"0".to_vec(),
        },
        (_, _, "protover") => of(draw, &["2", "3", "3", "1", "4", "x"]),
        (_, _, "section") => of(draw, &["server", "keyspace", "all", "nosuch"]),
        (_, _, "type") => of(draw, TYPES),
        (_, _, "parameter") => of(draw, DIRECTIVES),
        ("config|set", _, "value") => of(
            draw,
            &[
                "1",
                "4",
                "16",
                "128",
                "512",
                "-1",
                "x",
                "1k",
                "noeviction",
                "",
            ],
        ),
        (_, _, "command-name" | "command") => of(
            draw,
            &[
                "get",
                "SET",
                "hset",
                "config|get",
                "mset",
                "copy",
                "nosuch",
                "object|encoding",
            ],
        ),
        // (The default user stays as it is: the comparison itself comes in as it.)
        ("acl|setuser" | "acl|deluser", _, "username") => of(draw, &["u1", "u2", "u3", "u 4", ""]),
        (_, _, "username") => of(draw, &["u1", "u2", "u3", "default", "nobody", ""]),
        (_, _, "password") => of(draw, &["secret", ""]),
        (_, _, "rule") => draw.pick(RULES).to_vec(),
        (_, _, "categoryname") => of(draw, CATEGORIES),
        (_, _, "clientname" | "connection-name") => of(draw, &["name", "two words", "", "l\n"]),
        (_, _, "client-id") => of(draw, &["0", "-1", "99999999", "x"]),
        (_, _, "min-idle-time") => of(draw, &["0", "0", "0", "-1", "100000000", I64_MAX, "x"]),
        (_, _, "ms") => of(draw, &["0", "1000000", "-1", I64_MAX, I64_MIN, "x"]),
        (_, _, "entries_read" | "entries_added") => match draw.below(3) {
            0 => integer(draw),
            _ => draw.below(60).to_string().into_bytes(),
        },
        ("xreadgroup", _, "id") if draw.chance(60) => b">".to_vec(),
        ("xread", _, "id") if draw.chance(10) => b"$".to_vec(),
        (_, _, "threshold") if draw.chance(60) => draw.below(40).to_string().into_bytes(),
        (
            _,
            _,
            "id" | "last-id" | "start" | "end" | "stop" | "threshold" | "max_deleted_entry_id",
        ) if group == "stream" => stream_id(draw, command),
        (_, _, "min" | "max" | "start" | "stop") if group == "sorted-set" => of(
            draw,
            &[
                "-inf", "+inf", "0", "(1", "3", "1.5", "-", "+", "[a", "(b", "[f3", "(", "-1",
                "-2", "x", "nan",
            ],
        ),
        (_, _, "longitude" | "latitude") => of(
            draw,
            &[
                "13.361389",
                "38.115556",
                "15.087269",
                "-85",
                "85.1",
                "180",
                "-181",
                "x",
            ],
        ),
        (_, _, "radius" | "width" | "height") => of(
            draw,
            &["100", "200", "0", "-1", "400.5", "x", "5000", "1e7", "inf"],
        ),
        (_, _, "member" | "member1" | "member2" | "element" | "pivot" | "field") => field(draw),
        (_, _, "group" | "groupname" | "consumer" | "consumername") => {
            of(draw, &["g1", "g2", "c1"])
        }
        (_, "integer", _) => integer(draw),
        (_, "double", _) => float(draw),
        ("sort" | "sort_ro", "pattern", _) => draw.pick(SORT_PATTERNS).to_vec(),
        (_, "pattern", _) => draw.pick(PATTERNS).to_vec(),
        _ => string(draw),
    }
}
