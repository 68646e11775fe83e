//! AOF and snapshot files and loading, all as requests to and answers from a disk.
