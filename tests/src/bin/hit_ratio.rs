//! How often a cache that is too small for its keys has what it is asked for, beside a real Redis with the same
//! settings and the same requests at the same time.
//!
//! `cargo run --release -p reprise-tests --bin hit_ratio -- [--keys N] [--memory MB] [--seconds S] [--exponent E]
//! [--seed N] [--same-keys yes] [--policy allkeys-lru …]`
//!
//! Keys are drawn by Zipf's law. What is not there is set, and given a time to live under the volatile policies.
//! Half of the time goes by before anything is counted. With `--same-keys yes` the subject is given only as much
//! memory as makes it hold about as many keys as Redis: then it is the choice of keys alone that is compared, not
//! how many fit.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use reprise_tests::conn::Conn;
use reprise_tests::resp::Value;
use reprise_tests::{oracle, subject};
use std::env;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Requests that go out together.
const BATCH: usize = 100;

/// By how much the ratio may be below Redis's: what chance makes of it in a run.
const TOLERANCE: f64 = 0.005;

const POLICIES: &[&str] = &[
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
];

struct Settings {
    keys: usize,
    megabytes: u64,
    seconds: u64,
    exponent: f64,
    seed: u64,
    same_keys: bool,
    policies: Vec<String>,
}

impl Settings {
    fn read() -> Settings {
        let mut s = Settings {
            keys: 200_000,
            megabytes: 16,
            seconds: 20,
            exponent: 0.99,
            seed: 1,
            same_keys: false,
            policies: Vec::new(),
        };
        let mut args = env::args().skip(1);
        while let (Some(name), Some(value)) = (args.next(), args.next()) {
            let number =
                || -> f64 { (value.parse()).unwrap_or_else(|_| panic!("{name} takes a number")) };
            match name.as_str() {
                "--keys" => s.keys = number() as usize,
                "--memory" => s.megabytes = number() as u64,
                "--seconds" => s.seconds = number() as u64,
                "--exponent" => s.exponent = number(),
                "--seed" => s.seed = number() as u64,
                "--same-keys" => s.same_keys = value == "yes",
                "--policy" => s.policies.push(value),
                _ => panic!("unknown option {name}"),
            }
        }
        if s.policies.is_empty() {
            s.policies = POLICIES.iter().map(|&p| p.to_owned()).collect();
        }
        s
    }
}

/// Draws keys' numbers: `k` with a probability in proportion to `1 / (k + 1) ^ exponent`.
struct Zipf {
    random: ChaCha8Rng,
    /// The sums of the weights.
    sums: Vec<f64>,
}

impl Zipf {
    fn new(keys: usize, exponent: f64, seed: u64) -> Zipf {
        let mut sum = 0.0;
        let weight = |k: usize| 1.0 / ((k + 1) as f64).powf(exponent);
        let sums = (0..keys).map(|k| {
            sum += weight(k);
            sum
        });
        Zipf {
            sums: sums.collect(),
            random: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    fn draw(&mut self) -> usize {
        let unit = (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let at = unit * self.sums.last().copied().unwrap_or_default();
        self.sums
            .partition_point(|sum| *sum <= at)
            .min(self.sums.len() - 1)
    }
}

/// One of the two servers, and what it had.
struct Cache {
    conn: Conn,
    volatile: bool,
    hits: u64,
    asked: u64,
}

impl Cache {
    fn new(port: u16, policy: &str, megabytes: u64) -> Cache {
        let mut conn = Conn::open(port).expect("the server has just started");
        conn.ok("FLUSHALL");
        conn.ok(&format!(
            "CONFIG SET maxmemory {megabytes}mb maxmemory-policy {policy}"
        ));
        Cache {
            conn,
            volatile: policy.starts_with("volatile"),
            hits: 0,
            asked: 0,
        }
    }

    /// Asks for keys, and sets those that are not there.
    fn ask(&mut self, keys: &[usize]) {
        let mut request = String::new();
        for key in keys {
            let name = format!("key:{key:08}");
            let _ = write!(request, "*2\r\n$3\r\nGET\r\n${}\r\n{name}\r\n", name.len());
        }
        self.conn.send_raw(request.as_bytes());
        request.clear();
        let mut sets = 0;
        for key in keys {
            self.asked += 1;
            if self.conn.reply() != Value::NullBulk {
                self.hits += 1;
                continue;
            }
            sets += 1;
            // Values are of different lengths; a key's is always the same. All live as long: so the one that goes first
            // is the one that came first.
            let (name, len) = (format!("key:{key:08}"), 20 + key % 100);
            let value = "v".repeat(len);
            let seconds = "100000";
            let _ = match self.volatile {
                true => write!(
                    request,
                    "*5\r\n$3\r\nSET\r\n${}\r\n{name}\r\n${len}\r\n{value}\r\n$2\r\nEX\r\n${}\r\n{seconds}\r\n",
                    name.len(),
                    seconds.len()
                ),
                false => write!(
                    request,
                    "*3\r\n$3\r\nSET\r\n${}\r\n{name}\r\n${len}\r\n{value}\r\n",
                    name.len()
                ),
            };
        }
        self.conn.send_raw(request.as_bytes());
        for _ in 0..sets {
            self.conn.reply();
        }
    }

    fn ratio(&self) -> f64 {
        self.hits as f64 / self.asked.max(1) as f64
    }

    fn forget(&mut self) {
        (self.hits, self.asked) = (0, 0);
    }

    fn held(&mut self) -> u64 {
        match self.conn.ok("DBSIZE") {
            Value::Int(n) => n as u64,
            other => panic!("DBSIZE: {other:?}"),
        }
    }

    /// Has it hold about so many keys from now on.
    fn hold(&mut self, keys: u64) {
        let number = |text: String| text.parse::<u64>().unwrap_or_default();
        let (used, held) = (number(self.conn.info("memory", "used_memory")), self.held());
        let empty = number(self.conn.info("memory", "used_memory_startup"));
        let most = empty + used.saturating_sub(empty) * keys / held.max(1);
        self.conn.ok(&format!("CONFIG SET maxmemory {most}"));
    }
}

fn main() -> ExitCode {
    let settings = Settings::read();
    let Some(oracle) = oracle() else {
        return ExitCode::FAILURE;
    };
    let (subject, oracle) = (subject().start(), oracle.start());
    let mut worse = false;
    println!("policy             ratio  Redis's      keys   Redis's");
    for policy in &settings.policies {
        let mut zipf = Zipf::new(settings.keys, settings.exponent, settings.seed);
        let mut caches = [subject.port(), oracle.port()]
            .map(|port| Cache::new(port, policy, settings.megabytes));
        let (begin, whole) = (Instant::now(), Duration::from_secs(settings.seconds));
        let (mut counting, mut rounds) = (false, 0);
        while begin.elapsed() < whole {
            let keys: Vec<usize> = (0..BATCH).map(|_| zipf.draw()).collect();
            caches.iter_mut().for_each(|cache| cache.ask(&keys));
            rounds += 1;
            if !counting && settings.same_keys && rounds % 100 == 0 {
                let keys = caches[1].held();
                caches[0].hold(keys);
            }
            if !counting && begin.elapsed() > whole / 2 {
                counting = true;
                caches.iter_mut().for_each(Cache::forget);
            }
        }
        let [ours, theirs] = &mut caches;
        println!(
            "{policy:17} {:6.4}   {:6.4}  {:8}  {:8}",
            ours.ratio(),
            theirs.ratio(),
            ours.held(),
            theirs.held()
        );
        worse |= ours.ratio() < theirs.ratio() - TOLERANCE;
    }
    if worse {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
