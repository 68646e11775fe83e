//! Where a panic happened, without a print: a panicking engine is a finding, not a crash of the simulator.

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Installs the hook, once, for threads named `world` or begun by [`quietly`].
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let place = info.location().map_or(String::new(), |at| {
                format!("at {}:{}", at.file(), at.line())
            });
            let quiet = QUIET.with(|quiet| *quiet.borrow());
            LAST.with(|last| *last.borrow_mut() = place);
            if !quiet {
                others(info);
            }
        }));
    });
}

thread_local! {
    static QUIET: RefCell<bool> = const { RefCell::new(false) };
}

/// Runs something whose panics are caught and reported by other means.
pub fn quietly<T>(work: impl FnOnce() -> T) -> T {
    install();
    QUIET.with(|quiet| *quiet.borrow_mut() = true);
    let result = work();
    QUIET.with(|quiet| *quiet.borrow_mut() = false);
    result
}

/// Where this thread last panicked.
pub fn last_place() -> String {
    LAST.with(|last| last.borrow().clone())
}
