//! The comparison with a real Redis (see `reprise_tests::compare`), and the proof that it can find anything.

use reprise_tests::compare::{compare, launch, table};
use reprise_tests::{Value, oracle, proxy, subject};

/// Enough for every command some hundred times, in some seconds.
const COMMANDS: u64 = 20_000;

#[test]
fn the_server_answers_as_redis_does() {
    let Some(oracle) = oracle() else { return };
    let (subject, oracle) = (
        subject().set("hz", "500").start(),
        oracle.set("hz", "500").start(),
    );
    let outcome = compare(subject.port(), oracle.port(), 1, COMMANDS, 20, &[], true);
    let findings: Vec<String> = outcome.findings.iter().map(ToString::to_string).collect();
    assert!(
        findings.is_empty(),
        "{} commands differ:\n\n{}",
        findings.len(),
        findings.join("\n\n")
    );
    assert!(
        outcome.compared.len() > 60,
        "only {:?} were compared",
        outcome.compared.keys()
    );
}

#[test]
fn a_wrong_reply_is_found_and_shrunk() {
    let (Some(honest), Some(oracle)) = (oracle(), oracle()) else {
        return;
    };
    let (honest, oracle) = (launch(honest), launch(oracle));
    // Wrong only for a value that an earlier command wrote, so that the shortest proof has two steps.
    let liar = proxy::start(honest.port(), |args, reply| match reply {
        Value::Int(n) if n > 5 && args[0].eq_ignore_ascii_case(b"STRLEN") => Value::Int(n + 1),
        reply => reply,
    });
    let outcome = compare(
        liar.unwrap(),
        oracle.port(),
        1,
        200_000,
        1,
        &["strlen".into(), "set".into(), "append".into()],
        false,
    );
    let finding = outcome.findings.first().expect("the lie is found");
    assert_eq!(finding.command(), "strlen");
    assert!(finding.script.steps.len() <= 3, "not shrunk:\n{finding}");
    assert!(
        matches!((&finding.difference.subject, &finding.difference.oracle), (Value::Int(a), Value::Int(b)) if *a == b + 1)
    );
}

#[test]
fn a_wrong_error_text_is_found() {
    let (Some(honest), Some(oracle)) = (oracle(), oracle()) else {
        return;
    };
    let (honest, oracle) = (launch(honest), launch(oracle));
    let liar = proxy::start(honest.port(), |args, reply| match &reply {
        Value::Error(text)
            if args[0].eq_ignore_ascii_case(b"HGET") && text.starts_with(b"WRONGTYPE") =>
        {
            Value::error("WRONGTYPE Operation against a key holding the wrong kind of value.")
        }
        _ => reply,
    });
    let outcome = compare(
        liar.unwrap(),
        oracle.port(),
        1,
        200_000,
        1,
        &["hget".into(), "set".into(), "multi".into(), "exec".into()],
        false,
    );
    let finding = outcome.findings.first().expect("the lie is found");
    assert!(finding.script.steps.len() <= 4, "not shrunk:\n{finding}");
}

#[test]
fn excuses_and_policies_name_commands_that_exist() {
    let Some(oracle) = oracle() else { return };
    let oracle = launch(oracle);
    let known: Vec<String> = oracle
        .ok("COMMAND LIST")
        .items()
        .iter()
        .map(Value::text)
        .collect();
    for (name, _) in table::POLICIES {
        assert!(known.iter().any(|known| known == name), "{name}");
        assert!(
            table::excuse(name).is_none(),
            "{name} has a policy and an excuse"
        );
    }
    for (name, why) in table::EXCUSED {
        let container = name.trim_matches('|');
        let fits = |known: &String| known == name || known.split('|').any(|word| word == container);
        assert!(known.iter().any(fits), "{name}");
        assert!(!why.is_empty(), "{name}");
    }
}
