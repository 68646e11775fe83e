mod durability;
mod failover;
mod faults;
mod membership;
mod slots;
mod texts;
mod world;

use super::*;
