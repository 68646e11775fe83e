//! Directives with a value of their own kind: several words, lists, flags.

use super::choices::must_be_one_of;
use super::setting::{
    Origin, Reason, Rewritten, RewrittenLine, Rule, Setting, format_memory, lenient_integer,
    parse_memory, single,
};
use crate::resp::quote;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Write;

/// `save`: take a snapshot after so many seconds, if there were so many changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    /// Seconds since the last snapshot.
    pub seconds: u64,
    /// Changes since the last snapshot.
    pub changes: u32,
}

/// `save`: all save points; none switches automatic snapshots off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavePoints(pub Vec<SavePoint>);

impl Default for SavePoints {
    fn default() -> Self {
        let point = |seconds, changes| SavePoint { seconds, changes };
        SavePoints(vec![point(3600, 1), point(300, 100), point(60, 10000)])
    }
}

impl Setting for SavePoints {
    fn set(&mut self, args: &[&[u8]], _: &Rule, origin: Origin) -> Result<(), Reason> {
        const INVALID: &str = "Invalid save parameters";
        if let [b""] = args {
            self.0.clear();
            return Ok(());
        }
        let mut points = Vec::new();
        for pair in args.chunks(2) {
            let &[seconds, changes] = pair else {
                return Err(INVALID.into());
            };
            let seconds = lenient_integer(seconds)
                .and_then(|s| u64::try_from(s).ok())
                .filter(|&s| s >= 1);
            // Redis cuts larger numbers to 32 bits; refusing them surprises nobody.
            let changes = lenient_integer(changes).and_then(|c| u32::try_from(c).ok());
            let (Some(seconds), Some(changes)) = (seconds, changes) else {
                return Err(INVALID.into());
            };
            points.push(SavePoint { seconds, changes });
        }
        if origin == Origin::Replace {
            self.0.clear();
        }
        self.0.extend(points);
        Ok(())
    }

    fn value(&self, _: &Rule) -> Vec<u8> {
        joined(
            self.0
                .iter()
                .map(|point| format!("{} {}", point.seconds, point.changes)),
        )
    }

    fn rewritten(&self, _: &Rule, _: &[u8]) -> Rewritten {
        if self.0.is_empty() {
            return Rewritten::one(b"\"\"".to_vec(), true);
        }
        let line = |point: &SavePoint| RewrittenLine {
            value: format!("{} {}", point.seconds, point.changes).into_bytes(),
            forced: true,
        };
        Rewritten::Lines(self.0.iter().map(line).collect())
    }
}

fn joined(parts: impl Iterator<Item = String>) -> Vec<u8> {
    let mut text = String::new();
    for (i, part) in parts.enumerate() {
        if i > 0 {
            text.push(' ');
        }
        text.push_str(&part);
    }
    text.into_bytes()
}

/// `bind`: addresses to listen on; `-` before one makes it optional, `*` and `::*` mean all of IPv4 and IPv6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindList(pub Vec<String>);

impl Default for BindList {
    fn default() -> Self {
        BindList(vec!["*".to_string(), "-::*".to_string()])
    }
}

impl Setting for BindList {
    fn set(&mut self, args: &[&[u8]], _: &Rule, _: Origin) -> Result<(), Reason> {
        const MOST: usize = 16;
        if args.len() > MOST {
            return Err("Too many bind addresses specified.".into());
        }
        self.0.clear();
        if let [b""] = args {
            return Ok(());
        }
        for address in args {
            self.0.push(String::from_utf8_lossy(address).into_owned());
        }
        Ok(())
    }

    fn value(&self, _: &Rule) -> Vec<u8> {
        joined(self.0.iter().cloned())
    }

    fn rewritten(&self, rule: &Rule, default: &[u8]) -> Rewritten {
        let value = self.value(rule);
        if value == default {
            Rewritten::Absent
        } else if value.is_empty() {
            Rewritten::one(b"\"\"".to_vec(), true)
        } else {
            Rewritten::one(value, true)
        }
    }
}

/// How much may wait to be sent to a client of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    /// Bytes at which it is disconnected at once; 0 for no limit.
    pub hard_bytes: u64,
    /// Bytes at which it is disconnected after `soft_seconds`; 0 for no limit.
    pub soft_bytes: u64,
    /// Seconds above `soft_bytes` without a break.
    pub soft_seconds: u64,
}

/// `client-output-buffer-limit`: the limits of the three classes of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimits {
    /// Clients without another class.
    pub normal: OutputLimit,
    /// Replicas.
    pub replica: OutputLimit,
    /// Clients with a subscription.
    pub pubsub: OutputLimit,
}

impl Default for OutputLimits {
    fn default() -> Self {
        let limit = |hard_mb: u64, soft_mb: u64| OutputLimit {
            hard_bytes: hard_mb << 20,
            soft_bytes: soft_mb << 20,
            soft_seconds: 60,
        };
        OutputLimits {
            normal: OutputLimit::default(),
            replica: limit(256, 64),
            pubsub: limit(32, 8),
        }
    }
}

impl Setting for OutputLimits {
    fn set(&mut self, args: &[&[u8]], _: &Rule, _: Origin) -> Result<(), Reason> {
        for group in args.chunks(4) {
            let &[class, hard, soft, seconds] = group else {
                return Err("Wrong number of arguments in buffer limit configuration.".into());
            };
            let class = match class.to_ascii_lowercase().as_slice() {
                b"normal" => &mut self.normal,
                b"slave" | b"replica" => &mut self.replica,
                b"pubsub" => &mut self.pubsub,
                _ => {
                    return Err(
                        "Invalid client class specified in buffer limit configuration.".into(),
                    );
                }
            };
            let seconds = lenient_integer(seconds).and_then(|s| u64::try_from(s).ok());
            let (Some(hard_bytes), Some(soft_bytes), Some(soft_seconds)) =
                (parse_memory(hard), parse_memory(soft), seconds)
            else {
                return Err(
                    "Error in hard, soft or soft_seconds setting in buffer limit configuration."
                        .into(),
                );
            };
            *class = OutputLimit {
                hard_bytes,
                soft_bytes,
                soft_seconds,
            };
        }
        Ok(())
    }

    fn value(&self, _: &Rule) -> Vec<u8> {
        let class = |name: &str, l: OutputLimit| {
            format!(
                "{name} {} {} {}",
                l.hard_bytes, l.soft_bytes, l.soft_seconds
            )
        };
        joined(
            [
                class("normal", self.normal),
                class("slave", self.replica),
                class("pubsub", self.pubsub),
            ]
            .into_iter(),
        )
    }

    fn rewritten(&self, _: &Rule, _: &[u8]) -> Rewritten {
        let default = OutputLimits::default();
        let line = |name: &str, limit: OutputLimit, default: OutputLimit| {
            let (hard, soft) = (
                format_memory(limit.hard_bytes.into()),
                format_memory(limit.soft_bytes.into()),
            );
            RewrittenLine {
                value: format!("{name} {hard} {soft} {}", limit.soft_seconds).into_bytes(),
                forced: limit != default,
            }
        };
        Rewritten::Lines(vec![
            line("normal", self.normal, default.normal),
            line("replica", self.replica, default.replica),
            line("pubsub", self.pubsub, default.pubsub),
        ])
    }
}

/// `notify-keyspace-events`: which events are published, and where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotifyEvents(u16);

impl NotifyEvents {
    /// `K`: on `__keyspace@<db>__:<key>`.
    pub const KEYSPACE: NotifyEvents = NotifyEvents(1);
    /// `E`: on `__keyevent@<db>__:<event>`.
    pub const KEYEVENT: NotifyEvents = NotifyEvents(1 << 1);
    /// `g`: DEL, EXPIRE, RENAME, …
    pub const GENERIC: NotifyEvents = NotifyEvents(1 << 2);
    /// `$`
    pub const STRING: NotifyEvents = NotifyEvents(1 << 3);
    /// `l`
    pub const LIST: NotifyEvents = NotifyEvents(1 << 4);
    /// `s`
    pub const SET: NotifyEvents = NotifyEvents(1 << 5);
    /// `h`
    pub const HASH: NotifyEvents = NotifyEvents(1 << 6);
    /// `z`
    pub const ZSET: NotifyEvents = NotifyEvents(1 << 7);
    /// `x`: a key expired.
    pub const EXPIRED: NotifyEvents = NotifyEvents(1 << 8);
    /// `e`: a key was evicted for memory.
    pub const EVICTED: NotifyEvents = NotifyEvents(1 << 9);
    /// `t`
    pub const STREAM: NotifyEvents = NotifyEvents(1 << 10);
    /// `m`: a key was looked for in vain.
    pub const KEY_MISS: NotifyEvents = NotifyEvents(1 << 11);
    /// `d`: module types.
    pub const MODULE: NotifyEvents = NotifyEvents(1 << 12);
    /// `n`: a key came into being.
    pub const NEW: NotifyEvents = NotifyEvents(1 << 13);
    /// `A`: `g$lshzxetd`.
    pub const ALL: NotifyEvents = NotifyEvents(0b1_0111_1111_1100);

    /// In the order in which CONFIG GET shows them; those before the `None` are left out under `A`.
    const LETTERS: [(u8, NotifyEvents); 14] = [
        (b'g', Self::GENERIC),
        (b'$', Self::STRING),
        (b'l', Self::LIST),
        (b's', Self::SET),
        (b'h', Self::HASH),
        (b'z', Self::ZSET),
        (b'x', Self::EXPIRED),
        (b'e', Self::EVICTED),
        (b't', Self::STREAM),
        (b'd', Self::MODULE),
        (b'n', Self::NEW),
        (b'K', Self::KEYSPACE),
        (b'E', Self::KEYEVENT),
        (b'm', Self::KEY_MISS),
    ];

    /// Whether all of `events` are chosen.
    pub fn contains(self, events: NotifyEvents) -> bool {
        self.0 & events.0 == events.0
    }

    /// Whether anything is published at all.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Setting for NotifyEvents {
    fn set(&mut self, args: &[&[u8]], _: &Rule, _: Origin) -> Result<(), Reason> {
        let mut flags = 0;
        for letter in single(args)? {
            flags |= match Self::LETTERS.iter().find(|(l, _)| l == letter) {
                Some((_, flag)) => flag.0,
                None if *letter == b'A' => Self::ALL.0,
                None => return Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".into()),
            };
        }
        self.0 = flags;
        Ok(())
    }

    fn value(&self, _: &Rule) -> Vec<u8> {
        let all = self.contains(Self::ALL);
        let mut text = Vec::new();
        if all {
            text.push(b'A');
        }
        for (letter, flag) in Self::LETTERS {
            // Under `A` Redis leaves out `n` too, though `A` does not include it.
            let under_all = Self::ALL.contains(flag) || flag == Self::NEW;
            if self.contains(flag) && !(all && under_all) {
                text.push(letter);
            }
        }
        text
    }

    fn rewritten(&self, rule: &Rule, default: &[u8]) -> Rewritten {
        let value = self.value(rule);
        let mut quoted = Vec::new();
        quote(&mut quoted, &value);
        Rewritten::one(quoted, value != default)
    }
}

/// `oom-score-adj-values`: the scores of a primary, a replica and a child process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OomScores(pub [i32; 3]);

impl Setting for OomScores {
    fn set(&mut self, args: &[&[u8]], _: &Rule, _: Origin) -> Result<(), Reason> {
        let Ok(args) = <&[&[u8]; 3]>::try_from(args) else {
            return Err("wrong number of arguments".into());
        };
        for (score, text) in self.0.iter_mut().zip(args) {
            *score = lenient_integer(text)
                .and_then(|n| i32::try_from(n).ok())
                .filter(|n| (-2000..=2000).contains(n))
                .ok_or("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")?;
        }
        Ok(())
    }

    fn value(&self, _: &Rule) -> Vec<u8> {
        joined(self.0.iter().map(ToString::to_string))
    }
}

/// `latency-tracking-info-percentiles`: which percentiles INFO shows, each from 0 to 100.
#[derive(Clone, Debug, PartialEq)]
pub struct Percentiles(pub Vec<f64>);

impl Setting for Percentiles {
    fn set(&mut self, args: &[&[u8]], _: &Rule, _: Origin) -> Result<(), Reason> {
        self.0.clear();
        if let [b""] = args {
            return Ok(());
        }
        for text in args {
            let number = core::str::from_utf8(text)
                .ok()
                .and_then(|text| text.parse::<f64>().ok());
            let number = number
                .filter(|n| !n.is_nan())
                .ok_or("Invalid latency-tracking-info-percentiles parameters")?;
            if !(0.0..=100.0).contains(&number) {
                return Err(
                    "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"
                        .into(),
                );
            }
            self.0.push(number);
        }
        Ok(())
    }

    fn value(&self, _: &Rule) -> Vec<u8> {
        joined(self.0.iter().map(|percentile| {
            let mut text = String::new();
            // Writing to a string cannot fail.
            let _ = write!(text, "{percentile:.6}");
            text.trim_end_matches('0').trim_end_matches('.').to_string()
        }))
    }

    fn rewritten(&self, rule: &Rule, _: &[u8]) -> Rewritten {
        let value = if self.0.is_empty() {
            b"\"\"".to_vec()
        } else {
            self.value(rule)
        };
        Rewritten::one(value, true)
    }
}

/// `replicaof`: the primary to follow from the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaOf(pub Option<(String, u16)>);

impl Setting for ReplicaOf {
    fn set(&mut self, args: &[&[u8]], _: &Rule, _: Origin) -> Result<(), Reason> {
        let &[host, port] = args else {
            return Err("wrong number of arguments".into());
        };
        if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
            self.0 = None;
            return Ok(());
        }
        let port = lenient_integer(port)
            .and_then(|p| u16::try_from(p).ok())
            .ok_or("Invalid master port")?;
        self.0 = Some((String::from_utf8_lossy(host).into_owned(), port));
        Ok(())
    }

    fn value(&self, _: &Rule) -> Vec<u8> {
        match &self.0 {
            Some((host, port)) => format!("{host} {port}").into_bytes(),
            None => Vec::new(),
        }
    }

    fn rewritten(&self, rule: &Rule, _: &[u8]) -> Rewritten {
        match self.0 {
            Some(_) => Rewritten::one(self.value(rule), true),
            None => Rewritten::Absent,
        }
    }
}

/// `shutdown-on-sigint`, `shutdown-on-sigterm`: how a signal shuts the server down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownFlags {
    /// Save even without save points.
    pub save: bool,
    /// Do not save even with save points.
    pub nosave: bool,
    /// Do not wait for replicas.
    pub now: bool,
    /// Exit even if saving fails.
    pub force: bool,
}

impl Setting for ShutdownFlags {
    fn set(&mut self, args: &[&[u8]], _: &Rule, _: Origin) -> Result<(), Reason> {
        let must = || must_be_one_of(["default", "save", "nosave", "now", "force"].into_iter());
        let mut flags = ShutdownFlags::default();
        if args.is_empty() {
            return Err(must());
        }
        for word in args {
            match word.to_ascii_lowercase().as_slice() {
                b"default" => {}
                b"save" => flags.save = true,
                b"nosave" => flags.nosave = true,
                b"now" => flags.now = true,
                b"force" => flags.force = true,
                _ => return Err(must()),
            }
        }
        if flags.save && flags.nosave {
            return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
        }
        *self = flags;
        Ok(())
    }

    fn value(&self, _: &Rule) -> Vec<u8> {
        let words = [
            (self.save, "save"),
            (self.nosave, "nosave"),
            (self.now, "now"),
            (self.force, "force"),
        ];
        let text = joined(
            words
                .iter()
                .filter(|(on, _)| *on)
                .map(|(_, word)| (*word).to_string()),
        );
        if text.is_empty() {
            b"default".to_vec()
        } else {
            text
        }
    }
}

/// `dir`: the process's directory. The runtime sets it to an absolute path at the start and changes to
/// it; a relative path given later is taken from there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dir(pub String);

impl Setting for Dir {
    fn set(&mut self, args: &[&[u8]], _: &Rule, _: Origin) -> Result<(), Reason> {
        let path =
            core::str::from_utf8(single(args)?).map_err(|_| "argument must be valid UTF-8")?;
        if path.is_empty() {
            return Err("No such file or directory".into());
        }
        self.0 = joined_path(&self.0, path);
        Ok(())
    }

    fn value(&self, _: &Rule) -> Vec<u8> {
        self.0.clone().into_bytes()
    }

    fn rewritten(&self, _: &Rule, _: &[u8]) -> Rewritten {
        if self.0.is_empty() {
            return Rewritten::Absent;
        }
        let mut quoted = Vec::new();
        quote(&mut quoted, self.0.as_bytes());
        Rewritten::one(quoted, true)
    }
}

/// `path` as seen from `base`, without `.`, `..` and doubled slashes.
fn joined_path(base: &str, path: &str) -> String {
    let absolute = path.starts_with('/') || base.starts_with('/');
    let base = if path.starts_with('/') { "" } else { base };
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." if absolute || parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_string(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notify_letters() {
        let show = |letters: &[u8]| {
            let mut events = NotifyEvents::default();
            events
                .set(&[letters], &Rule::NONE, Origin::Replace)
                .unwrap();
            String::from_utf8(events.value(&Rule::NONE)).unwrap()
        };
        assert_eq!(show(b"AKEmn"), "AKEm");
        assert_eq!(show(b"g$lshzxedtKE"), "AKE");
        assert_eq!(show(b"nKx"), "xnK");
        assert_eq!(show(b""), "");
    }

    #[test]
    fn paths_are_joined() {
        for (base, path, expected) in [
            ("/var/lib", "./x", "/var/lib/x"),
            ("/var/lib", "../x//y/.", "/var/x/y"),
            ("/var", "/", "/"),
            ("", ".", "."),
            ("a", "../..", ".."),
            ("/", "..", "/"),
        ] {
            assert_eq!(joined_path(base, path), expected, "{base} {path}");
        }
    }
}
