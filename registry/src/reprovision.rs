//! `POST /api/installs/{id}/reprovision`.

use std::sync::Arc;

use annex_answering::{
    Refusal, Wish,
    questions::{answer, unexpected},
};
use annex_apis::{Install, REPROVISION_ANNOTATION};
use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use jiff::Timestamp;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::App;

/// Has everything that was made for an Install made again.
pub(crate) async fn reprovision(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let caller = app.callers.identify(&headers).await?;
    let id: Uuid = id.parse().map_err(|_| {
        Refusal::new(StatusCode::BAD_REQUEST, "MalformedId", "the id is no Install's metadata.uid")
    })?;
    // Of an Install that the caller may not change, not even that it exists is said.
    let unknown = || {
        Refusal::new(
            StatusCode::NOT_FOUND,
            "UnknownInstall",
            "there is no Install with this id that you may update",
        )
    };
    let id = id.to_string();
    let Some((key, _)) = app.installs.by_uid(&id) else {
        return Err(if app.is_synced() { unknown() } else { Refusal::not_synced() });
    };
    let client = (app.workspaces)(&key.cluster).map_err(|error| {
        tracing::warn!(%error, "a workspace cannot be asked");
        Refusal::kcp()
    })?;
    let update = Wish {
        verb: "update",
        resource: "installs",
        subresource: "",
        namespace: &key.namespace,
        name: &key.name,
    };
    if caller.is_foreign_to(&key.cluster) || !caller.may(&client, update).await? {
        return Err(unknown());
    }
    let requested = Timestamp::now().to_string();
    // The uid goes along, so that another Install that has the name by now is left alone.
    let patch = json!({ "metadata": { "uid": id, "annotations": { REPROVISION_ANNOTATION: requested } } });
    let installs = Api::<Install>::namespaced(client, &key.namespace);
    let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
    match answer("Install", installs.patch_metadata(&key.name, &params, &patch)).await? {
        Ok(_) => {
            tracing::info!(install = %key, by = caller.name(), "is made again");
            Ok((StatusCode::ACCEPTED, Json(json!({ "id": id, "requestedAt": requested }))))
        }
        Err(status) if status.code == 404 => Err(unknown()),
        Err(status) if status.code == 409 => Err(Refusal::new(
            StatusCode::CONFLICT,
            "Conflict",
            "the Install was changed at the same time; try again",
        )),
        Err(status) => Err(unexpected("Install", &status)),
    }
}
