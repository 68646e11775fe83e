//! The handshake with a primary: its replies, one line each, and what follows from them.

use super::{Following, State, Step};
use crate::ConnId;
use crate::replication::id::ReplId;
use crate::replication::primary::Serving;
use crate::replication::{Action, Cx, MAX_OFFSET};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use bytes::Bytes;

impl Following {
    pub(super) fn handle_reply(&mut self, cx: &mut Cx<'_>, step: Step, line: &[u8]) {
        let text = || String::from_utf8_lossy(line);
        let error = line.first() == Some(&b'-');
        match step {
            Step::Ping if !is_pong(line) => {
                let line = format!("Error reply to PING from master: '{}'", text());
                return self.give_up(cx, line);
            }
            Step::Ping => {
                cx.out
                    .notice("Master replied to PING, replication can continue...");
                return self.introduce(cx);
            }
            Step::Auth if error => {
                let line = format!("Unable to AUTH to MASTER: {}", text());
                return self.give_up(cx, line);
            }
            Step::Port | Step::Ip | Step::Capa if error => {
                let option = match step {
                    Step::Port => "listening-port",
                    Step::Ip => "ip-address",
                    _ => "capa",
                };
                cx.out.notice(format!(
                    "(Non critical) Master does not understand REPLCONF {option}: {}",
                    text()
                ));
            }
            _ => {}
        }
        if matches!(&self.state, State::Handshake(steps) if steps.is_empty()) {
            self.ask_for_synchronization(cx);
        }
    }

    /// Everything that needs no answer to go on, at once.
    fn introduce(&mut self, cx: &mut Cx<'_>) {
        let settings = cx.settings;
        let mut steps = VecDeque::new();
        if let Some(password) = &settings.primary_auth {
            match &settings.primary_user {
                Some(user) => self.send(cx, &[b"AUTH", user, password]),
                None => self.send(cx, &[b"AUTH", password]),
            }
            steps.push_back(Step::Auth);
        }
        let port = settings.listening_port.to_string();
        self.send(cx, &[b"REPLCONF", b"listening-port", port.as_bytes()]);
        steps.push_back(Step::Port);
        if let Some(ip) = &settings.announce_ip {
            self.send(cx, &[b"REPLCONF", b"ip-address", ip.as_bytes()]);
            steps.push_back(Step::Ip);
        }
        self.send(cx, &[b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"]);
        steps.push_back(Step::Capa);
        self.state = State::Handshake(steps);
    }

    fn ask_for_synchronization(&mut self, cx: &mut Cx<'_>) {
        if self.resume.is_some() {
            let (replid, offset) = (cx.ids.current(), (cx.journal.end() + 1).to_string());
            cx.out.notice(format!(
                "Trying a partial resynchronization (request {replid}:{offset})."
            ));
            let (replid, offset) = (replid.as_str().as_bytes(), offset.as_bytes());
            if self.hands_over {
                self.send(cx, &[b"PSYNC", replid, offset, b"FAILOVER"]);
            } else {
                self.send(cx, &[b"PSYNC", replid, offset]);
            }
        } else {
            cx.out
                .notice("Partial resynchronization not possible (no cached master)");
            self.send(cx, &[b"PSYNC", b"?", b"-1"]);
        }
        self.state = State::Handshake([Step::Psync].into());
    }

    pub(super) fn handle_psync_reply(
        &mut self,
        cx: &mut Cx<'_>,
        serving: &mut Serving,
        line: &[u8],
    ) {
        let text = String::from_utf8_lossy(line);
        if core::mem::take(&mut self.hands_over) {
            let accepted = line.starts_with(b"+FULLRESYNC") || line.starts_with(b"+CONTINUE");
            self.taken_over = Some(accepted);
            if !accepted {
                return self.give_up(cx, format!("Reply to PSYNC FAILOVER: {text}"));
            }
        }
        if line.starts_with(b"+FULLRESYNC") {
            self.accept_full(cx, line);
        } else if line.starts_with(b"+CONTINUE") {
            self.accept_partial(cx, serving, line);
        } else if line.starts_with(b"-NOMASTERLINK") || line.starts_with(b"-LOADING") {
            cx.out.notice(format!(
                "Master is currently unable to PSYNC but should be in the future: {text}"
            ));
            self.cut(cx);
        } else {
            if line.starts_with(b"-ERR") {
                cx.out.notice(format!(
                    "Master does not support PSYNC or is in error state (reply: {text})"
                ));
            } else {
                cx.out
                    .warning(format!("Unexpected reply to PSYNC from master: {text}"));
            }
            cx.out.notice("Retrying with SYNC...");
            if let Some(conn) = self.link {
                let bytes = Bytes::from_static(b"SYNC\r\n");
                cx.out.push(Action::Send { conn, bytes });
            }
            self.state = State::AwaitPayload(None);
        }
    }

    fn accept_full(&mut self, cx: &mut Cx<'_>, line: &[u8]) {
        let mut words = line.split(|byte| *byte == b' ').skip(1);
        let replid = words.next().and_then(ReplId::parse);
        let offset = words
            .next()
            .and_then(|word| core::str::from_utf8(word).ok());
        let offset = offset.and_then(|text| text.parse::<u64>().ok());
        let origin = replid.zip(offset.filter(|offset| *offset <= MAX_OFFSET));
        match origin {
            Some((replid, offset)) => cx
                .out
                .notice(format!("Full resync from master: {replid}:{offset}")),
            None => cx
                .out
                .warning("Master replied with wrong +FULLRESYNC syntax."),
        }
        self.state = State::AwaitPayload(origin);
    }

    fn accept_partial(&mut self, cx: &mut Cx<'_>, serving: &mut Serving, line: &[u8]) {
        let (Some(db), Some(conn)) = (self.resume, self.link) else {
            // We asked for everything: what would this continue?
            let line = String::from_utf8_lossy(line);
            let line = format!("Unexpected reply to PSYNC from master: {line}");
            return self.give_up(cx, line);
        };
        cx.out
            .notice("Successful partial resynchronization with master.");
        if let Some(id) = line.get(10..).and_then(ReplId::parse)
            && id != cx.ids.current()
        {
            cx.out
                .warning(format!("Master replication ID changed to {id}"));
            cx.ids.continue_as(id, cx.journal.end());
            // Our replicas must learn of it too, or they would ask the next primary by a dead name.
            serving.disconnect_all(cx);
        }
        self.resume = None;
        self.offset = cx.journal.end();
        serving.create_backlog(self.offset);
        self.go_online(cx, conn, db, false);
        cx.out
            .notice("MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.");
    }

    pub(super) fn go_online(&mut self, cx: &mut Cx<'_>, conn: ConnId, db: u32, pre_psync: bool) {
        self.state = State::Connected { db, pre_psync };
        self.synced = true;
        self.down_since_us = None;
        cx.out.push(Action::StreamBegin { conn, db });
        for bytes in &self.unapplied {
            cx.out.push(Action::Stream(bytes.clone()));
        }
    }
}

/// Whether a reply to PING lets us go on: any status, or the wish for a password.
fn is_pong(line: &[u8]) -> bool {
    let accepted: [&[u8]; 4] = [
        b"+",
        b"-NOAUTH",
        b"-NOPERM",
        b"-ERR operation not permitted",
    ];
    accepted.iter().any(|start| line.starts_with(start))
}
