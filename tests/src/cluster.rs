//! Clusters of servers under test.
