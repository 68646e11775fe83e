//! The snapshot format: the only module that knows it.
