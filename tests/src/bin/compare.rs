//! Compares the server under test with a real Redis for as long as you like.
//!
//! `cargo run -p reprise-tests --bin compare -- --seed N --count M [--limit L] [--only get --only h] [--witness no]`

use reprise_tests::{compare, oracle, subject};
use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    let (mut seed, mut count, mut limit, mut only) = (1, 100_000, 10, Vec::new());
    let mut witnessed = true;
    let mut args = env::args().skip(1);
    while let (Some(name), Some(value)) = (args.next(), args.next()) {
        let number = || {
            value
                .parse::<u64>()
                .unwrap_or_else(|_| panic!("{name} takes a number"))
        };
        match name.as_str() {
            "--seed" => seed = number(),
            "--count" => count = number(),
            "--limit" => limit = number() as usize,
            "--witness" => witnessed = value == "yes",
            "--only" => only.push(value.to_lowercase()),
            _ => panic!("unknown option {name}"),
        }
    }
    let Some(oracle) = oracle() else {
        return ExitCode::FAILURE;
    };
    let (subject, oracle) = (
        subject().set("hz", "500").start(),
        oracle.set("hz", "500").start(),
    );
    let outcome = compare::compare(
        subject.port(),
        oracle.port(),
        seed,
        count,
        limit,
        &only,
        witnessed,
    );
    for finding in &outcome.findings {
        println!("{finding}\n");
    }
    println!(
        "{} commands of {} kinds compared from seed {seed}; {} commands show differences; the subject lacks {}",
        outcome.compared.values().sum::<u64>(),
        outcome.compared.len(),
        outcome.findings.len(),
        outcome.absent.len(),
    );
    if outcome.findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
