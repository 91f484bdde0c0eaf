//! The machine and the errand by themselves, one node over a virtual issuer, and a virtual cluster.
//!
//! `AUTHMESH_KEY_SEEDS` sets how many seeds the cluster's tests try; the default takes a few seconds.

mod budget;
mod cluster;
mod controls;
mod errand;
mod idp;
mod machine;
mod outage;
mod policy;
mod single;
mod world;

use core::time::Duration;

use crate::time::Moment;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The instant so many seconds after the origin.
const fn at(seconds: u64) -> Moment {
    Moment::ORIGIN.plus(secs(seconds))
}
