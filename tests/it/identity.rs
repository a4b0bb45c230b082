//! Who one is.
use crate::support::*;

#[tokio::test]
async fn a_person_is_told_that_the_key_is_good() {
    let app = TestApp::start().await;
    let answer = app.v1().get("/v1/auth_status").await;
    assert_eq!(answer.json(), serde_json::json!({ "status": "authenticated", "org_id": app.org() }));
    let up = app.v3().upload("data.csv", "a,b\n").await;
    assert_eq!(app.count("SELECT COUNT(*) FROM attachments").await, 1);
    assert_eq!(app.v1().get(&up.url).await.expect(200).text(), "a,b\n");
}
