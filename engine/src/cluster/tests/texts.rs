//! nodes.conf as Redis writes and reads it.

use super::*;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Of a Redis 7.0.15 in a cluster of six, after two failovers.
const REDIS: &str = include_str!("nodes.conf");

fn loaded(text: &str) -> Cluster {
    let now = Now {
        mono_us: 5_000_000,
        unix_us: 1_700_000_000_000_000,
    };
    let mut cluster = Cluster::new(
        Settings {
            port: 21502,
            ..Settings::default()
        },
        [1; 32],
        0,
        now,
    );
    cluster.start(now, Some(text)).unwrap();
    cluster
}

/// A line without what a restart changes: ping and pong times, link state.
fn stable(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    if words[0] == "vars" {
        return words[..5].join(" ");
    }
    [&words[..4], &words[6..7], &words[8..]].concat().join(" ")
}

#[test]
fn a_file_of_redis_is_read_and_written_back() {
    let cluster = loaded(REDIS);
    let (current, vote) = cluster.epochs();
    let written = conf::write(cluster.nodes(), current, vote);
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(stable).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&written), sorted(REDIS));
    assert_eq!(
        conf::parse(&written).unwrap().nodes.len(),
        conf::parse(REDIS).unwrap().nodes.len()
    );
}

#[test]
fn a_line_is_redis_s_to_the_byte() {
    let text = "\
07c37dfeb235213a872192d90877d0cd55635b91 127.0.0.1:30004@31004,hostname4 slave e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca 0 0 4 disconnected
e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca 127.0.0.1:30001@31001,hostname1 myself,master - 0 0 1 connected 0-5460 9000 [93-<-292f8b365bb7edb5e285caf0b7e6ddc7265d2f4f] [5000->-292f8b365bb7edb5e285caf0b7e6ddc7265d2f4f]
292f8b365bb7edb5e285caf0b7e6ddc7265d2f4f 127.0.0.1:30003@31003 master,fail,nofailover - 0 0 3 disconnected 10923-16383
vars currentEpoch 6 lastVoteEpoch 5
";
    let cluster = {
        let now = Now {
            mono_us: 1,
            unix_us: 1_700_000_000_000_000,
        };
        let settings = Settings {
            port: 30001,
            bus_port: 31001,
            announce_hostname: "hostname1".into(),
            ..Settings::default()
        };
        let mut cluster = Cluster::new(settings, [1; 32], 0, now);
        cluster.start(now, Some(text)).unwrap();
        cluster
    };
    assert_eq!(cluster.epochs(), (6, 5));
    // A replica is shown with its primary's epoch.
    let expected = text.replace(" 0 0 4 disconnected", " 0 0 1 disconnected");
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(String::from).collect();
        lines.sort();
        lines
    };
    // What is ours alone stands where a Redis skips it.
    let written = conf::write(cluster.nodes(), 6, 5);
    let ours = alloc::format!(" shardId {}", cluster.my_shard());
    assert_eq!(sorted(&written.replace(&ours, "")), sorted(&expected));
    let again = conf::parse(&written).unwrap();
    assert_eq!(again.shard, Some(cluster.my_shard()));
}

#[test]
fn files_of_later_versions_are_read() {
    let text = "\
e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca 127.0.0.1:30001@31001,,tls-port=0,shard-id=00112233445566778899aabbccddeeff00112233 myself,master - 0 0 1 connected 0-5460
vars currentEpoch 6 lastVoteEpoch 0 somethingNew 1
";
    let cluster = loaded(text);
    assert_eq!(cluster.nodes().me().slots.len(), 5461);
    let shard = "00112233445566778899aabbccddeeff00112233";
    assert_eq!(cluster.my_shard().as_str(), shard);
}

#[test]
fn damaged_files_are_refused() {
    let good = "e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca 127.0.0.1:1@2 myself,master - 0 0 1 connected 0-5460\n";
    assert!(conf::parse(good).is_ok());
    for (from, to) in [
        ("myself,", ""),                 // nobody is this node
        ("0-5460", "0-16384"),           // no such slot
        ("0-5460", "[1->-e7d1]"),        // no such name
        (" connected 0-5460", ""),       // cut short
        ("master", "mastervars"),        // merged
        ("@2", "@"),                     // no port
        ("e7d1", "E7D1"),                // not a name
        ("\n", "\nvars currentEpoch\n"), // half a pair
    ] {
        let refused = conf::parse(&good.replace(from, to)).unwrap_err();
        assert!(
            refused
                .to_string()
                .starts_with("Unrecoverable error: corrupted cluster config file"),
            "{from} → {to}"
        );
    }
    assert!(
        conf::parse(&(String::from("\n\n") + good)).is_ok(),
        "empty lines are skipped"
    );
}
