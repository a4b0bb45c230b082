//! Every line of the table, in prompts and in messages, strict and lenient.
//!
//! One session keeps the only slot, so that those of the table wait and cost nothing.

use serde_json::{Value, json};

use super::table::{LINES, Want};
use crate::support::sessions::{AT_WORK, Session};
use crate::support::{Answer, TestApp, Uploaded, User};

/// Where the line stands in the text: the second line of three.
const LINE: usize = 2;

/// One line of the table, written out for a file.
struct Case {
    text: String,
    column: usize,
    want: Want,
}

impl Case {
    fn of((pattern, want): (&str, Want), app: &TestApp, file: &Uploaded) -> Self {
        let written = |text: &str| {
            text.replace("URL", &file.url)
                .replace("BASE", &app.url())
                .replace("HOST", &app.address().to_string())
                .replace("ORG", app.org())
                .replace("ID", &file.id)
        };
        let (before, after) = pattern.split_once('¦').unwrap_or(("", pattern));
        let column = written(before).chars().count() + 1;
        Self { text: format!("Look:\n{}{}\nThank you.", written(before), written(after)), column, want }
    }

    /// Checks the answer to a call that carried the text; whether it names the file.
    fn judge(&self, answer: &Answer, member: &str, file: &Uploaded, lenient: bool) -> bool {
        let told = format!("{:?}\n{}", self.text, answer.text());
        let body = answer.json();
        if let Want::Refused(reason) = self.want {
            assert_eq!(answer.status, 422, "{told}");
            let faults = body["detail"].as_array().unwrap();
            assert_eq!(faults.len(), 1, "{told}");
            assert_eq!(faults[0]["loc"], json!(["body", member, LINE]), "{told}");
            assert!(faults[0]["msg"].as_str().unwrap().contains(reason), "{told}");
            return false;
        }
        assert_eq!(answer.status, 200, "{told}");
        let notices = body["notices"].as_array().unwrap();
        let (reason, corrected) = match self.want {
            Want::Delivered | Want::Nothing | Want::Refused(_) => {
                assert!(notices.is_empty(), "{told}");
                return self.want == Want::Delivered;
            }
            Want::Offered(reason) | Want::Unmistakable(reason) => (reason, Value::from(file.line())),
            Want::Noticed(reason) => (reason, Value::Null),
        };
        let delivered = lenient && matches!(self.want, Want::Unmistakable(_));
        assert_eq!(notices.len(), 1, "{told}");
        let notice = &notices[0];
        assert_eq!(notice["line"], LINE, "{told}");
        assert_eq!(notice["column"], self.column, "{told}");
        let said = notice["reason"].as_str().unwrap();
        assert!(said.contains(reason), "{told}");
        assert_eq!(said.contains("delivered all the same"), delivered, "{told}");
        assert_eq!(notice["corrected"], corrected, "{told}");
        delivered
    }
}

/// A service with one slot that a session keeps, a user of each version, and a file.
async fn busy(options: &str) -> (TestApp, [User; 2], Uploaded) {
    let options = format!("session_slots = 1\nother_urls = [\"https://files.example.org\"]\n{options}");
    let app = TestApp::with_agent(&options, AT_WORK).await;
    let users = [app.v1(), app.v3()];
    let first = users[1].open("Keep the slot.").await;
    app.written(&first, "ready").await;
    let file = users[0].upload("data.csv", &b"a,b\n1,2\n"[..]).await;
    (app, users, file)
}

async fn how_many(app: &TestApp) -> Value {
    app.v3().get(&app.v3().sessions_path("?first=1")).await.json()["total"].clone()
}

async fn every_prompt_has_its_outcome(options: &str, lenient: bool) {
    let (app, users, file) = busy(options).await;
    for row in LINES {
        let case = Case::of(*row, &app, &file);
        for user in &users {
            let before = how_many(&app).await;
            let answer = user.try_open(&json!({ "prompt": case.text })).await;
            let named = case.judge(&answer, "prompt", &file, lenient);
            if answer.status != 200 {
                assert_eq!(how_many(&app).await, before, "a refused prompt created a session");
                continue;
            }
            let created = answer.json();
            let id = created["session_id"].as_str().unwrap().to_owned();
            let session = Session { user: user.clone(), id, created };
            let receipts = session.receipts().await;
            let ids: Vec<&Value> = receipts.iter().map(|receipt| &receipt["attachment_id"]).collect();
            assert_eq!(ids, if named { vec![&file.id[..]] } else { vec![] }, "{:?}", case.text);
            let messages = session.messages().await;
            if named {
                let kept = format!("Look:\n{}\nThank you.", file.line());
                assert_eq!(messages[0].1.replace('\r', ""), kept, "{:?}", case.text);
            } else {
                assert_eq!(messages[0].1, case.text, "what is not recognised stays as it is");
            }
            let notices = session.created["notices"].as_array().unwrap();
            assert_eq!(messages.len(), 1 + notices.len(), "one message for the notices: {messages:#?}");
            if let Some(notice) = notices.first() {
                assert_eq!(messages[1].0, "devin");
                assert!(messages[1].1.contains(notice["reason"].as_str().unwrap()), "{}", messages[1].1);
            }
        }
    }
}

#[tokio::test]
async fn every_prompt_line_has_its_outcome() {
    assert!(LINES.len() >= 40);
    every_prompt_has_its_outcome("", false).await;
}

#[tokio::test]
async fn what_is_unmistakable_is_delivered_where_the_operator_wants_it() {
    every_prompt_has_its_outcome("lenient_references = true", true).await;
}

#[tokio::test]
async fn every_line_of_a_message_has_its_outcome() {
    let (app, users, file) = busy("").await;
    for user in &users {
        let session = user.open("Wait for more.").await;
        for row in LINES {
            let case = Case::of(*row, &app, &file);
            let before = session.messages().await.len();
            let answer = session.try_say(&json!({ "message": case.text })).await;
            case.judge(&answer, "message", &file, false);
            if answer.status == 422 {
                assert_eq!(session.messages().await.len(), before, "a refused message was kept");
            }
        }
        assert_eq!(session.receipts().await.len(), 1, "a file named many times is one file");
    }
}

#[tokio::test]
async fn a_near_miss_arrives_where_the_operator_wants_it() {
    let app = TestApp::with_agent("lenient_references = true", "cat attachments/data.csv").await;
    let user = app.v1();
    let file = user.upload("data.csv", &b"a,b\n1,2\n"[..]).await;
    let session = user.open(&format!("ATTACHMENT: \"{}\"", file.url)).await;
    session.until_waiting().await;
    assert_eq!(session.answers().await.last().unwrap(), "a,b\n1,2");
}

#[tokio::test]
async fn a_near_miss_does_not_arrive_otherwise_and_is_explained_before_the_agent_speaks() {
    let app = TestApp::with_agent("", "ls attachments; cat").await;
    let user = app.v3();
    let file = user.upload("data.csv", &b"a,b\n1,2\n"[..]).await;
    let line = format!("ATTACHMENT: \"{}\"", file.url);
    let session = user.open(&line).await;
    session.until_waiting().await;
    let answers = session.answers().await;
    assert!(answers[0].contains("line 1, column 12") && answers[0].contains(&file.line()), "{}", answers[0]);
    assert!(answers[1].contains(&line), "the agent reads the line as it was sent: {}", answers[1]);
    assert!(!answers[1].contains("data.csv\n") && session.receipts().await.is_empty(), "{}", answers[1]);
}
