//! What the black-box tests share: servers to start and kill, a client that sees every byte, and the
//! comparison with a real Redis.
//!
//! The *subject* is the server under test: `reprise-server`, built by cargo when it is first needed,
//! or whatever `REPRISE_SERVER` names. The *oracle* is a Redis 7.0: `redis-server` on the path, or
//! what `REDIS_SERVER` names. All tests must pass with the oracle in the subject's place
//! (`REPRISE_SERVER=/usr/bin/redis-server cargo test -p reprise-tests`): that tests the tests.
//!
//! Tests that need the oracle return at once where there is none, except in CI, where that fails.

pub mod cluster;
pub mod compare;
pub mod conn;
pub mod content;
pub mod files;
pub mod proxy;
pub mod resp;
pub mod server;
pub mod tls;
pub mod wait;
pub mod zoo;

pub use conn::Conn;
pub use resp::Value;
pub use server::{Server, oracle, subject};
pub use wait::eventually;
