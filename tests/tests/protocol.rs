//! What happens to bytes that are not as they should be: the answers must be Redis's to the byte, and
//! the server must live on.

use reprise_tests::resp::{self, quote};
use reprise_tests::{Conn, Server, Value, oracle, subject};

/// All that a server answers to some bytes until it closes the connection, which it does at the latest
/// when nothing more comes.
fn answer(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut conn = server.conn();
    conn.send_raw(bytes);
    conn.finish_sending();
    let answer = conn.drain(conn.patience);
    assert!(
        conn.is_closed(),
        "the connection stays open after {}",
        quote(bytes)
    );
    answer
}

/// Compares the answers of both servers to each of the inputs.
fn same_answers(inputs: &[Vec<u8>]) {
    let Some(oracle) = oracle() else { return };
    let (subject, oracle) = (subject().start(), oracle.start());
    let mut wrong = Vec::new();
    for input in inputs {
        let (ours, theirs) = (answer(&subject, input), answer(&oracle, input));
        if ours != theirs {
            wrong.push(format!(
                "to {}\n  subject: {}\n  oracle:  {}",
                quote(input),
                quote(&ours),
                quote(&theirs)
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} answers differ\n{}",
        wrong.len(),
        inputs.len(),
        wrong.join("\n")
    );
    assert_eq!(subject.run("PING"), Value::simple("PONG"));
}

#[test]
fn inline_commands() {
    let inputs = [
        "PING\r\n",
        "PING\n",
        "  ping  \r\n",
        "\r\n\r\nPING\r\n",
        "\n\n",
        "PING hello\r\nPING 'a b'\r\nPING \"a\\x41\\n\\\"\"\r\n",
        "SET k \"\\xff\\x00\\r\\n\"\r\nGET k\r\n",
        "PING 'it\\'s'\r\n",
        "PING \"\"\r\n",
        "PING \"unbalanced\r\n",
        "PING 'unbalanced\r\n",
        "PING \"a\"b\r\n",
        "PING a\"b c\"\r\n",
        "NOSUCH a b c\r\n",
        "GET\r\n",
        "\0PING\r\n",
        "PI",
        "",
        "GET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: example.org\r\n\r\nPING\r\n",
        "Host: example.org\r\nPING\r\n",
        "ECHO \u{fc}\r\n",
    ];
    same_answers(&inputs.map(|text| text.as_bytes().to_vec()));
}

/// KB-106: and nothing is reserved for what is only announced.
#[test]
fn lengths_that_lie() {
    let inputs = [
        "*0\r\nPING\r\n",
        "*-1\r\nPING\r\n",
        "*-100\r\nPING\r\n",
        "*1\r\n$4\r\nPING\r\n",
        "*x\r\n",
        "*\r\n",
        "*1x\r\n",
        "* 1\r\n$4\r\nPING\r\n",
        "*+1\r\n$4\r\nPING\r\n",
        "*01\r\n$4\r\nPING\r\n",
        "*1048576\r\n",
        "*1048577\r\n",
        "*2147483647\r\n",
        "*2147483648\r\n",
        "*99999999999999999999\r\n",
        "*1\r\n:5\r\n",
        "*1\r\nPING\r\n",
        "*1\r\n*1\r\n",
        "*1\r\n\r\n",
        "*1\r\n$\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$x\r\n",
        "*1\r\n$4x\r\nPING\r\n",
        "*1\r\n$04\r\nPING\r\n",
        "*1\r\n$536870912\r\n",
        "*1\r\n$536870913\r\n",
        "*1\r\n$9223372036854775808\r\n",
        "*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n",
        "*2\r\n$3\r\nGET\r\n$0\r\n\r\n",
        "*1\r\n$0\r\n\r\n",
        "*2\r\n$4\r\nPING\r\n",
        "*1\r\n$4\r\nPI",
        "*1\r\n$6\r\nPI\r\nNG\r\n",
        "*1\r\n$4\r\nPING\r\n*x\r\n*1\r\n$4\r\nPING\r\n",
    ];
    same_answers(&inputs.map(|text| text.as_bytes().to_vec()));
}

#[test]
fn lines_without_end() {
    let long = |head: &str, n: usize| [head.as_bytes(), &vec![b'1'; n]].concat();
    same_answers(&[
        long("PING ", 60_000),
        long("PING ", 70_000),
        long("*", 60_000),
        long("*", 70_000),
        long("*1\r\n$", 60_000),
        long("*1\r\n$", 70_000),
    ]);
}

#[test]
fn unknown_commands_are_named_with_their_arguments_cut_short() {
    let args = |n: usize, length: usize| -> Vec<Vec<u8>> {
        [vec![b"NOSUCH".to_vec()], vec![vec![b'a'; length]; n]].concat()
    };
    let inputs = [
        args(0, 0),
        args(1, 0),
        args(2, 5),
        args(30, 10),
        args(1, 127),
        args(1, 128),
        args(1, 129),
        args(3, 300),
    ];
    let mut inputs = inputs.map(|args| resp::command(&args)).to_vec();
    inputs.push(resp::command(&[vec![b'N'; 300]]));
    inputs.push(resp::command(&["no\r\nsuch", "a\r\nb"]));
    inputs.push(resp::command(&["CONFIG", "NOSUCH"]));
    inputs.push(resp::command(&["CONFIG"]));
    inputs.push(resp::command(&["OBJECT", &"x".repeat(200)]));
    inputs.push(resp::command(&["GET", "a", "b"]));
    same_answers(&inputs);
}

#[test]
fn hello_and_reset() {
    let inputs = [
        "HELLO 1",
        "HELLO 4",
        "HELLO x",
        "HELLO 3 AUTH a",
        "HELLO 3 AUTH nobody x",
        "HELLO 3 SETNAME",
        "HELLO 3 SETNAME a\\ b",
        "HELLO 3 NOSUCH",
        "RESET",
        "AUTH",
        "AUTH x",
        "AUTH nobody x",
        "AUTH a b c",
        "QUIT\r\nPING",
    ];
    same_answers(&inputs.map(|line| format!("{line}\r\n").into_bytes()));
}

/// Commands of which each byte decides something.
fn conversation() -> (Vec<u8>, Vec<Value>) {
    let long = "x".repeat(40_000);
    let commands: Vec<Vec<&str>> = vec![
        vec!["SET", "key", "v\r\n$3"],
        vec!["GET", "key"],
        vec!["SET", "long", &long],
        vec!["STRLEN", "long"],
        vec!["NOSUCH"],
        vec!["MGET", "key", "none"],
        vec!["PING"],
    ];
    let bytes = commands
        .iter()
        .flat_map(|command| resp::command(command))
        .chain(*b"PING inline\r\n")
        .collect();
    let replies = vec![
        Value::simple("OK"),
        Value::bulk("v\r\n$3"),
        Value::simple("OK"),
        Value::Int(40_000),
        Value::error("ERR unknown command 'NOSUCH', with args beginning with: "),
        Value::Array(vec![Value::bulk("v\r\n$3"), Value::NullBulk]),
        Value::simple("PONG"),
        Value::bulk("inline"),
    ];
    (bytes, replies)
}

/// KB-105: a request is judged as a whole, wherever a read ends.
#[test]
fn it_does_not_matter_how_bytes_are_cut() {
    let server = subject().start();
    let (bytes, replies) = conversation();
    // Whole; in pieces around the sizes of buffers; and byte for byte but for the long middle.
    for size in [bytes.len(), 16 << 10, 4096, 1000, 7] {
        let mut conn = server.conn();
        bytes.chunks(size).for_each(|piece| conn.send_raw(piece));
        for expected in &replies {
            assert_eq!(conn.reply(), *expected, "in pieces of {size}");
        }
    }
    let mut conn = server.conn();
    let (head, tail) = (200, bytes.len() - 200);
    bytes[..head]
        .iter()
        .for_each(|byte| conn.send_raw(&[*byte]));
    conn.send_raw(&bytes[head..tail]);
    bytes[tail..]
        .iter()
        .for_each(|byte| conn.send_raw(&[*byte]));
    for expected in &replies {
        assert_eq!(conn.reply(), *expected, "byte for byte");
    }
}

#[test]
fn a_long_pipeline_is_answered_in_order() {
    const COMMANDS: i64 = 50_000;
    let server = subject().start();
    let mut conn = server.conn();
    let bytes: Vec<u8> = (0..COMMANDS)
        .flat_map(|_| resp::command(&["INCR", "n"]))
        .collect();
    conn.send_raw(&bytes);
    for n in 1..=COMMANDS {
        assert_eq!(conn.reply(), Value::Int(n));
    }
}

/// KB-111.
#[test]
fn a_client_that_does_not_read_stops_nobody() {
    let server = subject().start();
    let mut writer = server.conn();
    let limit = [
        "CONFIG",
        "SET",
        "client-output-buffer-limit",
        "normal 0 0 0",
    ];
    assert!(writer.cmd(&limit).is_ok());
    assert!(writer.cmd(&["SET", "big", &"x".repeat(1 << 20)]).is_ok());
    let mut deaf = server.conn();
    for _ in 0..64 {
        deaf.send(&["GET", "big"]);
    }
    assert_eq!(writer.run("PING"), Value::simple("PONG"));
    // What it was sent is whole once it reads.
    for n in 0..64 {
        assert_eq!(deaf.reply().bytes().len(), 1 << 20, "reply {n}");
    }
}

#[test]
fn half_a_command_changes_nothing() {
    let server = subject().start();
    let mut conn = server.conn();
    let whole = resp::command(&["SET", "key", "value"]);
    conn.send_raw(&whole[..whole.len() - 1]);
    conn.finish_sending();
    assert!(conn.drain(conn.patience).is_empty());
    assert_eq!(server.run("EXISTS key"), Value::Int(0));
}

#[test]
fn values_of_many_megabytes_arrive_whole() {
    let server = subject().start();
    let mut conn = server.conn();
    let value: Vec<u8> = (0..20_000_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    assert!(conn.cmd(&[b"SET", b"key", value.as_slice()]).is_ok());
    assert!(
        conn.run("GET key") == Value::Bulk(value.clone()),
        "another value came back"
    );
    assert_eq!(conn.run("STRLEN key"), Value::Int(value.len() as i64));
}

#[test]
fn resp3_is_agreed_on_for_each_connection() {
    let server = subject().start();
    let (mut new, mut old) = (server.conn(), server.conn());
    let hello = new.run("HELLO 3");
    let Value::Map(fields) = &hello else {
        panic!("{hello:?}")
    };
    let field = |name: &str| {
        fields
            .iter()
            .find(|(key, _)| key.text() == name)
            .map(|(_, value)| value.clone())
    };
    assert_eq!(field("proto"), Some(Value::Int(3)));
    assert_eq!(field("role"), Some(Value::bulk("master")));
    assert_eq!(new.run("GET none"), Value::Null);
    assert_eq!(old.run("GET none"), Value::NullBulk);
    assert_eq!(new.run("RESET"), Value::simple("RESET"));
    assert_eq!(new.run("GET none"), Value::NullBulk);
}

#[test]
fn replies_can_be_switched_off() {
    let server = subject().start();
    let mut conn = server.conn();
    conn.send_raw(b"CLIENT REPLY OFF\r\nSET a 1\r\nPING\r\nCLIENT REPLY ON\r\nGET a\r\n");
    assert_eq!(
        (conn.reply(), conn.reply()),
        (Value::simple("OK"), Value::bulk("1"))
    );
    conn.send_raw(b"CLIENT REPLY SKIP\r\nPING\r\nPING next\r\n");
    assert_eq!(conn.reply(), Value::bulk("next"));
}

/// Also by a transaction, from the middle of its reply on.
#[test]
fn replies_are_switched_off_and_on_at_the_same_places() {
    let scripts = [
        "client reply skip;nosuch;ping",
        "client reply skip;client reply skip;ping;echo x",
        "client reply skip;client reply off;ping;client reply skip;client reply on;ping",
        "client reply off;client reply bad;client reply on",
        "client reply skip;client reply on;ping",
        "client reply skip;multi;client reply skip;ping",
        "client reply skip;multi;psync ? -1;ping;exec;ping",
        "multi;client reply skip;watch a;ping;exec;ping;ping",
        "multi;ping;client reply skip;ping;exec;ping;ping",
        "multi;client reply skip;shutdown;exec;ping",
        "multi;ping;client reply off;ping;exec;ping;client reply on;ping",
        "client reply off;multi;ping;client reply on;ping;exec;ping",
        "multi;ping;client reply on;exec;ping",
        "client reply off;reset;ping",
        "multi;ping;client reply skip;exec;client reply skip;ping;ping",
    ];
    let inputs: Vec<Vec<u8>> = scripts
        .iter()
        .map(|script| (script.replace(';', "\r\n") + "\r\n").into_bytes())
        .collect();
    same_answers(&inputs);
}

/// KB-108: also those that are gone before they are taken.
#[test]
fn many_connections_come_and_go() {
    let server = subject().start();
    let before = server.conn().info("clients", "connected_clients");
    for _ in 0..500 {
        drop(std::net::TcpStream::connect(("127.0.0.1", server.port())));
    }
    let mut conns: Vec<Conn> = (0..500).map(|_| server.conn()).collect();
    conns.iter_mut().for_each(|conn| conn.send(&["PING"]));
    assert!(
        conns
            .iter_mut()
            .all(|conn| conn.reply() == Value::simple("PONG"))
    );
    drop(conns);
    reprise_tests::wait::until(reprise_tests::wait::SOON, "the server forgets them", || {
        server.conn().info("clients", "connected_clients") == before
    });
}
