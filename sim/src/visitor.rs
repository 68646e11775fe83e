//! The visitor: an administrator and a guest at one node, who try what ACLs and channels promise while nodes crash.
//!
//! The administrator sets the guest's rules, and waits until the server says that they hold. From then on the guest
//! must be refused what they forbid, and must not be refused what they allow: on every way in, a command that was
//! queued under older rules and keys that a script makes up included, for permission is checked when a command is
//! carried out (P2). Listening guests hear what is published, in order, once, and nothing after their right to is
//! gone. When a connection ends or is silent for too long, both begin anew, with another node.
//!
//! Besides the rules this is an observer of its own: the keys it writes belong to no group of the workload.

use crate::checkers::Violation;
use crate::client::CLIENT_PORT;
use crate::marks::Marks;
use crate::network::{EndRef, Host, Network, Notice};
use crate::resp::{self, Reply};
use crate::rng::Rng;
use crate::time::{MS, Micros, SEC};

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Admin,
    Guest,
}

/// What the guest may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rules {
    /// SET at all.
    writes: bool,
    /// Keys that begin with this.
    keys: char,
    /// The channel.
    hears: bool,
}

/// What is tried, and which answer is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Connections are being opened; or it is time to.
    Away,
    /// The administrator sets the rules → what is tried next.
    Granting(Trial),
    /// The guest logs in.
    Entering,
    /// A command of the guest: with a key, in the open or out of a script.
    Asking { key: char, script: bool },
    /// MULTI and a command: queued, or refused.
    Queueing { key: char },
    /// EXEC, after the rules changed.
    Executing { key: char },
    /// SUBSCRIBE.
    Subscribing,
    /// The administrator publishes; the guest must hear all of it.
    Publishing { to_come: u32, heard: u32 },
    /// The guest's right to hear is gone: the server must end its connection.
    Expelled,
}

/// What is tried after the rules were set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trial {
    Enter,
    Ask,
    Execute { key: char },
    Expel,
}

#[derive(Debug)]
struct Line {
    end: EndRef,
    connected: bool,
    read: Vec<u8>,
    /// Answers that are awaited.
    wanted: usize,
    got: Vec<Reply>,
}

/// Administrator and guest.
#[derive(Debug)]
pub struct Visitor {
    host: Host,
    nodes: u16,
    rng: Rng,
    node: u16,
    admin: Option<Line>,
    guest: Option<Line>,
    rules: Rules,
    step: Step,
    /// Visits so far: each has a channel of its own, since news may travel long.
    visits: u32,
    until: Micros,
    /// When [`Visitor::tick`] wants to be called.
    pub wake_at: Option<Micros>,
}

/// How long it waits for an answer: after that the node is down, or stands still.
const PATIENCE: Micros = 3 * SEC;

/// What a visit acts on.
pub struct Surroundings<'a> {
    /// World time.
    pub now: Micros,
    /// The network.
    pub net: &'a mut Network,
    /// Rare ways that were taken.
    pub marks: &'a mut Marks,
    /// Violations seen.
    pub violations: &'a mut Vec<Violation>,
}

impl Visitor {
    /// A visitor at this host, until so many microseconds.
    pub fn new(host: Host, nodes: u16, rng: Rng, until: Micros) -> Visitor {
        Visitor {
            host,
            nodes,
            rng,
            node: 0,
            admin: None,
            guest: None,
            rules: Rules {
                writes: false,
                keys: 'a',
                hears: false,
            },
            step: Step::Away,
            visits: 0,
            until,
            wake_at: Some(SEC / 2),
        }
    }

    /// Its time has come: begins a visit, or ends one that leads nowhere.
    pub fn tick(&mut self, env: &mut Surroundings<'_>) {
        if self.step != Step::Away || env.now >= self.until {
            if self.step == Step::Expelled && env.now < self.until {
                self.check_expelled(env);
            }
            return self.leave(env);
        }
        self.visits += 1;
        self.node = self.rng.below(u64::from(self.nodes)) as u16;
        for line in [&mut self.admin, &mut self.guest] {
            *line = Some(Line {
                end: env.net.connect(env.now, self.host, self.node, CLIENT_PORT),
                connected: false,
                read: Vec::new(),
                wanted: 0,
                got: Vec::new(),
            });
        }
        self.draw_rules();
        self.grant(env, Trial::Enter);
    }

    /// News of a connection.
    pub fn on_notice(&mut self, env: &mut Surroundings<'_>, end: EndRef, notice: &Notice) {
        let is = |line: &Option<Line>| line.as_ref().is_some_and(|line| line.end == end);
        let who = match (is(&self.admin), is(&self.guest)) {
            (true, _) => Who::Admin,
            (_, true) => Who::Guest,
            _ => {
                if matches!(notice, Notice::Closed { .. }) {
                    env.net.close(env.now, end);
                }
                return;
            }
        };
        match notice {
            Notice::Connected => {
                let Some(line) = self.line(who) else { return };
                line.connected = true;
                let unsent = std::mem::take(&mut line.read);
                env.net.send(env.now, end, &unsent, 0);
            }
            Notice::Readable => self.read(env, who),
            Notice::Closed { .. } => {
                self.read(env, who);
                if self.step == Step::Expelled && who == Who::Guest {
                    env.marks.hit("acl.expelled");
                }
                self.leave(env);
            }
            Notice::Accepted { .. } | Notice::Writable => {}
        }
    }

    fn line(&mut self, who: Who) -> Option<&mut Line> {
        match who {
            Who::Admin => self.admin.as_mut(),
            Who::Guest => self.guest.as_mut(),
        }
    }

    /// Ends the visit; another follows.
    fn leave(&mut self, env: &mut Surroundings<'_>) {
        for line in [self.admin.take(), self.guest.take()].into_iter().flatten() {
            env.net.close(env.now, line.end);
        }
        self.step = Step::Away;
        let pause = self.rng.range(20 * MS, 400 * MS);
        self.wake_at = (env.now < self.until).then_some(env.now + pause);
    }

    fn draw_rules(&mut self) {
        self.rules = Rules {
            writes: self.rng.chance(700),
            keys: *self.rng.pick(&['a', 'b']),
            hears: self.rng.chance(500),
        };
    }

    fn grant(&mut self, env: &mut Surroundings<'_>, next: Trial) {
        self.step = Step::Granting(next);
        let Rules {
            writes,
            keys,
            hears,
        } = self.rules;
        let guest = self.guest_name();
        let mut words = vec!["ACL", "SETUSER", &guest, "reset", "on", "nopass", "+@all"];
        let (pattern, channel) = (format!("~{keys}:*"), format!("&{}", self.channel()));
        words.push(&pattern);
        if !writes {
            words.push("-set");
        }
        if hears {
            words.push(&channel);
        }
        self.send(env, Who::Admin, &[&words]);
    }

    /// Each visit has a guest of its own: a node that stood still may carry out an earlier administrator's requests
    /// after those of the one that is there now.
    fn guest_name(&self) -> String {
        format!("guest{}", self.visits)
    }

    fn channel(&self) -> String {
        format!("news:{}", self.visits)
    }

    /// Sends requests, of each of which one answer is awaited.
    fn send(&mut self, env: &mut Surroundings<'_>, who: Who, requests: &[&[&str]]) {
        self.wake_at = Some(env.now + PATIENCE);
        let mut bytes = Vec::new();
        for words in requests {
            resp::encode_request(&mut bytes, words);
        }
        let Some(line) = self.line(who) else { return };
        line.wanted = requests.len();
        line.got.clear();
        if line.connected {
            let end = line.end;
            env.net.send(env.now, end, &bytes, 0);
        } else {
            // Until it is open nothing is read: what is to be sent waits there.
            line.read = bytes;
        }
    }

    fn read(&mut self, env: &mut Surroundings<'_>, who: Who) {
        let Some(line) = self.line(who) else { return };
        if !line.connected {
            return;
        }
        let end = line.end;
        let bytes = env.net.readable(end).to_vec();
        env.net.consume(end, bytes.len());
        let Some(line) = self.line(who) else { return };
        line.read.extend_from_slice(&bytes);
        let mut unread = std::mem::take(&mut line.read);
        let mut at = 0;
        loop {
            match resp::parse(&unread[at..]) {
                Ok(None) => break,
                Ok(Some((reply, len))) => {
                    at += len;
                    self.on_reply(env, who, reply);
                }
                Err(resp::Malformed) => {
                    return self.complain(env, "P1", "what came is no reply".into());
                }
            }
        }
        unread.drain(..at);
        // (The visit may have ended meanwhile.)
        if let Some(line) = self.line(who).filter(|line| line.end == end) {
            line.read = unread;
        }
    }

    fn on_reply(&mut self, env: &mut Surroundings<'_>, who: Who, reply: Reply) {
        if let Reply::Array(parts) | Reply::Push(parts) = &reply
            && let [Reply::Bulk(kind), Reply::Bulk(channel), Reply::Bulk(text)] = &parts[..]
            && kind == b"message"
        {
            let (channel, text) = (channel.clone(), text.clone());
            return self.on_message(env, &channel, &text);
        }
        let Some(line) = self.line(who) else { return };
        line.got.push(reply);
        if line.got.len() < line.wanted {
            return;
        }
        if line.got.len() > line.wanted {
            let text = format!("{who:?} got one answer too many: {:?}", line.got);
            return self.complain(env, "P1", text);
        }
        line.wanted = 0;
        let got = std::mem::take(&mut line.got);
        self.go_on(env, got);
    }

    /// What was awaited is there.
    fn go_on(&mut self, env: &mut Surroundings<'_>, got: Vec<Reply>) {
        let last = got.last().cloned().unwrap_or(Reply::Nil);
        match self.step {
            Step::Away | Step::Expelled => {}
            Step::Granting(next) if last == Reply::ok() => match next {
                Trial::Enter => {
                    self.step = Step::Entering;
                    let guest = self.guest_name();
                    self.send(env, Who::Guest, &[&["AUTH", &guest, "any"]]);
                }
                Trial::Ask => self.ask(env),
                Trial::Execute { key } => {
                    self.step = Step::Executing { key };
                    self.send(env, Who::Guest, &[&["EXEC"]]);
                }
                Trial::Expel => {
                    // Nothing of this may arrive.
                    self.step = Step::Expelled;
                    let channel = self.channel();
                    self.send(env, Who::Admin, &[&["PUBLISH", &channel, "secret"]]);
                }
            },
            // (While it loads, say.)
            Step::Granting(_) => self.leave(env),
            Step::Entering if last == Reply::ok() => self.ask(env),
            Step::Entering => self.leave(env),
            Step::Asking { key, script } => {
                // (A script may not even have begun.)
                if !script {
                    self.judge(env, key, &last, "alone");
                } else if self.may(key) || last.error_code().is_none() {
                    self.judge(env, key, &last, "in a script");
                }
                self.regrant(env, Trial::Ask);
            }
            Step::Queueing { key } => {
                self.judge(env, key, &last, "queued");
                if last == Reply::Simple(b"QUEUED".to_vec()) {
                    return self.regrant(env, Trial::Execute { key });
                }
                self.leave(env);
            }
            Step::Executing { key } => {
                // (A refusal of the whole is about something else.)
                if let Reply::Array(replies) = &last
                    && let [reply] = &replies[..]
                {
                    self.judge(env, key, &reply.clone(), "in a transaction");
                    if !self.may(key) {
                        env.marks.hit("acl.refused-in-exec");
                    }
                }
                self.regrant(env, Trial::Ask);
            }
            Step::Subscribing => {
                let refused = last.error_code() == Some(b"NOPERM");
                if refused == self.rules.hears {
                    let text = format!("under {:?} SUBSCRIBE was answered {last:?}", self.rules);
                    return self.complain(env, "P2", text);
                }
                if refused {
                    return self.regrant(env, Trial::Ask);
                }
                let to_come = self.rng.range(1, 5) as u32;
                self.step = Step::Publishing { to_come, heard: 0 };
                self.publish(env, to_come);
            }
            Step::Publishing { .. } => {
                let missed = |reply: &&Reply| matches!(reply, Reply::Int(n) if *n != 1);
                if let Some(reply) = got.iter().find(missed) {
                    let text = format!("PUBLISH to one subscriber was answered {reply:?}");
                    return self.complain(env, "P1", text);
                }
                if got.iter().any(|reply| reply.error_code().is_some()) {
                    return self.leave(env);
                }
                self.heard_all(env);
            }
        }
    }

    fn publish(&mut self, env: &mut Surroundings<'_>, count: u32) {
        let channel = self.channel();
        let numbers: Vec<String> = (1..=count).map(|n| n.to_string()).collect();
        let requests: Vec<[&str; 3]> = numbers
            .iter()
            .map(|n| ["PUBLISH", &*channel, &**n])
            .collect();
        let requests: Vec<&[&str]> = requests.iter().map(|words| &words[..]).collect();
        self.send(env, Who::Admin, &requests);
    }

    fn on_message(&mut self, env: &mut Surroundings<'_>, channel: &[u8], text: &[u8]) {
        if let Step::Publishing { to_come, heard } = self.step
            && channel == self.channel().as_bytes()
            && text == (heard + 1).to_string().as_bytes()
        {
            self.step = Step::Publishing {
                to_come,
                heard: heard + 1,
            };
            return self.heard_all(env);
        }
        let text = format!(
            "at {:?} it heard {:?} in {:?}",
            self.step,
            String::from_utf8_lossy(text),
            String::from_utf8_lossy(channel)
        );
        self.complain(env, "P2", text);
    }

    /// If all was heard, and all answers are there, the right to hear goes.
    fn heard_all(&mut self, env: &mut Surroundings<'_>) {
        let answered = self.admin.as_ref().is_some_and(|line| line.wanted == 0);
        if let Step::Publishing { to_come, heard } = self.step
            && heard == to_come
            && answered
        {
            env.marks.hit("pubsub.heard");
            self.rules.hears = false;
            self.grant(env, Trial::Expel);
        }
    }

    /// A guest whose channel was taken from it is still there, though the node answers.
    fn check_expelled(&mut self, env: &mut Surroundings<'_>) {
        let answered = self.admin.as_ref().is_some_and(|line| line.wanted == 0);
        if answered && self.guest.is_some() {
            let text = "a subscriber stayed whose right to the channel was gone".into();
            self.complain(env, "P2", text);
        }
    }

    /// Other rules.
    fn regrant(&mut self, env: &mut Surroundings<'_>, next: Trial) {
        self.draw_rules();
        self.grant(env, next);
    }

    /// The guest tries something.
    fn ask(&mut self, env: &mut Surroundings<'_>) {
        let key = *self.rng.pick(&['a', 'b']);
        let name = format!("{key}:{}", self.rng.below(3));
        match self.rng.below(5) {
            0 => {
                self.step = Step::Subscribing;
                let channel = self.channel();
                self.send(env, Who::Guest, &[&["SUBSCRIBE", &channel]]);
            }
            1 => {
                self.step = Step::Asking { key, script: true };
                let script = "return redis.call('SET', ARGV[1], 'v')";
                self.send(env, Who::Guest, &[&["EVAL", script, "0", &name]]);
            }
            2 | 3 => {
                self.step = Step::Queueing { key };
                self.send(env, Who::Guest, &[&["MULTI"], &["SET", &name, "v"]]);
            }
            _ => {
                self.step = Step::Asking { key, script: false };
                self.send(env, Who::Guest, &[&["SET", &name, "v"]]);
            }
        }
    }

    fn may(&self, key: char) -> bool {
        self.rules.writes && self.rules.keys == key
    }

    /// Whether an answer is right under the rules. (What is allowed may be refused for other reasons.)
    fn judge(&mut self, env: &mut Surroundings<'_>, key: char, reply: &Reply, way: &str) {
        let refused = match reply {
            Reply::Error(text) => {
                let text = String::from_utf8_lossy(text);
                text.starts_with("NOPERM")
                    || text.contains("The user executing the script can't")
                    || text.contains("No permissions to access")
            }
            _ => false,
        };
        if refused {
            env.marks.hit("acl.refused");
        }
        if refused == self.may(key) {
            let text = format!(
                "under {:?} a SET of a key with '{key}' {way} was answered {reply:?}",
                self.rules
            );
            self.complain(env, "P2", text);
        }
    }

    fn complain(&mut self, env: &mut Surroundings<'_>, invariant: &'static str, text: String) {
        let text = format!("the visitor of node {}: {text}", self.node);
        env.violations
            .push(Violation::safety(invariant, env.now, text));
    }
}
