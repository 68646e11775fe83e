//! What DEBUG breaks mends, or is found out.

use super::world::{TIMEOUT, World};
use super::*;

#[test]
fn a_connection_that_is_cut_is_opened_again() {
    let mut world = World::new(3, 40);
    world.create(3);
    let peer = world.id(1);
    let before = world.c(0).connections();
    for (which, cut) in [
        (Direction::To, 1),
        (Direction::From, 1),
        (Direction::All, 2),
    ] {
        assert!(world.order(0, |c, now| c.cut(now, &peer, which)));
        assert_eq!(world.c(0).connections(), before - cut, "{which:?}");
        world.until(TIMEOUT, "connections", |w| w.c(0).connections() == before);
        // (Whose it is, the first packet says.)
        world.run(TIMEOUT);
    }
    assert!(world.settled());
    let myself = world.id(0);
    let conns = world.c(0).connections();
    assert!(world.order(0, |c, now| c.cut(now, &myself, Direction::All)));
    assert_eq!(world.c(0).connections(), conns);
}

#[test]
fn packets_of_one_kind_are_not_heard_until_all_are_again() {
    const PONG: i64 = 1;
    const DROPPED: &str = "Packet that matches debug drop filter";
    let mut world = World::new(3, 41);
    world.create(3);
    let before = world.c(0).connections();
    assert!(!world.logged(0, DROPPED));
    world.order(0, |c, _| {
        c.set_deaf_to(PONG);
        c.set_cuts(true);
    });
    world.until(TIMEOUT, "a cut", |w| w.c(0).connections() < before);
    assert!(world.logged(0, DROPPED));
    world.order(0, |c, _| c.set_deaf_to(-1));
    world.run(TIMEOUT * 3);
    assert!(world.settled() && world.c(0).connections() == before);
}
