//! Tests of what the service makes of the failure of its own parts.

use axum::extract::State;
use axum::http::StatusCode;
use confique::Config as _;

use super::*;

#[tokio::test]
async fn without_the_tasks_that_write_uploads_down_the_service_is_not_ready_and_stops() {
    let home = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(&home.path().join("data")).unwrap();
    let mut config = Config::builder().load().unwrap();
    config.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.isolation = Some(Isolation::None);
    let app = App::open(&config, &folder).await.unwrap();
    let vitals = app.state.vitals.clone();
    assert_eq!(health::ready(State(vitals.clone())).await.0, StatusCode::OK);

    let broken = app.state.attachments.broken().clone();
    let running = tokio::spawn(app.run(CancellationToken::new()));
    broken.cancel();
    assert_eq!(health::ready(State(vitals)).await.0, StatusCode::SERVICE_UNAVAILABLE);
    let ended = tokio::time::timeout(Duration::from_secs(60), running).await.expect("the service stops");
    let said = ended.unwrap().unwrap_err().to_string();
    assert!(said.contains("writes uploads down failed"), "{said}");
}
