//! Stands in for the engine until it lands: answers `+OK` to every request.
use reprise_engine::config::Config;
use reprise_engine::{ConnId, Effect, Input, LogLevel, Now};
use std::collections::{BTreeMap, VecDeque};

pub struct Engine {
    config: Config,
    effects: VecDeque<Effect>,
    out: BTreeMap<ConnId, Vec<u8>>,
    dirty: VecDeque<ConnId>,
    due: u64,
}

pub struct Turn<'a> {
    engine: &'a mut Engine,
    reads: Vec<(ConnId, usize)>,
}

impl Turn<'_> {
    pub fn step(&mut self, _: Now) -> bool {
        let Some(last) = self.reads.last_mut() else {
            return false;
        };
        if last.1 == 0 {
            self.reads.pop();
            return self.step(Now::default());
        }
        last.1 -= 1;
        let id = last.0;
        let out = self.engine.out.entry(id).or_default();
        if out.is_empty() {
            self.engine.dirty.push_back(id);
        }
        out.extend(b"+OK\r\n");
        true
    }
}

impl Engine {
    pub fn new(config: Config, _: [u8; 32], now: Now) -> Engine {
        let mut effects = VecDeque::new();
        effects.push_back(Effect::Log {
            level: LogLevel::Notice,
            text: "Ready to accept connections".into(),
        });
        Engine {
            config,
            effects,
            out: BTreeMap::new(),
            dirty: VecDeque::new(),
            due: now.mono_us + 100_000,
        }
    }
    pub fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Tick => self.due = now.mono_us + 100_000,
            Input::Shutdown { signal } => {
                let text = format!("Received {signal} scheduling shutdown...");
                self.effects.push_back(Effect::Log {
                    level: LogLevel::Warning,
                    text,
                });
                self.effects.push_back(Effect::Exit { code: 0 });
            }
            Input::Closed { conn, .. } => drop(self.out.remove(&conn)),
            _ => {}
        }
    }
    pub fn receive<'a>(&'a mut self, reads: &[(ConnId, &[u8])]) -> Turn<'a> {
        let count = |bytes: &[u8]| bytes.iter().filter(|&&b| b == b'*').count().max(1);
        let reads = reads
            .iter()
            .map(|(id, bytes)| (*id, count(bytes)))
            .collect();
        Turn {
            engine: self,
            reads,
        }
    }
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }
    pub fn poll_output(&mut self) -> Option<ConnId> {
        self.dirty.pop_front()
    }
    pub fn output(&self, conn: ConnId) -> impl Iterator<Item = &[u8]> {
        self.out.get(&conn).map(|v| &v[..]).into_iter()
    }
    pub fn sent(&mut self, conn: ConnId, n: usize) {
        if let Some(out) = self.out.get_mut(&conn) {
            out.drain(..n);
        }
    }
    pub fn deadline(&self) -> Option<u64> {
        Some(self.due)
    }
    pub fn config(&self) -> &Config {
        &self.config
    }
}
