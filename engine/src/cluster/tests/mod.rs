mod disk;
mod durability;
mod failover;
mod faults;
mod known;
mod ledger;
mod membership;
mod settings;
mod slots;
mod texts;
mod world;

use super::*;
