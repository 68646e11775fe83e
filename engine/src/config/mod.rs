//! Every directive once, in one table: name, type, default, bounds, whether CONFIG SET may change it.
