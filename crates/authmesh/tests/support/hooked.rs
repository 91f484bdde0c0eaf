//! A clock that does something when it is looked at: the way into the middle of what cannot be interrupted.

use std::fmt;
use std::sync::{Arc, Mutex};

use authmesh::clock::SystemClock;
use authmesh::ports::Clock;
use authmesh::proto::time::Now;

type Hook = Box<dyn FnOnce() + Send>;

/// The machine's clock, with a hook in it.
#[derive(Default)]
pub(crate) struct HookedClock(Mutex<Option<(usize, Hook)>>);

impl HookedClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Does it once, when the clock is looked at for the `nth` time from now, counted from 1. Arm it right before what is
    /// to look, in a test of one thread: the node's own tasks look at the clock too.
    pub(crate) fn arm(&self, nth: usize, hook: impl FnOnce() + Send + 'static) {
        *self.0.lock().unwrap() = Some((nth, Box::new(hook)));
    }

    pub(crate) fn is_armed(&self) -> bool {
        self.0.lock().unwrap().is_some()
    }

    fn due(&self) -> Option<Hook> {
        let mut armed = self.0.lock().unwrap();
        let (lacking, _) = armed.as_mut()?;
        *lacking -= 1;
        if *lacking > 0 {
            return None;
        }
        armed.take().map(|(_, hook)| hook)
    }
}

impl fmt::Debug for HookedClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookedClock")
    }
}

impl Clock for HookedClock {
    fn now(&self) -> Now {
        // Not under the lock: the hook may look at the clock.
        if let Some(hook) = self.due() {
            hook();
        }
        SystemClock.now()
    }
}
