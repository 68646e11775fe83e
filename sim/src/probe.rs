//! What the checkers want to know of a node from the inside. [`Node`](crate::node::Node) asks the engine for it; a
//! checker never acts on an engine.

pub use reprise_engine::probe::{ClusterProbe, DumpedKey, Standing};
