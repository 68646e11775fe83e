//! How long a SET takes while a snapshot is under way, at a fixed rate, beside a real Redis.
//!
//! `taskset -c 1 cargo run --release -p reprise-tests --bin latency_at_rate -- [--keys N] [--rate N] [--runs N]
//! [--conns N]`
//!
//! Each server runs on core 0, its disk thread and its child on any core, this program on core 1. The replica of
//! the full synchronisation is this program: it takes the snapshot and forgets it, as if it were elsewhere. Requests leave on a schedule, whether or not earlier ones were answered, and each one's time counts from when
//! it was *due*: what waits behind a stall is counted with it. What is due between an operation's request and its
//! end makes a sample; the table has the medians of the runs' percentiles, in microseconds.

use reprise_tests::server::Launch;
use reprise_tests::wait::eventually;
use reprise_tests::{Conn, Server, Value, oracle, subject};
use std::env;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What is reached by our 99.9th percentile, in parts of Redis's.
const TARGET: f64 = 0.7;

/// The longest that an operation may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// An operation is repeated until it has been looked at for so long.
const LOOK: Duration = Duration::from_millis(1500);

const OPERATIONS: [&str; 4] = ["nothing", "BGSAVE", "BGREWRITEAOF", "full sync"];

const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

struct Settings {
    keys: usize,
    rate: u64,
    runs: usize,
    conns: usize,
}

impl Settings {
    fn read() -> Settings {
        let mut s = Settings {
            keys: 1_000_000,
            rate: 10_000,
            runs: 3,
            conns: 16,
        };
        let mut args = env::args().skip(1);
        while let (Some(name), Some(value)) = (args.next(), args.next()) {
            let number = value.parse().expect("a number");
            match name.as_str() {
                "--keys" => s.keys = number,
                "--rate" => s.rate = number as u64,
                "--runs" => s.runs = number,
                "--conns" => s.conns = number,
                _ => panic!("unknown option {name}"),
            }
        }
        s
    }
}

fn set(key: usize) -> String {
    format!("*3\r\n$3\r\nSET\r\n$16\r\nkey:{key:012}\r\n$16\r\nvalue:{key:010}\r\n")
}

/// When each request was due, and how long its reply took from then on.
type Times = Vec<(Duration, Duration)>;

/// Requests at a fixed rate, from threads of their own.
struct Load {
    begun: Instant,
    over: Arc<AtomicBool>,
    sender: JoinHandle<()>,
    readers: Vec<JoinHandle<Times>>,
}

impl Load {
    fn begin(port: u16, settings: &Settings) -> Load {
        let gap = Duration::from_nanos(1_000_000_000 / settings.rate);
        let (conns, keys) = (settings.conns, settings.keys);
        let open = |_| {
            let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
            stream.set_nodelay(true).expect("no delay");
            stream
        };
        let mut streams: Vec<TcpStream> = (0..conns).map(open).collect();
        let begun = Instant::now();
        let reader = |(place, stream): (usize, &TcpStream)| {
            let mut stream = stream.try_clone().expect("a second handle");
            thread::spawn(move || {
                let (mut times, mut bytes, mut buffer) = (Times::new(), 0, [0; 4096]);
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    let now = begun.elapsed();
                    bytes += n;
                    // Every reply is "+OK\r\n", and every so-manieth request went out here.
                    while times.len() < bytes / 5 {
                        let due = gap * (times.len() * conns + place) as u32;
                        times.push((due, now.saturating_sub(due)));
                    }
                }
                times
            })
        };
        let readers = streams.iter().enumerate().map(reader).collect();
        let over = Arc::new(AtomicBool::new(false));
        let enough = Arc::clone(&over);
        let sender = thread::spawn(move || {
            for n in 0usize.. {
                let wait = (gap * n as u32).saturating_sub(begun.elapsed());
                if !wait.is_zero() {
                    thread::sleep(wait);
                }
                if enough.load(Ordering::Relaxed) {
                    break;
                }
                let key = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % keys;
                let sent = streams[n % conns].write_all(set(key).as_bytes());
                sent.expect("the server listens");
            }
            // The last replies are on their way.
            thread::sleep(Duration::from_millis(300));
            for stream in &streams {
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
        Load {
            begun,
            over,
            sender,
            readers,
        }
    }

    fn end(self) -> Times {
        self.over.store(true, Ordering::Relaxed);
        self.sender.join().expect("the sender");
        let times = self
            .readers
            .into_iter()
            .map(|r| r.join().expect("a reader"));
        times.flatten().collect()
    }
}

fn fill(conn: &mut Conn, keys: usize) {
    for from in (0..keys).step_by(1000) {
        let requests: String = (from..keys.min(from + 1000)).map(set).collect();
        conn.send_raw(requests.as_bytes());
        for _ in from..keys.min(from + 1000) {
            assert_eq!(conn.reply(), Value::Simple(b"OK".to_vec()));
        }
    }
}

fn until(conn: &mut Conn, section: &str, wanted: &[(&str, &str)]) {
    eventually(PATIENCE, section, || {
        let there = |(field, value): &(&str, &str)| conn.info(section, field) == *value;
        wanted.iter().all(there).then_some(())
    });
}

/// Takes a primary's snapshot as a replica does, as fast as it comes, and forgets it.
fn take_snapshot(port: u16) {
    const MARK: &[u8] = b"$EOF:";
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    (stream.set_read_timeout(Some(PATIENCE))).expect("a time");
    let ask = |mut stream: &TcpStream, line: &str| {
        (stream.write_all(line.as_bytes())).expect("the server listens");
    };
    ask(&stream, "REPLCONF capa eof capa psync2\r\n");
    stream.read_exact(&mut [0; 5]).expect("OK");
    ask(&stream, "PSYNC ? -1\r\n");
    let (mut head, mut buffer, mut last) = (Vec::new(), vec![0; 256 << 10], Vec::new());
    loop {
        let n = stream.read(&mut buffer).expect("the snapshot");
        assert_ne!(n, 0, "the server closed the link");
        if head.len() < 4096 {
            head.extend_from_slice(&buffer[..n.min(4096)]);
        }
        last.extend_from_slice(&buffer[..n]);
        last.drain(..last.len().saturating_sub(40));
        // The snapshot ends with the forty bytes that it announced.
        let announced = head.windows(MARK.len()).position(|part| part == MARK);
        let mark = announced.and_then(|at| head.get(at + MARK.len()..at + MARK.len() + 40));
        if head.len() >= 4096 && mark.is_some_and(|mark| mark == last) {
            return;
        }
    }
}

/// Carries out the operation on the server, which is under load.
fn carry_out(operation: &str, conn: &mut Conn, server: &Server) {
    let rewritten = [
        ("aof_rewrite_in_progress", "0"),
        ("aof_rewrite_scheduled", "0"),
    ];
    match operation {
        "BGSAVE" => {
            conn.ok("BGSAVE");
            until(conn, "persistence", &[("rdb_bgsave_in_progress", "0")]);
        }
        "BGREWRITEAOF" => {
            conn.ok("BGREWRITEAOF");
            until(conn, "persistence", &rewritten);
        }
        "full sync" => {
            take_snapshot(server.port());
            let ended = [("rdb_bgsave_in_progress", "0"), ("connected_slaves", "0")];
            until(conn, "everything", &ended);
        }
        _ => thread::sleep(Duration::from_secs(3)),
    }
}

/// The percentiles of each operation, in microseconds.
fn measure(launch: impl Fn() -> Launch, settings: &Settings) -> Vec<[f64; 4]> {
    let bound = launch().set("server_cpulist", "0");
    let anywhere = ["bio_cpulist", "bgsave_cpulist", "aof_rewrite_cpulist"];
    let server = (anywhere.iter().fold(bound, |l, name| l.set(name, "0-1"))).start();
    let mut conn = server.conn();
    fill(&mut conn, settings.keys);
    let one = |operation: &&str| {
        if *operation == "BGREWRITEAOF" {
            conn.ok("CONFIG SET appendonly yes");
            let written = [
                ("aof_rewrite_in_progress", "0"),
                ("aof_rewrite_scheduled", "0"),
            ];
            until(&mut conn, "persistence", &written);
        }
        let load = Load::begin(server.port(), settings);
        thread::sleep(Duration::from_secs(1));
        let (mut spans, mut whole) = (Vec::new(), Duration::ZERO);
        // Both are looked at for about as long: who is done sooner does it again.
        while whole < LOOK {
            let from = load.begun.elapsed();
            carry_out(operation, &mut conn, &server);
            spans.push(from..load.begun.elapsed());
            whole += load.begun.elapsed() - from;
        }
        let times = load.end();
        conn.ok("CONFIG SET appendonly no");
        let during = |due| spans.iter().any(|span| span.contains(due));
        let mut took: Vec<Duration> = (times.iter())
            .filter_map(|(due, took)| during(due).then_some(*took))
            .collect();
        took.sort_unstable();
        let which = |part: f64| ((took.len() as f64 * part) as usize).min(took.len() - 1);
        let times = PERCENTILES.map(|(_, part)| took[which(part)].as_secs_f64() * 1e6);
        eprintln!("{operation}: {} in {whole:.1?}, {times:.0?}", spans.len());
        times
    };
    OPERATIONS.iter().map(one).collect()
}

fn main() -> ExitCode {
    let settings = Settings::read();
    if oracle().is_none() {
        return ExitCode::FAILURE;
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..settings.runs {
        ours.push(measure(subject, &settings));
        theirs.push(measure(|| oracle().expect("it was there"), &settings));
    }
    let mut reached = true;
    println!("during         percentile      ours   Redis's   ratio");
    for (at, operation) in OPERATIONS.iter().enumerate() {
        for (rank, (name, _)) in PERCENTILES.iter().enumerate() {
            let median = |runs: &[Vec<[f64; 4]>]| {
                let mut values: Vec<f64> = runs.iter().map(|run| run[at][rank]).collect();
                values.sort_by(f64::total_cmp);
                values[values.len() / 2]
            };
            let (ours, theirs) = (median(&ours), median(&theirs));
            let ratio = ours / theirs;
            println!("{operation:14} {name:10} {ours:9.0} {theirs:9.0}  {ratio:6.2}");
            reached &= at == 0 || *name != "p99.9" || ratio <= TARGET;
        }
    }
    if reached {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
