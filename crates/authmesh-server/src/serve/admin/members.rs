//! The members of the cluster: who there is, and forgetting one that died.

use authmesh::Member;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use super::problem::{self, Problem};

pub(super) async fn list(State(app): State<App>) -> Result<impl IntoResponse, Problem> {
    Ok(Json(json!({ "members": members(&app).await? })))
}

/// `DELETE /v1/members/{incarnation}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Forget {
    #[serde(default)]
    force: bool,
}

/// Forgets a member for good. One that lives, or is the node itself, is spared.
pub(super) async fn forget(
    State(app): State<App>,
    Path(incarnation): Path<String>,
    query: Result<Query<Forget>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(Forget { force }) = query.map_err(|_| {
        Problem::new(
            problem::QUERY,
            "the query takes `force=true` or `force=false`, and nothing else",
        )
    })?;
    let unknown = || {
        Problem::new(
            problem::MEMBER_NOT_FOUND,
            "no member has this incarnation: GET /v1/members lists them",
        )
    };
    let known = members(&app).await?;
    let member = known
        .into_iter()
        .find(|member| member.incarnation.eq_ignore_ascii_case(&incarnation))
        .ok_or_else(unknown)?;
    if member.this {
        return Err(Problem::new(
            problem::MEMBER_LIVE,
            "this is the node that was asked: stop it instead, and it says good-bye. Nothing was forgotten",
        ));
    }
    if member.live && !force {
        return Err(Problem::new(
            problem::MEMBER_LIVE,
            "the member is live: stop it instead, and it says good-bye. Once forgotten it would be blind until it is \
             started anew. Nothing was forgotten; the query `force=true` forgets it all the same",
        ));
    }
    let forgotten = app.mesh.forget_member(&member.incarnation).await.map_err(store)?;
    if !forgotten {
        return Err(unknown());
    }
    Ok(Json(
        json!({ "forgotten": { "node": member.node, "incarnation": member.incarnation } }),
    ))
}

async fn members(app: &App) -> Result<Vec<Member>, Problem> {
    app.mesh.members().await.map_err(store)
}

fn store(error: authmesh::ports::PortError) -> Problem {
    Problem::new(problem::STORE, error.to_string())
}
