//! Fills: how one node in the cluster comes to load a key, while the others wait.
//!
//! A pure state machine for one flight of one key. The driver looks into L2, asks for the lease, runs the loader and
//! stores; this decides what comes next.
//!
//! ```text
//! look -> (counts) answer
//!      -> take the lease -> (taken) load, renewing -> keep, store if the lease still is ours
//!                        -> (held) wait for it, once per nonce -> look
//!                        -> (none to be had) load -> keep
//!                        -> (on hold) load -> answer
//!      -> (on hold) load -> answer
//! ```
//!
//! A fill never waits without end: for at most [`FillConfig::patience`] holders, each at most [`FillConfig::wait`]. And it
//! never fails because of L2: without it, it loads by itself.
//!
//! A key whose source is being written is *on hold*: the fill loads and answers, and keeps nothing anywhere. It does not
//! know whether what it read is from before the write or after it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use crate::ident::{Incarnation, Nonce};
use crate::time::Moment;

#[cfg(test)]
mod tests;

/// Times of a [`Fill`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FillConfig {
    /// How long a fill lease lives; renewed three times in that time while loading. Default: 1 s.
    pub lease: Duration,
    /// How long the lease of one holder is waited for. Default: 2 s.
    pub wait: Duration,
    /// How many holders are waited for before loading without a lease. Default: 3.
    pub patience: usize,
}

impl FillConfig {
    /// The defaults.
    pub const DEFAULT: Self = Self {
        lease: Duration::from_secs(1),
        wait: Duration::from_secs(2),
        patience: 3,
    };
}

impl Default for FillConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The place of a record: incarnation and L2 generation of its channel's log.
pub type Place = (Incarnation, u64);

/// What the lease script did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseOutcome {
    /// The lease is ours; the value must be stored for this incarnation and generation.
    Taken(Incarnation, u64),
    /// Another loader holds it.
    Held(Nonce),
    /// There is a live value: read again.
    Present,
    /// The channel has no log yet: nothing can be stored in it.
    Unborn,
    /// The key's source is being written: nothing may be kept.
    OnHold,
}

/// What the hold script did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldOutcome {
    /// The key is held from here on. It was not held under this nonce before.
    Taken,
    /// It was held under this nonce all the time, and goes on.
    Renewed,
    /// The channel has no log yet.
    Unborn,
    /// As many writers hold it as can.
    Crowded,
}

/// What a look into L2 found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// A record that counts.
    Counts,
    /// These bytes, which count for no node that has applied as much as this one: a fill may replace them.
    Void(Vec<u8>),
    /// Nothing, or something about which this node cannot tell.
    Nothing,
    /// A hold: the key's source is being written.
    OnHold,
}

/// What came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The answer to [`Action::Look`]: what was found; the incarnation that this node had applied in the entry's channel when
    /// it captured the fence, before the look; and whether the node is coherent.
    Looked {
        /// What was found.
        look: Look,
        /// The incarnation that was captured.
        captured: Option<Incarnation>,
        /// Whether the node is coherent. A blind node takes no lease: it could store nothing that counts.
        coherent: bool,
    },
    /// The answer to [`Action::Lease`]. `None`: L2 could not be asked.
    Leased(Option<LeaseOutcome>),
    /// The lease that [`Action::Wait`] named is gone, or L2 could not be asked.
    Gone,
    /// The loader ended; whether it brought a value.
    Loaded(bool),
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Capture the fence, then read L2; answer with [`Input::Looked`].
    Look,
    /// Take the lease; over exactly these bytes, if there are any. Answer with [`Input::Leased`].
    Lease(Option<Vec<u8>>),
    /// Wait until this lease is gone; answer with [`Input::Gone`]. Given up when [`Action::Look`] follows.
    Wait(Nonce),
    /// Run the loader, under the fence that the last look captured; answer with [`Input::Loaded`].
    Load,
    /// Prolong the lease.
    Renew,
    /// Keep what was loaded in memory, under the fence that the last look captured, and answer the callers.
    Keep,
    /// Answer the callers with what was loaded, and keep nothing: the key was on hold.
    Answer,
    /// Replace the lease by what was loaded, for this place.
    Store(Place),
    /// Give the lease back.
    Release,
}

/// One fill.
#[derive(Debug)]
pub struct Fill {
    config: FillConfig,
    nonce: Nonce,
    state: State,
    captured: Option<Incarnation>,
    place: Option<Place>,
    on_hold: bool,
    waited_for: Vec<Nonce>,
    actions: VecDeque<Action>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Looking,
    Leasing,
    Waiting { until: Moment },
    Loading { renew_at: Moment },
    Over,
}

impl Fill {
    /// A fill under its own random nonce.
    #[must_use]
    pub fn new(config: FillConfig, nonce: Nonce) -> Self {
        Self {
            config,
            nonce,
            state: State::Looking,
            captured: None,
            place: None,
            on_hold: false,
            waited_for: Vec::new(),
            actions: VecDeque::from([Action::Look]),
        }
    }

    /// The nonce of its lease.
    #[must_use]
    pub const fn nonce(&self) -> Nonce {
        self.nonce
    }

    /// Whether it has ended: nothing more comes.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Over && self.actions.is_empty()
    }

    /// When [`Fill::tick`] wants to be called.
    #[must_use]
    pub const fn poll_timeout(&self) -> Moment {
        match self.state {
            State::Waiting { until } => until,
            State::Loading { renew_at } if self.place.is_some() => renew_at,
            _ => Moment::NEVER,
        }
    }

    /// The next thing to do; call until it answers `None`.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Moment) {
        match self.state {
            State::Waiting { until } if now >= until => self.look(),
            State::Loading { renew_at } if self.place.is_some() && now >= renew_at => {
                self.state = State::Loading {
                    renew_at: now.plus(self.config.lease / 3),
                };
                self.actions.push_back(Action::Renew);
            }
            _ => {}
        }
    }

    /// Something came in. What does not fit the state is an answer that nobody waits for any more, and changes nothing.
    pub fn handle(&mut self, now: Moment, input: Input) {
        match (self.state, input) {
            (
                State::Looking,
                Input::Looked {
                    look,
                    captured,
                    coherent,
                },
            ) => {
                self.captured = captured;
                let over = match look {
                    Look::Counts => {
                        self.state = State::Over;
                        return;
                    }
                    Look::Void(bytes) => Some(bytes),
                    Look::Nothing => None,
                    Look::OnHold => {
                        self.on_hold = true;
                        return self.load(now);
                    }
                };
                if coherent && self.waited_for.len() < self.config.patience {
                    self.state = State::Leasing;
                    self.actions.push_back(Action::Lease(over));
                } else {
                    self.load(now);
                }
            }
            (State::Leasing, Input::Leased(outcome)) => self.on_lease(now, outcome),
            (State::Waiting { .. }, Input::Gone) => self.look(),
            (State::Loading { .. }, Input::Loaded(value)) => self.on_loaded(value),
            _ => {}
        }
    }

    fn look(&mut self) {
        self.state = State::Looking;
        self.actions.push_back(Action::Look);
    }

    fn load(&mut self, now: Moment) {
        self.state = State::Loading {
            renew_at: now.plus(self.config.lease / 3),
        };
        self.actions.push_back(Action::Load);
    }

    fn on_lease(&mut self, now: Moment, outcome: Option<LeaseOutcome>) {
        match outcome {
            Some(LeaseOutcome::Taken(incarnation, generation)) => {
                self.place = Some((incarnation, generation));
                self.load(now);
            }
            // Once per nonce: its holder may be gone, and its lease renewed by nobody.
            Some(LeaseOutcome::Held(holder)) if !self.waited_for.contains(&holder) => {
                self.waited_for.push(holder);
                self.state = State::Waiting {
                    until: now.plus(self.config.wait),
                };
                self.actions.push_back(Action::Wait(holder));
            }
            Some(LeaseOutcome::OnHold) => {
                self.on_hold = true;
                self.load(now);
            }
            // A value that L2 holds to be live and this node does not: it may not count yet.
            Some(LeaseOutcome::Present) if self.waited_for.is_empty() => {
                self.waited_for.push(self.nonce);
                self.look();
            }
            _ => self.load(now),
        }
    }

    fn on_loaded(&mut self, value: bool) {
        self.state = State::Over;
        if value {
            self.actions
                .push_back(if self.on_hold { Action::Answer } else { Action::Keep });
        }
        if let Some(place) = self.place {
            // A lease that was taken in another incarnation than the one that was captured belongs to another fill: what was
            // captured says nothing about statements of this one.
            let same = self.captured == Some(place.0);
            self.actions.push_back(if value && same {
                Action::Store(place)
            } else {
                Action::Release
            });
        }
    }
}
