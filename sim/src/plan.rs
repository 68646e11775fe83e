//! A plan: everything that makes one world, as plain data. A seed draws it; the shrinker cuts it down.

use crate::client::ClientSettings;
use crate::disk::DiskSettings;
use crate::faults::Fault;
use crate::network::NetSettings;
use crate::node::Program;
use crate::time::Micros;
use crate::workload::Planned;
use reprise_engine::planted::Bug;

/// Kinds of worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One server, `appendfsync always`.
    Always,
    /// One server, `appendfsync everysec`.
    EverySec,
    /// One server, `appendfsync no`.
    NoSync,
    /// One server, snapshots only.
    Snapshots,
    /// A primary and its replicas.
    Replicated,
    /// Three primaries, three replicas.
    Cluster,
    /// One toy: the simulator's own test.
    Toy,
}

impl Kind {
    /// All, in order.
    pub const ALL: [Kind; 7] = [
        Kind::Always,
        Kind::EverySec,
        Kind::NoSync,
        Kind::Snapshots,
        Kind::Replicated,
        Kind::Cluster,
        Kind::Toy,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Always => "always",
            Kind::EverySec => "everysec",
            Kind::NoSync => "nosync",
            Kind::Snapshots => "snapshots",
            Kind::Replicated => "replicated",
            Kind::Cluster => "cluster",
            Kind::Toy => "toy",
        }
    }

    /// The kind of a name.
    pub fn of_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What a crash of a lone server may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Nothing that was answered.
    All,
    /// Anything.
    Nothing,
    /// What was answered in the last two seconds, plus what the disk was late.
    TwoSeconds,
}

/// One client.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientPlan {
    /// How it behaves.
    pub settings: ClientSettings,
    /// What it does.
    pub ops: Vec<Planned>,
}

/// A whole world.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The root of all streams of chance.
    pub seed: u64,
    /// What kind of world.
    pub kind: Kind,
    /// What each node runs.
    pub programs: Vec<Program>,
    /// Files on each node's disk at the start.
    pub files: Vec<Vec<(&'static str, String)>>,
    /// Each node's clock: skew in microseconds, drift in parts per million.
    pub clocks: Vec<(i64, i64)>,
    /// What a crash may take.
    pub promise: Promise,
    /// The network.
    pub net: NetSettings,
    /// The disks.
    pub disk: DiskSettings,
    /// The clients.
    pub clients: Vec<ClientPlan>,
    /// Whether somebody comes to try permissions and channels: see [`crate::visitor`].
    pub visited: bool,
    /// Whether somebody debugs scripts: see [`crate::rehearser`].
    pub rehearsed: bool,
    /// Groups of keys.
    pub groups: u16,
    /// What goes wrong, and when.
    pub faults: Vec<(Micros, Fault)>,
    /// When all faults end.
    pub chaos_until: Micros,
    /// How long the world may take after that until everything answers.
    pub recovery_us: u64,
    /// A bug planted in the engines, to see whether it is found.
    pub planted: Option<Bug>,
    /// How far clocks may make expiry early or late; `u64::MAX` if without bounds.
    pub clock_slack_us: u64,
}

impl Plan {
    /// One line that says what this world is like.
    pub fn summary(&self) -> String {
        let ops: usize = self.clients.iter().map(|client| client.ops.len()).sum();
        format!(
            "seed {} kind {} nodes {} clients {} ops {ops} groups {} faults {} chaos until {:.1} s",
            self.seed,
            self.kind.name(),
            self.programs.len(),
            self.clients.len(),
            self.groups,
            self.faults.len(),
            self.chaos_until as f64 / 1e6,
        )
    }

    /// The command that runs this seed again.
    pub fn replay(&self) -> String {
        format!(
            "cargo run -p reprise-sim -- --kind {} --seed {} --verbose",
            self.kind.name(),
            self.seed
        )
    }

    /// Everything that was drawn, for the record at the head of a story.
    pub fn describe(&self) -> String {
        let mut text = format!(
            "{}\n  net {:?}\n  disk {:?}\n  clocks {:?}\n",
            self.summary(),
            self.net,
            self.disk,
            self.clocks
        );
        for (index, program) in self.programs.iter().enumerate() {
            text.push_str(&format!("  node {index}: {program:?}\n"));
        }
        for (index, client) in self.clients.iter().enumerate() {
            text.push_str(&format!("  client {index}: {:?}\n", client.settings));
        }
        for (at, fault) in &self.faults {
            text.push_str(&format!(
                "  fault at {:.6} s: {fault:?}\n",
                *at as f64 / 1e6
            ));
        }
        text
    }
}
