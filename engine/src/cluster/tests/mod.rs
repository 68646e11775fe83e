mod durability;
mod failover;
mod membership;
mod slots;
mod texts;
mod world;

use super::*;
