//! Observations: whether what this node would serve agrees with its marks, with L2 and with its members.

use std::time::Duration;

use authmesh::{Observation, ObserveError, Report};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use serde::Deserialize;

use super::problem::{self, Problem};
use super::{App, body};

/// How much longer than others a request for an observation may take: a difference has to stand before it counts.
pub(super) const LONGEST: Duration = Duration::from_secs(30);

/// `POST /v1/observations`. What is left out is as in [`Observation::default`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Observe {
    sample: Option<usize>,
    peers: Option<usize>,
    channels: Option<usize>,
}

/// Makes one, and answers when it is done.
pub(super) async fn make(State(app): State<App>, request: Body) -> Result<Json<Report>, Problem> {
    let order: Observe = body(request).await?;
    let limits = [
        (order.sample, 1000, "`sample` is at most 1,000"),
        (order.peers, 16, "`peers` is at most 16"),
        (order.channels, 64, "`channels` is at most 64"),
    ];
    if let Some((.., what)) = limits
        .into_iter()
        .find(|(given, most, _)| given.is_some_and(|given| given > *most))
    {
        return Err(Problem::new(problem::BODY, what));
    }
    let mut observation = Observation::default();
    observation.sample = order.sample.unwrap_or(observation.sample);
    observation.peers = order.peers.unwrap_or(observation.peers);
    observation.channels = order.channels.unwrap_or(observation.channels);
    let report = app.mesh.observe(observation).await.map_err(|error| {
        let kind = match error {
            ObserveError::Busy => problem::BUSY,
            _ => problem::SHUTTING_DOWN,
        };
        Problem::new(kind, error.to_string())
    })?;
    Ok(Json(report))
}
