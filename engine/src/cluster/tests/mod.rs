mod durability;
mod failover;
mod faults;
mod known;
mod membership;
mod settings;
mod slots;
mod texts;
mod world;

use super::*;
