//! Rules, one by one and at random, against what they must make.

use super::*;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use proptest::prelude::*;

const CATEGORIES: &[(u32, &str)] = &[
    (1, "read"),
    (2, "write"),
    (4, "fast"),
    (8, "slow"),
    (16, "dangerous"),
];

/// Numbers: get 0, set 1, del 2, select 3, config 4, config|get 5, config|set 6, publish 7, keys 8.
fn catalogue() -> Catalogue {
    let commands = [
        ("get", 1 | 4),
        ("set", 2 | 8),
        ("del", 2 | 8),
        ("select", 4),
        ("config", 8),
        ("config|get", 8 | 16),
        ("config|set", 8 | 16),
        ("publish", 4),
        ("keys", 1 | 8 | 16),
    ];
    Catalogue::new(commands.into_iter(), CATEGORIES)
}

fn acl() -> Acl {
    Acl::new(catalogue(), false)
}

fn set(acl: &mut Acl, name: &str, rules: &str) -> Result<Change, String> {
    let rules: Vec<&[u8]> = rules.split(' ').map(str::as_bytes).collect();
    acl.set(name.as_bytes(), &rules)
        .map_err(|why| String::from_utf8(why).unwrap())
}

fn line(acl: &Acl, name: &str) -> String {
    let user = acl.user(acl.find(name.as_bytes()).unwrap()).unwrap();
    String::from_utf8(user.describe(acl.catalogue())).unwrap()
}

/// What a user says to a command with its keys (read and written), and channels.
fn ask(acl: &Acl, name: &str, words: &str, keys: &[(usize, u8)]) -> Result<(), Denied> {
    let user = acl.user(acl.find(name.as_bytes()).unwrap()).unwrap();
    let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
    let command = acl.catalogue().find(words[0]).unwrap();
    let keys: Vec<KeyUse> = keys
        .iter()
        .map(|&(at, needs)| KeyUse { at, needs })
        .collect();
    let channels: &[ChannelUse] = &[ChannelUse {
        at: 1,
        is_pattern: false,
    }];
    let publishes = acl.catalogue().row(command).unwrap().name == "publish";
    user.check(&Question {
        command,
        for_all: false,
        words: &words,
        keys: &keys,
        channels: if publishes { channels } else { &[] },
    })
}

#[test]
fn a_new_user_may_do_nothing_and_the_default_user_everything() {
    let mut acl = acl();
    set(&mut acl, "u", "").unwrap();
    assert_eq!(line(&acl, "u"), "off resetchannels -@all");
    assert_eq!(line(&acl, "default"), "on nopass ~* &* +@all");
    assert!(acl.is_all_powerful(UserId::DEFAULT) && !acl.wants_authentication());
    assert_eq!(ask(&acl, "u", "get k", &[(1, READ)]), Err(Denied::Command));
    assert_eq!(ask(&acl, "default", "get k", &[(1, READ)]), Ok(()));
}

#[test]
fn passwords_are_added_removed_and_compared() {
    let mut acl = acl();
    set(&mut acl, "u", "on >one >two").unwrap();
    let id = acl.find(b"u");
    assert_eq!(acl.authenticate(b"u", b"one"), id);
    assert_eq!(acl.authenticate(b"u", b"two"), id);
    for wrong in [&b""[..], b"on", b"one2", b"One"] {
        assert_eq!(acl.authenticate(b"u", wrong), None);
    }
    set(&mut acl, "u", "<one").unwrap();
    assert_eq!(acl.authenticate(b"u", b"one"), None);
    let error = set(&mut acl, "u", "off <one").unwrap_err();
    assert_eq!(
        error,
        "Error in ACL SETUSER modifier '<one': The password you are trying to remove from the user does not exist"
    );
    // All or nothing: it is still on.
    assert_eq!(acl.authenticate(b"u", b"two"), id);
    set(&mut acl, "u", "off").unwrap();
    assert_eq!(acl.authenticate(b"u", b"two"), None);
    set(&mut acl, "u", "on nopass").unwrap();
    assert_eq!(acl.authenticate(b"u", b"anything"), id);
    let hash = "ab".repeat(32);
    set(&mut acl, "u", &format!("#{hash}")).unwrap();
    assert_eq!(line(&acl, "u"), format!("on #{hash} resetchannels -@all"));
    for bad in ["#", "#AB", &format!("!{}", hash.to_uppercase())] {
        assert!(
            set(&mut acl, "u", bad)
                .unwrap_err()
                .contains("exactly 64 characters")
        );
    }
    assert_eq!(acl.authenticate(b"nobody", b"x"), None);
}

#[test]
fn commands_are_allowed_by_name_category_subcommand_and_first_argument() {
    let mut acl = acl();
    set(&mut acl, "u", "on +@read +config|get +SELECT|0 allkeys").unwrap();
    assert_eq!(
        line(&acl, "u"),
        "on ~* resetchannels -@all +@read +select|0 +config|get"
    );
    assert_eq!(ask(&acl, "u", "get k", &[]), Ok(()));
    assert_eq!(ask(&acl, "u", "select 0", &[]), Ok(()));
    assert_eq!(ask(&acl, "u", "select 1", &[]), Err(Denied::Command));
    assert_eq!(ask(&acl, "u", "config|get x", &[]), Ok(()));
    assert_eq!(ask(&acl, "u", "config|set x y", &[]), Err(Denied::Command));
    // A container that is allowed brings its subcommands; a category of which it is one too.
    set(&mut acl, "u", "-@all +config").unwrap();
    assert_eq!(ask(&acl, "u", "config|set x y", &[]), Ok(()));
    set(&mut acl, "u", "-@dangerous").unwrap();
    assert_eq!(ask(&acl, "u", "config|set x y", &[]), Err(Denied::Command));
    set(&mut acl, "u", "+@slow").unwrap();
    assert_eq!(ask(&acl, "u", "config|set x y", &[]), Ok(()));
    // What is taken away ends that everything is allowed without a look.
    set(&mut acl, "u", "+@all -config").unwrap();
    assert_eq!(
        line(&acl, "u"),
        "on ~* resetchannels +@all -@dangerous -config +keys"
    );
    assert_eq!(ask(&acl, "u", "config|get x", &[]), Err(Denied::Command));
    assert_eq!(ask(&acl, "u", "del x", &[]), Ok(()));
}

#[test]
fn keys_are_allowed_for_reading_and_for_writing() {
    let mut acl = acl();
    set(&mut acl, "u", "on +@all %R~r:* %W~w:* ~b:* %rw~c:*").unwrap();
    assert_eq!(
        line(&acl, "u"),
        "on %R~r:* %W~w:* ~b:* ~c:* resetchannels +@all"
    );
    assert_eq!(ask(&acl, "u", "get r:1", &[(1, READ)]), Ok(()));
    assert_eq!(
        ask(&acl, "u", "set r:1", &[(1, WRITE)]),
        Err(Denied::Key(1))
    );
    assert_eq!(ask(&acl, "u", "set w:1", &[(1, WRITE)]), Ok(()));
    assert_eq!(
        ask(&acl, "u", "set w:1", &[(1, READ | WRITE)]),
        Err(Denied::Key(1))
    );
    assert_eq!(
        ask(&acl, "u", "set c:1 b:1", &[(1, READ | WRITE), (2, WRITE)]),
        Ok(())
    );
    assert_eq!(ask(&acl, "u", "del r:1 w:1", &[(1, 0), (2, 0)]), Ok(()));
    // The other half comes to a pattern that is there.
    set(&mut acl, "u", "%W~r:*").unwrap();
    assert_eq!(ask(&acl, "u", "set r:1", &[(1, READ | WRITE)]), Ok(()));
    for bad in ["%~x", "%", "%RX~a", "%RR~a", "~a\tb"] {
        assert!(
            set(&mut acl, "u", bad)
                .unwrap_err()
                .ends_with(": Syntax error"),
            "{bad}"
        );
    }
    set(&mut acl, "u", "allkeys").unwrap();
    assert!(
        set(&mut acl, "u", "~x")
            .unwrap_err()
            .contains("Try 'resetkeys'")
    );
}

#[test]
fn a_selector_permits_as_a_whole_and_the_worst_reason_is_told() {
    let mut acl = acl();
    set(&mut acl, "u", "on +get ~a* ( +set ~b* ) (+publish &news)").unwrap();
    assert_eq!(
        line(&acl, "u"),
        "on ~a* resetchannels -@all +get (~b* resetchannels -@all +set) (resetchannels &news -@all +publish)"
    );
    assert_eq!(ask(&acl, "u", "get a", &[(1, READ)]), Ok(()));
    assert_eq!(ask(&acl, "u", "get b", &[(1, READ)]), Err(Denied::Key(1)));
    assert_eq!(ask(&acl, "u", "set a", &[(1, WRITE)]), Err(Denied::Key(1)));
    assert_eq!(ask(&acl, "u", "del a", &[(1, WRITE)]), Err(Denied::Command));
    assert_eq!(ask(&acl, "u", "publish news x", &[]), Ok(()));
    assert_eq!(
        ask(&acl, "u", "publish else x", &[]),
        Err(Denied::Channel(1))
    );
    set(&mut acl, "u", "clearselectors").unwrap();
    assert_eq!(line(&acl, "u"), "on ~a* resetchannels -@all +get");
    assert_eq!(
        set(&mut acl, "u", "on (+get ~x").unwrap_err(),
        "Unmatched parenthesis in acl selector starting at '(+get'."
    );
}

/// KB-123.
#[test]
fn what_is_wrong_with_a_rule_is_said_in_redis_s_words() {
    let mut acl = acl();
    let text = |acl: &mut Acl, rule: &str| {
        let error = set(acl, "u", rule).unwrap_err();
        error.rsplit("': ").next().unwrap().to_string()
    };
    for unknown in [
        "+nosuch",
        "-nosuch",
        "+@nosuch",
        "+",
        "+config|nosuch",
        "-select|0",
    ] {
        assert_eq!(
            text(&mut acl, unknown),
            "Unknown command or category name in ACL"
        );
    }
    for syntax in ["nosuch", "+select|", "+config|", "(nosuch)", "("] {
        let wanted = if syntax == "(" { "'." } else { "Syntax error" };
        assert!(
            set(&mut acl, "u", syntax).unwrap_err().ends_with(wanted),
            "{syntax}"
        );
    }
    assert_eq!(
        text(&mut acl, "+config|get|x"),
        "Allowing first-arg of a subcommand is not supported"
    );
    // None of it has made a user.
    assert_eq!(acl.find(b"u"), None);
}

#[test]
fn a_file_is_taken_as_a_whole_or_not_at_all() {
    let mut acl = acl();
    set(&mut acl, "old", "on nopass +get").unwrap();
    let before = acl.lines();
    let errors = acl
        .load(
            b"user a on\nnobody\nuser a on\n\n user b +nosuch wrong wronger\r\nuser c (+get\n",
            "users.acl",
        )
        .unwrap_err();
    assert_eq!(
        String::from_utf8(errors).unwrap(),
        "users.acl:2 should start with user keyword followed by the username. \
         WARNING: Duplicate user 'a' found on line 3. \
         users.acl:5: Error in applying operation '+nosuch': Unknown command or category name in ACL. \
         users.acl:5: Syntax error. \
         users.acl:6: Unmatched parenthesis in selector definition.\
         WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
    );
    assert_eq!(acl.lines(), before);
    let old = acl.find(b"old").unwrap();
    let gone = acl
        .load(b"user old on  +set\nuser new on\n", "users.acl")
        .unwrap();
    assert_eq!(gone, [old]);
    assert_ne!(
        acl.find(b"old"),
        Some(old),
        "a name that comes again is somebody else"
    );
    assert!(acl.user(old).is_none() && acl.is_open());
    let text = acl.text();
    acl.load(&text, "users.acl").unwrap();
    assert_eq!(acl.text(), text);
}

#[test]
fn channels_that_are_taken_away_are_noticed() {
    let mut acl = acl();
    let mut left = |rules: &str| {
        let change = set(&mut acl, "u", rules).unwrap();
        let after = acl.user(change.user).unwrap();
        change
            .before
            .and_then(|before| before.revoked_channels(after))
    };
    assert_eq!(left("&a &b"), None);
    assert_eq!(left("&c"), None);
    assert_eq!(left("resetchannels &a"), Some(vec![b"a"[..].into()]));
    assert_eq!(left("allchannels"), None);
    assert_eq!(left("resetchannels (&x)"), Some(vec![b"x"[..].into()]));
    assert_eq!(left("(&*)"), None);
}

#[test]
fn refusals_that_are_alike_are_counted_together() {
    let mut log = Log::default();
    let entry = |object: &str, at_ms: u64| Entry {
        count: 1,
        reason: Reason::Key,
        context: Context::TopLevel,
        object: object.as_bytes().into(),
        user: b"u"[..].into(),
        client: format!("at {at_ms}").into_bytes().into(),
        id: 0,
        created_ms: at_ms,
        updated_ms: at_ms,
    };
    for (object, at_ms) in [("a", 0), ("b", 1), ("a", 60_000), ("a", 120_001)] {
        log.add(entry(object, at_ms), 10);
    }
    let shown: Vec<_> = (log.entries().iter())
        .map(|e| (&*e.object, e.count, e.id, e.created_ms, e.updated_ms))
        .collect();
    let (a, b) = (&b"a"[..], &b"b"[..]);
    assert_eq!(
        shown,
        [
            (a, 1, 2, 120_001, 120_001),
            (a, 2, 0, 0, 60_000),
            (b, 1, 1, 1, 1)
        ]
    );
    assert_eq!(&*log.entries()[1].client, b"at 60000");
    log.add(entry("c", 120_002), 2);
    assert_eq!(log.entries().len(), 2);
}

#[test]
fn declarations_are_looked_over_line_by_line() {
    let words = |line: &str| -> Vec<Vec<u8>> {
        line.split(' ')
            .map(|word| word.as_bytes().to_vec())
            .collect()
    };
    let check = |line: &str, known: &[Vec<Vec<u8>>]| {
        check_declaration(&words(line), known, &catalogue())
            .map_err(|why| String::from_utf8(why).unwrap())
    };
    assert_eq!(check("user a on +nosuch ( +get )", &[]), Ok(()));
    assert_eq!(
        check("user a on wrong", &[]),
        Err("Error in user declaration 'a': Syntax error".to_string())
    );
    assert_eq!(
        check("user a on", &[words("a off")]).unwrap_err(),
        "Error in user declaration 'a': Duplicate user found. A user can only be defined once in config files"
    );
    let mut acl = acl();
    let notes = acl
        .declare(&[words("default >x"), words("a on nopass")])
        .unwrap();
    assert_eq!(notes.len(), 1);
    assert!(notes[0].starts_with("The user 'default' is disabled"));
    assert!(acl.wants_authentication() && acl.authenticate(b"a", b"").is_some());
    let error = acl.declare(&[words("b +nosuch")]).unwrap_err();
    assert_eq!(
        error.0,
        b"Error loading ACL rule '+nosuch' for the user named 'b': Unknown command or category name in ACL"
    );
}

fn a_rule() -> impl Strategy<Value = String> {
    prop_oneof![
        "[+-](get|set|del|select|config|config\\|get|config\\|set|publish|keys)",
        "[+-]@(read|write|fast|slow|dangerous|all)",
        "(~|%R~|%W~|%RW~)[a-c*]{1,3}",
        "(resetkeys|resetchannels|allkeys|allchannels|nopass|resetpass|on|off|reset|clearselectors)",
        "&[a-c*]{1,3}",
        "[><][a-c]{1,2}",
        "[+]select\\|[0-2]",
    ]
}

proptest! {
    /// The line that describes a user makes the same user again.
    #[test]
    fn a_description_makes_the_same_user(
        rules in proptest::collection::vec(a_rule(), 0..20),
        inner in proptest::collection::vec(a_rule(), 0..5),
    ) {
        let mut acl = acl();
        acl.set(b"u", &[]).unwrap();
        for rule in &rules {
            let _ = set(&mut acl, "u", rule);
        }
        let _ = set(&mut acl, "u", &format!("({})", inner.join(" ")));
        let described = line(&acl, "u");
        set(&mut acl, "v", &described).unwrap();
        prop_assert_eq!(&line(&acl, "v"), &described);
        let all = acl.catalogue().clone();
        for (_, row) in all.rows() {
            for (key, needs) in [("a", READ), ("b", WRITE), ("ab", READ | WRITE), ("c", 0)] {
                let words = format!("{} {key}", row.name);
                let keys: &[(usize, u8)] = if row.name == "publish" { &[] } else { &[(1, needs)] };
                prop_assert_eq!(ask(&acl, "u", &words, keys), ask(&acl, "v", &words, keys));
            }
        }
    }

    /// A single command is allowed if the last rule that speaks of it says so.
    #[test]
    fn the_last_rule_about_a_command_decides(
        rules in proptest::collection::vec(("[+-]", 0..5usize), 1..12),
    ) {
        let names = ["get", "set", "@read", "@write", "@all"];
        let mut acl = acl();
        acl.set(b"u", &[]).unwrap();
        let mut allowed = [false, false];
        for (sign, at) in &rules {
            set(&mut acl, "u", &format!("{sign}{}", names[*at])).unwrap();
            let is_about = [[0, 2, 4].contains(at), [1, 3, 4].contains(at)];
            for (own, about) in allowed.iter_mut().zip(is_about) {
                *own = if about { sign == "+" } else { *own };
            }
        }
        set(&mut acl, "u", "resetkeys ~*").unwrap();
        prop_assert_eq!(ask(&acl, "u", "get k", &[]).is_ok(), allowed[0]);
        prop_assert_eq!(ask(&acl, "u", "set k", &[]).is_ok(), allowed[1]);
    }
}
