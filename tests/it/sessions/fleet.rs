//! Many sessions, many workers, and workers killed at random: every message is handled, and what
//! comes back comes back once.
//!
//! 4 workers and 60 sessions; 16 and 1000 with `TEST_FULL=1` in the environment. Agents run without
//! isolation, because the start of a namespace for each turn would be most of the work.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::sessions::{Session, agent};
use crate::support::{PATIENCE, TestApp, Worker, noise, sha256};

/// Writes a file for every word that it was ever told, and says which.
const AGENT: &str = "for word in $(grep -o 'word-[0-9]*-[ab]' | sort -u); do \
    { echo $word; cat attachments/data.bin; } > output/$word.bin; echo $word; done";

/// Sessions that have a message to be handled, or that a worker holds.
const UNSETTLED: &str = "SELECT COUNT(*) FROM sessions WHERE worker_id IS NOT NULL \
    OR (inbox_seq > done_seq AND status <> 'suspended')";

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn whatever_workers_die_every_message_is_handled_and_every_output_comes_back_once() {
    let full = std::env::var_os("TEST_FULL").is_some();
    let (workers, many, pause) = if full { (16, 1000, 500) } else { (4, 60, 400) };
    let app = TestApp::builder()
        .env("SATCHEL_ROLE", "api")
        .config("isolation = \"none\"\nsession_slots = 2\nsessions_per_org = 1000")
        .config(&agent(AGENT, ""))
        .start()
        .await;
    let user = app.v3();
    let bytes = noise(1, 20_000);
    let data = user.upload("data.bin", bytes.clone()).await;
    let begun = Instant::now();
    let over = AtomicBool::new(false);
    let working = async {
        let mut sessions = Vec::new();
        for number in 0..many {
            sessions.push(user.open(&format!("word-{number}-a\n{}", data.line())).await);
        }
        for (number, session) in sessions.iter().enumerate() {
            session.say(&format!("word-{number}-b")).await;
        }
        settle(&app, &sessions).await;
        over.store(true, Ordering::Relaxed);
        sessions
    };
    let killing = async {
        let mut fleet: Vec<Worker> =
            (0..workers).map(|_| tokio::task::block_in_place(|| app.worker())).collect();
        let mut kills = 0;
        while !over.load(Ordering::Relaxed) {
            // Not to wait for anything: the pace of the kills.
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let victim = (kills * 7 + kills / 3) % workers;
            drop(fleet.swap_remove(victim));
            fleet.push(tokio::task::block_in_place(|| app.worker()));
            kills += 1;
        }
        (fleet, kills)
    };
    let (sessions, (fleet, kills)) = tokio::join!(working, killing);
    let took = begun.elapsed().as_secs_f64();
    let cut_short =
        app.count("SELECT COUNT(*) FROM session_messages WHERE message LIKE '%runs again%'").await;
    println!(
        "{many} sessions of two messages, {workers} workers, {kills} kills, {cut_short} turns cut short: \
         {took:.1} s, {:.1} sessions a second",
        f64::from(many) / took
    );
    assert!(kills > 0 && cut_short > 0, "the kills met no turn");

    for (number, session) in sessions.iter().enumerate() {
        let words = [format!("word-{number}-a"), format!("word-{number}-b")];
        let answers = session.answers().await;
        for word in &words {
            assert!(answers.iter().any(|answer| answer.contains(word.as_str())), "{word}: {answers:#?}");
        }
        let receipts = session.receipts().await;
        let (handed, back): (Vec<_>, Vec<_>) =
            receipts.iter().partition(|receipt| receipt["source"] == "user");
        assert!(handed.len() == 1 && handed[0]["state"] == "delivered", "{receipts:#?}");
        let paths: BTreeSet<&str> = back.iter().map(|receipt| receipt["path"].as_str().unwrap()).collect();
        let wanted: Vec<String> = words.iter().map(|word| format!("output/{word}.bin")).collect();
        assert_eq!(paths, wanted.iter().map(String::as_str).collect(), "{receipts:#?}");
        assert_eq!(back.len(), 2, "each comes back once: {receipts:#?}");
        for receipt in back {
            let path = Path::new(receipt["path"].as_str().unwrap());
            let word = path.file_stem().unwrap().to_str().unwrap();
            let expected = [format!("{word}\n").as_bytes(), &bytes].concat();
            assert_eq!(receipt["sha256"], json!(sha256(&expected)));
            if number % 10 == 0 {
                assert!(user.get(receipt["url"].as_str().unwrap()).await.expect(200).body == expected);
            }
        }
    }
    for worker in fleet {
        assert!(worker.terminate().await.success());
    }
    assert_eq!(app.count(UNSETTLED).await, 0);
    assert_eq!(agents_of(&app), Vec::<String>::new(), "no agent is left");
    let twice = "SELECT COUNT(*) FROM (SELECT session_id, path FROM session_attachments \
        GROUP BY session_id, path, source HAVING COUNT(*) > 1)";
    assert_eq!(app.count(twice).await, 0);
}

/// Waits until every message is handled, for as long as it goes on. A session that three workers died
/// of is left to a person, who sends another message.
async fn settle(app: &TestApp, sessions: &[Session]) {
    let (mut left, mut since) = (i64::MAX, Instant::now());
    loop {
        let now = app.count(UNSETTLED).await;
        if now < left {
            (left, since) = (now, Instant::now());
        }
        if now == 0 {
            let given_up = app.rows("SELECT id FROM sessions WHERE status = 'suspended'").await;
            if given_up.is_empty() {
                return;
            }
            println!("{} sessions were given up after three kills", given_up.len());
            for row in given_up {
                sessions.iter().find(|session| row["id"] == session.id.as_str()).unwrap().say("again").await;
            }
            left = i64::MAX;
        }
        assert!(since.elapsed() < PATIENCE, "{now} sessions do not come to their end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Processes at work in a session's folder.
fn agents_of(app: &TestApp) -> Vec<String> {
    let folder = app.data().join("sessions").canonicalize().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let there = processes
        .filter(|path| std::fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&folder)));
    there.map(|path| path.display().to_string()).collect()
}
