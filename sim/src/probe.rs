//! What the checkers want to know of a node from the inside. [`Node`](crate::node::Node) fills it from the engine; a
//! checker never acts on an engine.

/// Where a node stands, taken after every wake-up: cheap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Still reading its files, or taking a full copy from its primary: its data means nothing yet.
    pub loading: bool,
    /// It is a primary.
    pub primary: bool,
    /// The replication id of its data.
    pub replid: [u8; 40],
    /// The replication offset of its data: what it executed or applied, not what it received.
    pub offset: u64,
    /// The id that its data had before, and the offset up to which both are one history.
    pub previous: Option<([u8; 40], u64)>,
    /// As a replica: the stream of its primary is being applied.
    pub link_up: bool,
    /// As a primary: what it executes moves its offset, because somebody reads the journal.
    pub journalling: bool,
    /// How often it replaced all its data by another's, since it started.
    pub full_syncs: u64,
}

impl Default for Standing {
    fn default() -> Self {
        Standing {
            loading: true,
            primary: true,
            replid: [b'0'; 40],
            offset: 0,
            previous: None,
            link_up: false,
            journalling: false,
            full_syncs: 0,
        }
    }
}

pub use reprise_engine::probe::DumpedKey;

/// A cluster node's view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterProbe {
    /// Its name.
    pub my_id: String,
    /// The newest epoch that it has heard of.
    pub current_epoch: u64,
    /// Its own, or its primary's, config epoch.
    pub config_epoch: u64,
    /// The epoch of its last vote.
    pub last_vote_epoch: u64,
    /// Whether it serves.
    pub state_ok: bool,
    /// Whether it is a primary.
    pub primary: bool,
    /// Runs of slots with their owner, ascending.
    pub slots: Vec<(u16, u16, String)>,
}
