//! The cluster bus, membership, failure detection, elections and slots.
