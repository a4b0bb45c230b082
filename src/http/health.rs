//! Whether the service lives, and whether it is ready to work.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::blobs::Blobs;
use crate::db::Db;

/// What readiness is asked of.
#[derive(Debug, Clone)]
pub struct Vitals {
    /// The catalogue.
    pub db: Db,
    /// The store.
    pub blobs: std::sync::Arc<Blobs>,
}

/// `GET /health/live`: the process answers.
pub async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /health/ready`: 200 when the catalogue answers; whether there is room for uploads is said,
/// and does not count, because reading goes on without.
pub async fn ready(State(vitals): State<Vitals>) -> (StatusCode, Json<Value>) {
    let database = match vitals.db.read().await {
        Ok(mut conn) => sqlx::query("SELECT 1").execute(&mut *conn).await.is_ok(),
        Err(_) => false,
    };
    let blobs = std::sync::Arc::clone(&vitals.blobs);
    let room = tokio::task::spawn_blocking(move || blobs.has_room_for(0)).await.unwrap_or(false);
    let status = if database { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if database { "ok" } else { "unavailable" };
    (status, Json(json!({ "status": word, "database": database, "accepts_uploads": database && room })))
}
