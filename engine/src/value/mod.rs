//! The data structures, each alone: no module here knows of keys, commands or clients.
