//! Both sides of replication: serving replicas, following a primary.
