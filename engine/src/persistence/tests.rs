//! Persistence against a disk that loses, tears and fails, at every operation.

mod crash;
pub(crate) mod disk;
mod files;
mod lock;
mod rot;
mod saves;
mod world;
