//! What is known of the issuer's own time.

use authmesh_proto::time::{Moment, Now, Unix};

/// The highest `iat` that was accepted from an issuer, and its last `Date`.
#[derive(Debug, Default)]
pub(super) struct IssuerClock {
    highest_iat: Unix,
    /// The last `Date`, and when it was read.
    date: Option<(Unix, Moment)>,
}

impl IssuerClock {
    pub(super) fn saw_issued_at(&mut self, iat: Unix) {
        self.highest_iat = self.highest_iat.max(iat);
    }

    pub(super) fn saw_date(&mut self, date: Unix, now: Moment) {
        self.date = Some((date, now));
    }

    pub(super) fn time(&self, now: Now, latest: Unix) -> Unix {
        let by_date = self
            .date
            .map_or(0, |(date, read)| date.saturating_add(now.boot.since(read).as_secs()));
        now.wall.max(self.highest_iat).max(by_date.min(latest))
    }
}
