//! What INFO and ROLE say of replication.

use super::primary::{Link, LinkState, lag_s};
use super::{CRON_US, Replication};
use crate::Now;
use crate::journal::Journal;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{self, Write};

/// The reply of ROLE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// `master`, our offset, the replicas that are online.
    Primary {
        /// The end of our history.
        offset: u64,
        /// Who follows.
        replicas: Vec<ReplicaRole>,
    },
    /// `slave`, its primary, the state of the link, our offset.
    Replica {
        /// The primary's host.
        host: String,
        /// The primary's port.
        port: u16,
        /// `connect`, `connecting`, `handshake`, `sync` or `connected`.
        state: &'static str,
        /// What was applied; -1 while the link is not up.
        offset: i64,
    },
}

/// A replica in the reply of ROLE: three bulk strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaRole {
    /// Its address.
    pub ip: String,
    /// The port that it listens on.
    pub port: i64,
    /// What it acknowledged.
    pub offset: u64,
}

impl LinkState {
    /// The state's name in INFO; none for a link that is as good as gone.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            LinkState::WaitStart | LinkState::WaitEnd => Some("wait_bgsave"),
            LinkState::SendBulk => Some("send_bulk"),
            LinkState::Online => Some("online"),
            LinkState::Closing => None,
        }
    }
}

impl Replication {
    /// What ROLE replies.
    pub fn role(&self, journal: &Journal) -> Role {
        if let Some(following) = &self.following {
            let (host, port) = following.primary();
            return Role::Replica {
                host: host.to_string(),
                port,
                state: following.role_state(),
                offset: match following.is_connected() {
                    true => journal.end() as i64,
                    false => -1,
                },
            };
        }
        let online = |link: &&Link| link.state == LinkState::Online;
        Role::Primary {
            offset: journal.end(),
            replicas: self
                .serving
                .links
                .iter()
                .filter(online)
                .map(|link| ReplicaRole {
                    ip: link.ip().to_string(),
                    port: link.announced.port,
                    offset: link.ack_offset,
                })
                .collect(),
        }
    }

    /// Writes the lines of INFO's Replication section, after its title.
    pub fn write_info(&self, now: Now, journal: &Journal, out: &mut String) {
        // Writing to a string cannot fail.
        let _ = self.info(now, journal, out);
    }

    fn info(&self, now: Now, journal: &Journal, out: &mut String) -> fmt::Result {
        let role = if self.following() { "slave" } else { "master" };
        write!(out, "role:{role}\r\n")?;
        self.info_primary(now, journal, out)?;
        self.info_replicas(now, out)?;
        let backlog = self.serving.backlog_start(&self.settings, journal);
        let length = backlog.map_or(0, |start| journal.end() - start);
        // Redis counts bytes from one.
        let first = backlog.map_or(0, |start| start + 1);
        write!(
            out,
            "master_failover_state:{}\r\n\
             master_replid:{}\r\n\
             master_replid2:{}\r\n\
             master_repl_offset:{}\r\n\
             second_repl_offset:{}\r\n\
             repl_backlog_active:{}\r\n\
             repl_backlog_size:{}\r\n\
             repl_backlog_first_byte_offset:{first}\r\n\
             repl_backlog_histlen:{length}\r\n",
            self.failover_state(),
            self.ids.current(),
            self.ids.previous(),
            journal.end(),
            self.ids.second_offset(),
            u8::from(backlog.is_some()),
            self.settings.backlog_bytes,
        )
    }

    /// A replica's lines about its primary.
    fn info_primary(&self, now: Now, journal: &Journal, out: &mut String) -> fmt::Result {
        let Some(following) = &self.following else {
            return Ok(());
        };
        let (host, port) = following.primary();
        let up = following.is_connected();
        // As Redis has it: a replica that never had a history shows 1.
        let applied = match following.stream_db() {
            Some(_) => journal.end(),
            None => 1,
        };
        let last_io = match up {
            true => following.last_io_s(now) as i64,
            false => -1,
        };
        let transfer = following.transfer();
        write!(
            out,
            "master_host:{host}\r\n\
             master_port:{port}\r\n\
             master_link_status:{}\r\n\
             master_last_io_seconds_ago:{last_io}\r\n\
             master_sync_in_progress:{}\r\n\
             slave_read_repl_offset:{}\r\n\
             slave_repl_offset:{applied}\r\n",
            if up { "up" } else { "down" },
            u8::from(transfer.is_some()),
            applied + if up { following.unapplied() } else { 0 },
        )?;
        if let Some((total, read)) = transfer {
            let left = total - read as i64;
            let percent = match total {
                0 => 0.0,
                total => read as f64 / total as f64 * 100.0,
            };
            write!(
                out,
                "master_sync_total_bytes:{total}\r\n\
                 master_sync_read_bytes:{read}\r\n\
                 master_sync_left_bytes:{left}\r\n\
                 master_sync_perc:{percent:.2}\r\n\
                 master_sync_last_io_seconds_ago:{}\r\n",
                following.last_io_s(now)
            )?;
        }
        if !up {
            let since = following.down_since();
            let down = since.map_or(-1, |since| lag_s(now, since) as i64);
            write!(out, "master_link_down_since_seconds:{down}\r\n")?;
        }
        write!(
            out,
            "slave_priority:{}\r\n\
             slave_read_only:{}\r\n\
             replica_announced:{}\r\n",
            self.settings.replica_priority,
            u8::from(self.settings.replica_read_only),
            u8::from(self.settings.replica_announced),
        )
    }

    fn info_replicas(&self, now: Now, out: &mut String) -> fmt::Result {
        write!(out, "connected_slaves:{}\r\n", self.replica_count())?;
        let settings = &self.settings;
        if settings.min_replicas_to_write > 0 && settings.min_replicas_max_lag_s > 0 {
            let good = self.good_replicas(now);
            write!(out, "min_slaves_good_slaves:{good}\r\n")?;
        }
        let shown = self
            .serving
            .links
            .iter()
            .filter_map(|link| Some((link, link.state.name()?)));
        for (n, (link, state)) in shown.enumerate() {
            let lag = match link.state {
                LinkState::Online => now.mono_us.saturating_sub(link.ack_us) / CRON_US,
                _ => 0,
            };
            write!(
                out,
                "slave{n}:ip={},port={},state={state},offset={},lag={lag}\r\n",
                link.ip(),
                link.announced.port,
                link.ack_offset
            )?;
        }
        Ok(())
    }
}
