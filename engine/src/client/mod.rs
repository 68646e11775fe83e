//! Sessions: what the engine knows of each connection, and its output.
