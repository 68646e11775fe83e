//! Databases: the hash table, entries, expiry, eviction, memory accounting.
