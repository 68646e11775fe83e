//! The commands on data against answers recorded from Redis, and what no recording can hold.

use super::testing::*;

#[test]
fn replies_and_effects_are_those_of_redis() {
    compare(include_str!("golden/data.txt"));
}
