//! What the engine itself costs: pipelines of SET and GET over a million keys, without any socket.
//!
//! `cargo run --release -p reprise-engine --example turn_cost`. Compare its figures with each other only.

use std::hint::black_box;
use std::time::Instant;

use reprise_engine::config::Config;
use reprise_engine::{Address, ConnId, Engine, Input, Listener, Now};

const KEYS: u64 = 1_000_000;
const CONNECTIONS: u32 = 50;

fn main() {
    let mut engine = Engine::new(Config::default(), [7; 32], Now::default());
    let address = Address::Unix("/bench".into());
    let conns: Vec<ConnId> = (0..CONNECTIONS).map(|i| ConnId::accepted(i, 0)).collect();
    for &conn in &conns {
        let (peer, local) = (address.clone(), address.clone());
        engine.handle(
            Now::default(),
            Input::Accepted {
                conn,
                listener: Listener::Unix,
                peer,
                local,
            },
        );
    }
    let value = [b'v'; 16];
    let mut draw = {
        let mut state = 1u64;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % KEYS
        }
    };
    let set = |wire: &mut Vec<u8>, key: u64| {
        wire.extend(format!("*3\r\n$3\r\nSET\r\n$16\r\nkey:{key:012}\r\n$16\r\n").bytes());
        wire.extend(value);
        wire.extend(b"\r\n");
    };
    let get = |wire: &mut Vec<u8>, key: u64| {
        wire.extend(format!("*2\r\n$3\r\nGET\r\n$16\r\nkey:{key:012}\r\n").bytes())
    };
    let mut wire = Vec::new();
    for key in 0..KEYS {
        set(&mut wire, key);
        if wire.len() > 60_000 {
            run(&mut engine, &[(conns[0], &wire)]);
            wire.clear();
        }
    }
    for pipeline in [1, 16] {
        for (name, make) in [("SET", &set as &dyn Fn(&mut Vec<u8>, u64)), ("GET", &get)] {
            let turns = 400_000 / pipeline as u64 / 10;
            let requests: Vec<Vec<Vec<u8>>> = (0..turns)
                .map(|_| {
                    (0..CONNECTIONS)
                        .map(|_| {
                            let mut wire = Vec::new();
                            (0..pipeline).for_each(|_| make(&mut wire, draw()));
                            wire
                        })
                        .collect()
                })
                .collect();
            let start = Instant::now();
            for turn in &requests {
                let reads: Vec<(ConnId, &[u8])> = conns
                    .iter()
                    .copied()
                    .zip(turn.iter().map(Vec::as_slice))
                    .collect();
                run(&mut engine, &reads);
            }
            let operations = turns * u64::from(CONNECTIONS) * pipeline as u64;
            println!(
                "{name} pipeline {pipeline}: {:.0} ns",
                start.elapsed().as_nanos() as f64 / operations as f64
            );
        }
    }
}

fn run(engine: &mut Engine, reads: &[(ConnId, &[u8])]) {
    let mut turn = engine.receive(reads);
    while turn.step(Now::default()) {}
    drop(turn);
    while engine.poll_effect().is_some() {}
    while let Some(conn) = engine.poll_output() {
        let n: usize = black_box(engine.output(conn).map(<[u8]>::len).sum());
        engine.sent(conn, n);
    }
}
