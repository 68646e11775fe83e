//! The table against a real Redis's answers, CONFIG SET, files and rewriting.

use super::file::{CommandLine, Loader, Step, lines};
use super::rewrite::rewrite;
use super::*;
use alloc::format;
use alloc::string::{String, ToString};
use proptest::prelude::*;

fn load(text: &str) -> Result<Config, file::FileError> {
    let mut loader = Loader::default();
    for (number, line) in lines(text.as_bytes()) {
        assert_eq!(loader.line(number, line)?, Step::Next);
    }
    loader.finish()
}

fn show(config: &Config, name: &str) -> String {
    let found = config.get(&[name.as_bytes()]);
    String::from_utf8(found.into_iter().next().expect("a known directive").1).unwrap()
}

fn set(config: &mut Config, name: &str, value: &str) -> Result<Vec<&'static str>, String> {
    config
        .set_many(&[(name.as_bytes(), value.as_bytes())], Access::default())
        .map_err(|e| String::from_utf8(e.reply()).unwrap().replace("ERR ", ""))
}

#[test]
fn names_and_defaults_are_redis_7_0_15s() {
    let golden: Vec<String> = include_str!("golden/defaults.txt")
        .lines()
        .filter(|l| !l.starts_with('#'))
        .map(String::from)
        .collect();
    let mut ours: Vec<String> = Config::default()
        .get(&[b"*"])
        .into_iter()
        .map(|(name, value)| {
            [name, value]
                .map(|b| String::from_utf8(b).unwrap())
                .join(" ")
                .trim_end()
                .to_string()
        })
        .filter(|line| !line.starts_with("dir"))
        .collect();
    ours.sort();
    let missing: Vec<_> = golden.iter().filter(|l| !ours.contains(l)).collect();
    let extra: Vec<_> = ours.iter().filter(|l| !golden.contains(l)).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "missing {missing:?}, extra {extra:?}"
    );
    assert_eq!(ours.len(), golden.len());
}

#[test]
fn every_row_is_sound() {
    for (i, directive) in table::DIRECTIVES.iter().enumerate() {
        for other in &table::DIRECTIVES[..i] {
            assert!(![other.name, other.alias].contains(&directive.name));
            assert!(directive.alias.is_empty() || directive.alias != other.alias);
        }
        // Each default is a value that the row itself would accept, and is shown as it was set.
        let mut config = Config::default();
        let default = directive.value(&config);
        if directive.name == "dir" || directive.name == "replicaof" {
            continue;
        }
        let words: Vec<&[u8]> = if directive.has(MULTI) {
            default.split(|&b| b == b' ').collect()
        } else {
            Vec::from([&default[..]])
        };
        directive
            .set(&mut config, &words, Origin::Replace)
            .unwrap_or_else(|e| panic!("{}: {e}", directive.name));
        assert_eq!(directive.value(&config), default, "{}", directive.name);
        // Both ends of a range fit the field's type.
        for end in [directive.rule.min, directive.rule.max] {
            if end != i128::MIN && end != i128::MAX {
                let mut text = match directive.rule.unit {
                    setting::Unit::Octal => format!("{end:o}"),
                    _ => end.to_string(),
                };
                if let (setting::Unit::MemoryOrPercent, true) = (directive.rule.unit, end < 0) {
                    text = format!("{}%", -end);
                }
                // Plain numbers are 64-bit signed in Redis, whatever their type.
                directive
                    .set(&mut config, &[text.as_bytes()], Origin::Replace)
                    .unwrap_or_else(|e| panic!("{} {text}: {e}", directive.name));
            }
        }
    }
}

#[test]
fn refusals_have_redis_words() {
    let set_error = |name: &str, value: &str| set(&mut Config::default(), name, value).unwrap_err();
    let refused = |name: &str, reason: &str| {
        format!("CONFIG SET failed (possibly related to argument '{name}') - {reason}")
    };
    for (name, value, reason) in [
        ("maxmemory", "-1", "argument must be a memory value"),
        ("maxmemory", "1xx", "argument must be a memory value"),
        (
            "maxmemory-clients",
            "101%",
            "percentage argument must be less or equal to 100",
        ),
        (
            "maxmemory-clients",
            "-5",
            "argument must be a memory or percent value",
        ),
        (
            "maxclients",
            "0",
            "argument must be between 1 and 4294967295 inclusive",
        ),
        ("hz", "7.5", "argument couldn't be parsed into an integer"),
        ("daemonize", "yes", "can't set immutable config"),
        ("unixsocketperm", "7", "can't set immutable config"),
        (
            "timeout",
            "99999999999",
            "argument must be between 0 and 2147483647 inclusive",
        ),
        ("dir", "/", "can't set protected config"),
        ("dbfilename", "x", "can't set protected config"),
        (
            "appendfsync",
            "x",
            "argument(s) must be one of the following: everysec, always, no",
        ),
        (
            "oom-score-adj",
            "x",
            "argument(s) must be one of the following: no, yes, relative, absolute",
        ),
        ("save", "5", "Invalid save parameters"),
        ("save", "0 5", "Invalid save parameters"),
        ("save", "5 -1", "Invalid save parameters"),
        (
            "client-output-buffer-limit",
            "x",
            "Wrong number of arguments in buffer limit configuration.",
        ),
        (
            "client-output-buffer-limit",
            "master 1 2 3",
            "Invalid client class specified in buffer limit configuration.",
        ),
        (
            "client-output-buffer-limit",
            "slave 1gb 2mb x",
            "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
        ),
        (
            "notify-keyspace-events",
            "q",
            "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.",
        ),
        (
            "latency-tracking-info-percentiles",
            "101",
            "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
        ),
        (
            "latency-tracking-info-percentiles",
            "x",
            "Invalid latency-tracking-info-percentiles parameters",
        ),
        (
            "shutdown-on-sigint",
            "foo",
            "argument(s) must be one of the following: default, save, nosave, now, force",
        ),
        (
            "shutdown-on-sigint",
            "save nosave",
            "shutdown options SAVE and NOSAVE can't be used simultaneously",
        ),
        (
            "proc-title-template",
            "{x}",
            "template format is invalid or contains unknown variables",
        ),
        (
            "cluster-announce-hostname",
            "a_b",
            "Hostnames may only contain alphanumeric characters, hyphens or dots",
        ),
        (
            "list-max-listpack-size",
            "99999999999",
            "argument must be between -2147483648 and 2147483647 inclusive",
        ),
        ("oom-score-adj-values", "1 2", "wrong number of arguments"),
        (
            "oom-score-adj-values",
            "1 2 3000",
            "Invalid oom-score-adj-values, elements must be between -2000 and 2000.",
        ),
    ] {
        assert_eq!(
            set_error(name, value),
            refused(name, reason),
            "{name} {value}"
        );
    }
    // An alias is named as it was written.
    assert_eq!(
        set_error("slave-read-only", "maybe"),
        refused("slave-read-only", "argument must be 'yes' or 'no'")
    );
    assert_eq!(
        set_error("slaveof", "a 1"),
        refused("slaveof", "can't set immutable config")
    );
    assert_eq!(
        set_error("bogus", "1"),
        "Unknown option or number of arguments for CONFIG SET - 'bogus'"
    );
}

#[test]
fn many_are_set_or_none() {
    let mut config = Config::default();
    let pairs: [(&[u8], &[u8]); 2] = [(b"timeout", b"5"), (b"hz", b"x")];
    assert!(config.set_many(&pairs, Access::default()).is_err());
    assert_eq!(config, Config::default());
    let twice: [(&[u8], &[u8]); 2] = [(b"min-slaves-max-lag", b"5"), (b"MIN-slaves-max-lag", b"5")];
    assert_eq!(
        config
            .set_many(&twice, Access::default())
            .unwrap_err()
            .reply(),
        b"ERR CONFIG SET failed (possibly related to argument 'MIN-slaves-max-lag') - duplicate parameter"
    );
    let both: [(&[u8], &[u8]); 2] = [
        (b"min-slaves-max-lag", b"5"),
        (b"min-replicas-max-lag", b"6"),
    ];
    assert_eq!(
        config.set_many(&both, Access::default()),
        Ok(Vec::from(["min-replicas-max-lag"]))
    );
    assert_eq!(config.min_replicas_max_lag, 6);
    let pairs: [(&[u8], &[u8]); 3] = [(b"SLAVE-priority", b"7"), (b"hz", b"0"), (b"timeout", b"0")];
    assert_eq!(
        config.set_many(&pairs, Access::default()),
        Ok(Vec::from(["replica-priority", "hz"]))
    );
    assert_eq!((config.replica_priority, config.hz), (7, 1));
    let loading = Access {
        loading: true,
        ..Access::default()
    };
    assert_eq!(
        config.set_many(&[(b"appendonly", b"yes")], loading),
        Err(ConfigError::Loading)
    );
    let protected = Access {
        protected: true,
        ..Access::default()
    };
    assert_eq!(
        config.set_many(&[(b"dbfilename", b"x.rdb")], protected),
        Ok(Vec::from(["dbfilename"]))
    );
}

#[test]
fn values_are_shown_as_redis_shows_them() {
    let mut config = Config::default();
    for (name, value, shown) in [
        ("maxmemory", "5mb", "5242880"),
        ("maxmemory-clients", "5%", "5%"),
        ("maxmemory-clients", "1k", "1000"),
        ("save", "", ""),
        ("save", "1 2 3 4", "1 2 3 4"),
        ("latency-tracking-info-percentiles", "1.5000 99", "1.5 99"),
        ("latency-tracking-info-percentiles", "", ""),
        ("shutdown-on-sigint", "force now", "now force"),
        ("oom-score-adj", "relative", "yes"),
        (
            "client-output-buffer-limit",
            "slave 1k 2kb 3",
            "normal 0 0 0 slave 1000 2048 3 pubsub 33554432 8388608 60",
        ),
        ("bind", "127.0.0.1 -::1", "127.0.0.1 -::1"),
        ("requirepass", "s e c", "s e c"),
    ] {
        set(&mut config, name, value).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(show(&config, name), shown, "{name} {value}");
    }
}

#[test]
fn patterns_and_names() {
    let config = Config::default();
    let names = |patterns: &[&[u8]]| -> Vec<String> {
        config
            .get(patterns)
            .into_iter()
            .map(|(name, _)| String::from_utf8(name).unwrap())
            .collect()
    };
    assert_eq!(
        names(&[b"*zip*list-VALUE"]),
        ["hash-max-ziplist-value", "zset-max-ziplist-value"]
    );
    assert_eq!(names(&[b"PORT", b"port", b"port", b"po[q-s]t"]), ["PORT"]);
    assert_eq!(names(&[b"key-load-*"]), [] as [&str; 0]);
    assert_eq!(names(&[b"key-load-delay", b"nothing"]), ["key-load-delay"]);
}

#[test]
fn files() {
    let config = load(
        "# a comment\n\n  port 7001 #port\r\nsave 10 1\nsave \"20 2 30 3\"\nrequirepass #x\nuser a on ~#1f\nbind 127.0.0.1 ::1 # both\n\
         SLAVE-read-only no\nrename-command config \"\"\nlua-replicate-commands yes\nhz 1000\nunixsocketperm 700\nmaxmemory 1gb\n",
    )
    .unwrap();
    assert_eq!(config.port, 7001);
    assert_eq!(show(&config, "save"), "10 1 20 2 30 3");
    assert_eq!(config.requirepass, b"#x");
    assert_eq!(
        config.users,
        [[b"a".to_vec(), b"on".to_vec(), b"~#1f".to_vec()]]
    );
    assert_eq!(config.bind.0, ["127.0.0.1", "::1"]);
    assert!(!config.replica_read_only);
    assert_eq!(
        config.renamed_commands,
        [(b"config".to_vec(), b"".to_vec())]
    );
    assert_eq!(
        (config.hz, config.unixsocketperm, config.maxmemory),
        (500, 0o700, 1 << 30)
    );
    assert_eq!(show(&load("save \"\"").unwrap(), "save"), "");
}

#[test]
fn errors_name_the_line() {
    let error = |text: &str| load(text).unwrap_err().to_string();
    assert_eq!(
        error("port 1\n foo bar \n"),
        "\n*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***\nReading the configuration file, at line 2\n>>> 'foo bar'\n\
         Bad directive or wrong number of arguments\n"
    );
    for (text, reason) in [
        ("port", "wrong number of arguments"),
        ("port 1 2", "wrong number of arguments"),
        ("port x", "argument couldn't be parsed into an integer"),
        ("port \"1", "Unbalanced quotes in configuration line"),
        (
            "port 70000",
            "argument must be between 0 and 65535 inclusive",
        ),
        ("replicaof a", "wrong number of arguments"),
        ("replicaof a 99999", "Invalid master port"),
        (
            "sentinel monitor a b c",
            "sentinel directive while not in sentinel mode",
        ),
        ("include", "Bad directive or wrong number of arguments"),
    ] {
        assert_eq!(load(text).unwrap_err().reason, reason, "{text}");
    }
    assert_eq!(
        error("cluster-enabled yes\nreplicaof a 1"),
        "\n*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***\nreplicaof directive not allowed in cluster mode\n"
    );
    assert_eq!(
        Loader::default().line(1, b"include /etc/*.conf"),
        Ok(Step::Include("/etc/*.conf".into()))
    );
}

#[test]
fn command_lines() {
    let parse = |args: &[&str]| {
        let parsed = CommandLine::parse(&args.iter().map(|a| a.as_bytes()).collect::<Vec<_>>());
        (
            parsed.file,
            parsed.stdin,
            String::from_utf8(parsed.options).unwrap(),
        )
    };
    let file = Some("x.conf".to_string());
    assert_eq!(parse(&[]), (None, false, String::new()));
    assert_eq!(parse(&["x.conf", "-"]), (file.clone(), true, String::new()));
    assert_eq!(
        parse(&["-", "--port", "1"]),
        (None, true, "port \"1\" ".into())
    );
    assert_eq!(
        parse(&["x.conf", "--port", "1", "--bind", "a", "b"]),
        (file, false, "port \"1\" \nbind \"a\" \"b\" ".into())
    );
    // A value with dashes; both in one word; lists of save points that are empty.
    assert_eq!(
        parse(&["--requirepass", "--x", "--port", "1"]).2,
        "requirepass \"--x\" \nport \"1\" "
    );
    assert_eq!(
        parse(&["--port 6380", "--hz", "3"]).2,
        "port 6380 \nhz \"3\" "
    );
    assert_eq!(
        parse(&["--save", "--port", "1"]).2,
        "save \"\"\nport \"1\" "
    );
    assert_eq!(
        parse(&["--port", "1", "--save"]).2,
        "port \"1\" \nsave \"\""
    );
    assert_eq!(parse(&["--save", ""]).2, "save \"\" ");
    assert_eq!(
        load(&parse(&["--save", "60 1", "--save", "70", "2"]).2)
            .unwrap()
            .save
            .0
            .len(),
        2
    );
}

/// Found by the fuzz target `config`.
#[test]
fn a_value_that_ends_in_a_form_feed_is_rewritten_as_it_is() {
    let config = load("bind 127.0.0.1\x0c\n").unwrap();
    assert_eq!(show(&config, "bind"), "127.0.0.1\x0c");
    let text = rewrite(b"", &config, None, false);
    let again = load(core::str::from_utf8(&text).unwrap()).unwrap();
    assert_eq!(show(&again, "bind"), "127.0.0.1\x0c");
}

#[test]
fn rewriting_keeps_what_the_user_wrote() {
    let old = "# mine\nport 7001\n\n\n# two\nslave-read-only yes\nsave 900 1\nsave 300 10\ninclude x.conf\nnonsense 1\n\
               tcp-keepalive 60\nuser old on\nunixsocket /tmp/s\n";
    let mut config = load(&old.replace("include x.conf\nnonsense 1\n", "")).unwrap();
    set(&mut config, "port", "7002").unwrap();
    set(&mut config, "save", "900 1").unwrap();
    set(&mut config, "tcp-keepalive", "300").unwrap();
    set(&mut config, "maxmemory", "100mb").unwrap();
    set(&mut config, "client-output-buffer-limit", "normal 1gb 0 0").unwrap();
    set(&mut config, "requirepass", "a\"b").unwrap();
    config.unixsocket.clear();
    let users = [b"user default on nopass".to_vec()];
    let new = String::from_utf8(rewrite(old.as_bytes(), &config, Some(&users), false)).unwrap();
    assert_eq!(
        new,
        "# mine\nport 7002\n\n# two\nreplica-read-only yes\nsave 900 1\n\ninclude x.conf\n# ??? nonsense 1\n\
         tcp-keepalive 300\nuser default on nopass\n\n# Generated by CONFIG REWRITE\n\
         client-output-buffer-limit normal 1gb 0 0\nrequirepass \"a\\\"b\"\nmaxmemory 100mb\n\
         latency-tracking-info-percentiles 50 99 99.9\n"
    );
    // Once more changes nothing but blank lines at the end of the old text.
    let again = String::from_utf8(rewrite(new.as_bytes(), &config, Some(&users), false)).unwrap();
    assert_eq!(again.trim_end(), new.trim_end());
}

/// Some directive with some value: the pairs that CONFIG SET takes.
fn assignment() -> impl Strategy<Value = (String, String)> {
    let value = prop_oneof![
        Just("yes".to_string()),
        Just("no".to_string()),
        Just(String::new()),
        Just("default".to_string()),
        (0u32..4000).prop_map(|n| n.to_string()),
        (0u32..2000).prop_map(|n| format!("{n}mb")),
        (1u32..2000, 0u32..9).prop_map(|(a, b)| format!("{a} {b}")),
        "[AKEg$lmn]{0,5}",
        "[ -~]{0,12}",
    ];
    (0..table::DIRECTIVES.len(), value)
        .prop_map(|(i, value)| (table::DIRECTIVES[i].name.to_string(), value))
}

proptest! {
    #[test]
    fn a_rewritten_file_loads_as_the_same_configuration(pairs in proptest::collection::vec(assignment(), 0..60)) {
        let mut config = Config::default();
        let access = Access { protected: true, loading: false };
        for (name, value) in &pairs {
            // Words with special characters only where a rewritten line quotes them.
            let plain = value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b' ' || b == b'$');
            if name != "bind" || plain && !value.contains("  ") && !value.starts_with(' ') && !value.ends_with(' ') {
                let _ = config.set_many(&[(name.as_bytes(), value.as_bytes())], access);
            }
        }
        let text = rewrite(b"", &config, None, false);
        let loaded = load(core::str::from_utf8(&text).unwrap());
        prop_assert_eq!(loaded.map(|c| c.get(&[b"*"])), Ok(config.get(&[b"*"])));
        let twice = rewrite(&text, &config, None, false);
        prop_assert_eq!(twice, [&text[..], &b"\n"[..usize::from(!text.is_empty())]].concat());
    }

    #[test]
    fn no_line_makes_the_loader_panic(line in "(port|save|bind|user|include|client-output-buffer-limit|dir|hz)?[ -~\\t\u{0}]{0,40}") {
        let mut loader = Loader::default();
        let _ = loader.line(1, line.as_bytes());
    }

    #[test]
    fn no_value_makes_config_set_panic((name, _) in assignment(), value: Vec<u8>) {
        let _ = Config::default().set_many(&[(name.as_bytes(), &value)], Access { protected: true, loading: false });
    }
}
