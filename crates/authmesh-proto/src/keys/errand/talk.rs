//! What an errand is told, and what it says in return.

use alloc::vec::Vec;
use core::time::Duration;

use crate::ident::Nonce;
use crate::keys::machine::End;
use crate::time::Moment;

/// Times of an [`Errand`](super::Errand).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrandConfig {
    /// How long a lease lives; renewed three times in that time while fetching. Default: 1 s.
    pub lease: Duration,
    /// How long all attempts to ask the issuer may take; see [`KeyPolicy::deadline`](crate::keys::KeyPolicy::deadline).
    pub deadline: Duration,
    /// The least time between two fetches; see [`KeyPolicy::min_interval`](crate::keys::KeyPolicy::min_interval).
    pub min_interval: Duration,
    /// How many holders of the lease are waited for before the issuer is asked without a lease. Default: 3.
    pub patience: usize,
    /// How many members at the head of the order own an issuer, where there is no L2. One of them asks the issuer itself
    /// when those before it may not; the others then leave it. Default: 2.
    pub owners: usize,
}

impl ErrandConfig {
    /// The configuration under a policy.
    #[must_use]
    pub const fn of(policy: &crate::keys::KeyPolicy) -> Self {
        Self {
            lease: Duration::from_secs(1),
            deadline: policy.deadline,
            min_interval: policy.min_interval,
            patience: 3,
            owners: 2,
        }
    }
}

/// A set that another node fetched, as far as it matters here. Only one that may be trusted at all is told: it opened, it is
/// not older than the trust age, and not of a generation before the one that the cluster stated, nor before the own one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Its generation.
    pub generation: u64,
    /// How long ago the issuer was asked for it.
    pub age: Duration,
    /// How long the issuer lets it be used, if it says so.
    pub max_age: Option<Duration>,
    /// Whether the issuer was asked for it later than for the own one. True without an own one.
    pub newer: bool,
    /// Whether it holds what the caller lacks. False where nothing certain is lacking.
    pub holds: bool,
    /// Whether the issuer was asked after this errand began. Only a member that was asked can say so.
    pub proof: bool,
}

/// What stands under the ticket's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// L2 cannot be asked, or there is none.
    Unknown,
    /// Nothing that counts; these bytes, if there are any.
    Nothing(Option<Vec<u8>>),
    /// Somebody fetches, under this lease.
    By(Nonce),
    /// Somebody has fetched, under this lease; it failed, and asking makes sense again after so long.
    Ticket(Nonce, Option<Duration>),
}

/// How asking for the lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseEnd {
    /// The lease is ours.
    Taken,
    /// Another node holds it.
    Held(Nonce),
    /// There is a ticket: read again.
    Present,
    /// L2 cannot be asked, or has no room for it.
    Unknown,
}

/// How an attempt to ask the issuer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchEnd {
    /// A usable set, or the word that the own one still holds.
    Brought {
        /// When it was asked.
        asked: Moment,
        /// How long it lets the set be used, if it says so.
        max_age: Option<Duration>,
        /// Whether it has a new generation: it differs from the own one, or the cluster has stated a newer generation than
        /// that of the own one, and nobody has this content under it.
        changed: bool,
        /// Whether keys of the own one are missing in it, or are other keys now; or the cluster has stated a newer
        /// generation since the request was sent: what came may be from before it.
        removed: bool,
    },
    /// No usable answer.
    Failed {
        /// How long it asked to be left alone, if it did.
        retry_after: Option<Duration>,
        /// Whether asking again at once may help: the connection, or a 5xx; not what the issuer means to say.
        transient: bool,
        /// The wait before the next attempt.
        pause: Duration,
    },
}

/// What came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The answer to [`Action::Look`].
    Looked {
        /// The set in L2.
        set: Option<Told>,
        /// The ticket.
        ticket: Held,
    },
    /// The answer to [`Action::Lease`].
    Leased(LeaseEnd),
    /// The answer to [`Action::Draw`]: how long until the budget has something, if it is spent.
    Drawn(Option<Duration>),
    /// The lease that [`Action::Wait`] named is gone, or L2 cannot be asked.
    Gone,
    /// The answer to [`Action::Ask`]: a set; or the word not to ask now; or nothing usable.
    Answered(Result<Told, Option<Duration>>),
    /// The answer to [`Action::Fetch`].
    Fetched(FetchEnd),
    /// The answer to [`Action::Hold`]: whether the lease is ours still. Where L2 cannot be asked it is not; the look that
    /// follows tells the two apart.
    Holds(bool),
    /// [`Action::Publish`] is done; whether the set stands in L2 now.
    Published(bool),
}

/// Where the set comes from that is to be taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The last look into L2.
    L2,
    /// The last answer of a member.
    Member,
    /// The last fetch.
    Issuer,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the ticket, **then** the set, or both at one instant; answer with [`Input::Looked`]. The other way round a ticket
    /// could stand beside the set from before its fetch, and would prove what it does not.
    Look,
    /// Take the lease; over exactly these bytes, if there are any. Answer with [`Input::Leased`].
    Lease(Option<Vec<u8>>),
    /// Draw on the cluster's budget for unknown kids; answer with [`Input::Drawn`]. One attempt per
    /// [`KeyPolicy::unknown_kid_period`](crate::keys::KeyPolicy::unknown_kid_period) is to be had whatever was drawn before:
    /// a flood must not make a real key wait for longer. Where L2 cannot be asked, the own budget is all there is.
    Draw,
    /// Wait until this lease is gone; answer with [`Input::Gone`]. Given up when something else follows.
    Wait(Nonce),
    /// Ask the n-th owner; answer with [`Input::Answered`].
    Ask(usize),
    /// Ask the issuer, once; answer with [`Input::Fetched`]. Attempts carry the entity tag of the own set, but
    /// for those of a trip that knows of something new ([`Why::no_cache`](crate::keys::Why::no_cache)). Given up
    /// when something else follows: the deadline is over.
    Fetch {
        /// Past intermediate caches.
        no_cache: bool,
    },
    /// Prolong the lease.
    Renew,
    /// Prolong the lease, and answer with [`Input::Holds`].
    Hold,
    /// Make this set the own one.
    Take(Source),
    /// The trip has ended so: tell the machine and wake the callers. What follows delays nobody.
    End {
        /// How.
        end: End,
        /// Whether the issuer was asked after the errand began: a kid that is in no set then does not exist.
        proof: bool,
    },
    /// State the set's generation if it is a new one, then store the set for the others, over exactly what the last look
    /// found; answer with [`Input::Published`]. Without L2 there is only the statement.
    Publish {
        /// Whether it is a new one.
        changed: bool,
    },
    /// Leave a ticket in place of the lease: a good one for [`KeyPolicy::min_interval`](crate::keys::KeyPolicy::min_interval), one of
    /// a failure until the machine lets the next trip begin.
    Settle {
        /// Whether the issuer gave no usable answer.
        failed: bool,
    },
    /// Give the lease back.
    Release,
}
