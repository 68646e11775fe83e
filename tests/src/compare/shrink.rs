//! From a script that shows a difference to the shortest one that was found to.

use super::Difference;
use super::run::Pair;
use super::script::{Script, Step};

/// Removes steps, then arguments, as long as some difference remains.
pub fn shrink(pair: &Pair, script: Script, difference: Difference) -> (Script, Difference) {
    let mut best = (script, difference);
    cut(&mut best);
    if pair.run(&best.0).is_none() {
        return best; // it does not repeat: time or chance had a part in it, and the long script tells more
    }
    // ddmin: ever smaller pieces of the script are left out.
    let mut piece = best.0.steps.len().div_ceil(2);
    loop {
        let mut at = 0;
        while at < best.0.steps.len() {
            let mut shorter = best.0.clone();
            shorter
                .steps
                .drain(at..(at + piece).min(best.0.steps.len()));
            if !accept(pair, &mut best, shorter) {
                at += piece;
            }
        }
        if piece == 1 {
            break;
        }
        piece = piece.div_ceil(2);
    }
    arguments(pair, &mut best);
    let mut plain = best.0.clone();
    plain.protocol = 2;
    accept(pair, &mut best, plain);
    best
}

/// Nothing after the difference matters.
fn cut(best: &mut (Script, Difference)) {
    best.0.steps.truncate(best.1.step + 1);
}

fn accept(pair: &Pair, best: &mut (Script, Difference), shorter: Script) -> bool {
    match pair.run(&shorter) {
        Some(difference) => {
            *best = (shorter, difference);
            cut(best);
            true
        }
        None => false,
    }
}

/// Leaves out single arguments and shortens long ones.
fn arguments(pair: &Pair, best: &mut (Script, Difference)) {
    let mut at = 0;
    while at < best.0.steps.len() {
        let mut arg = 1;
        while let Some(Step::Command { args, .. }) = best.0.steps.get(at).filter(|_| arg < 64) {
            if arg >= args.len() {
                break;
            }
            let (mut without, mut short) = (best.0.clone(), best.0.clone());
            edit(&mut without, at, |args| drop(args.remove(arg)));
            if accept(pair, best, without) {
                continue;
            }
            if args_at(&short, at, arg) > 8 {
                edit(&mut short, at, |args| args[arg].truncate(4));
                accept(pair, best, short);
            }
            arg += 1;
        }
        at += 1;
    }
}

fn edit(script: &mut Script, at: usize, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    if let Some(Step::Command { args, .. }) = script.steps.get_mut(at) {
        change(args);
    }
}

fn args_at(script: &Script, at: usize, arg: usize) -> usize {
    match script.steps.get(at) {
        Some(Step::Command { args, .. }) => args.get(arg).map_or(0, Vec::len),
        _ => 0,
    }
}
