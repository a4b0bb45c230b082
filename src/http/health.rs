//! Whether the service lives, and whether it is ready to work.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::blobs::Blobs;
use crate::db::Db;

/// What readiness is asked of.
#[derive(Debug, Clone)]
pub struct Vitals {
    /// The catalogue.
    pub db: Db,
    /// The store.
    pub blobs: std::sync::Arc<Blobs>,
    /// Cancelled once something is gone without which nothing can be taken in.
    pub broken: CancellationToken,
}

/// `GET /health/live`: the process answers.
pub async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /health/ready`: 200 when the catalogue answers and nothing is broken for good; whether there is room for uploads is said,
/// and does not count, because reading goes on without.
pub async fn ready(State(vitals): State<Vitals>) -> (StatusCode, Json<Value>) {
    let database = match vitals.db.read().await {
        Ok(mut conn) => sqlx::query("SELECT 1").execute(&mut *conn).await.is_ok(),
        Err(_) => false,
    };
    let blobs = std::sync::Arc::clone(&vitals.blobs);
    let room = tokio::task::spawn_blocking(move || blobs.has_room_for(0)).await.unwrap_or(false);
    let well = database && !vitals.broken.is_cancelled();
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if well { "ok" } else { "unavailable" };
    (status, Json(json!({ "status": word, "database": database, "accepts_uploads": well && room })))
}
