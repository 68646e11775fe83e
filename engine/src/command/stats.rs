//! Counters for INFO.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use super::latency::Histogram;
use crate::face::TurnReport;

/// Error codes that are counted apart; a script could make up any number of them.
const MOST_ERROR_CODES: usize = 128;

/// An error whose first word is longer has no code, and counts as `ERR`.
const LONGEST_CODE: usize = 30;

/// The counters of one command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandStats {
    /// Times that it was carried out.
    pub calls: u64,
    /// Time that it took, in microseconds.
    pub micros: u64,
    /// Nanoseconds besides, of shares of a step's time: less than a microsecond.
    pub nanos: u16,
    /// Of the calls, those by scripts whose time is guessed, and the microseconds that it was guessed at.
    pub guessed_calls: u64,
    /// See `guessed_calls`.
    pub guessed_micros: u64,
    /// How its times are distributed, if it ever ran under `latency-tracking`.
    pub times: Option<Histogram>,
    /// Times that a gate refused it.
    pub rejected: u64,
    /// Times that it replied an error.
    pub failed: u64,
}

/// What the server counted since it started, or since CONFIG RESETSTAT.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// By number of the command in the table's index.
    pub commands: Vec<CommandStats>,
    /// Error replies by their code.
    pub errors: BTreeMap<Vec<u8>, u64>,
    /// All error replies.
    pub error_replies: u64,
    /// Commands carried out.
    pub processed: u64,
    /// The longest turn of the event loop, in microseconds of its thread's CPU time.
    pub longest_turn_cpu_us: u64,
    /// Turns of the event loop.
    pub turns: TurnReport,
    /// The most commands that one of them carried out.
    pub most_commands: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Connections refused for `maxclients`.
    pub rejected_connections: u64,
    /// Keys that expired.
    pub expired: u64,
    /// Fields of hashes that expired.
    pub expired_fields: u64,
    /// Keys that were evicted.
    pub evicted: u64,
    /// Lookups for reading that found their key.
    pub hits: u64,
    /// Lookups for reading that did not.
    pub misses: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Bytes from the primary.
    pub replication_in: u64,
    /// Bytes to replicas.
    pub replication_out: u64,
    /// Most bytes of data at any time.
    pub peak_bytes: u64,
    /// Turns with reads, and with writes.
    pub reads: u64,
    /// Batches of output taken by the network.
    pub writes: u64,
    /// Rejected authentications.
    pub auth_failures: u64,
    /// Commands refused for what they are.
    pub denied_commands: u64,
    /// Commands refused for a key.
    pub denied_keys: u64,
    /// Commands refused for a channel.
    pub denied_channels: u64,
    /// Connections closed for their query buffer.
    pub query_buffer_kills: u64,
    /// Connections closed for `maxmemory-clients`.
    pub evicted_clients: u64,
    /// Connections closed for their output buffer.
    pub output_buffer_kills: u64,
    /// Rate meters for commands, bytes from and to clients, bytes from our primary and to our replicas.
    pub rates: [Rate; 5],
    /// Rate meters for turns, and for microseconds a turn.
    pub turn_rate: Rate,
    /// See `turn_rate`.
    pub turn_time: Rate,
}

/// A rate over the last sixteen samples of about 100 ms, as `instantaneous_…` shows it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    samples: [u64; 16],
    at: usize,
    last: Option<(u64, u64)>,
}

impl Rate {
    /// The counter stood at `count` at `now_us`.
    pub fn sample(&mut self, now_us: u64, count: u64) {
        if let Some((then_us, before)) = self.last {
            let span = now_us.saturating_sub(then_us).max(1);
            self.samples[self.at] = count.saturating_sub(before).saturating_mul(1_000_000) / span;
            self.at = (self.at + 1) % self.samples.len();
        }
        self.last = Some((now_us, count));
    }

    /// The mean, in units a second.
    pub fn mean(&self) -> u64 {
        self.samples.iter().sum::<u64>() / self.samples.len() as u64
    }
}

impl Stats {
    /// Counters for so many commands.
    pub fn new(commands: usize) -> Stats {
        Stats {
            commands: vec![CommandStats::default(); commands],
            ..Stats::default()
        }
    }

    /// Counts an error reply by its code, the first word.
    pub fn error(&mut self, text: impl AsRef<[u8]>) {
        self.error_replies += 1;
        let text = text.as_ref();
        let end = text.iter().take(LONGEST_CODE + 1).position(|&b| b == b' ');
        let code = end.map_or(&b"ERR"[..], |end| &text[..end]);
        if let Some(n) = self.errors.get_mut(code) {
            *n += 1;
        } else if self.errors.len() < MOST_ERROR_CODES {
            self.errors.insert(code.to_vec(), 1);
        }
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&mut self) {
        *self = Stats::new(self.commands.len());
    }
}
