//! The machine's clock jumps while sessions run. The real program with another clock (libfaketime),
//! which leaves the monotonic one alone, as a real jump does.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::sessions::{AT_WORK, Session, agent};
use crate::support::{TestApp, eventually};

const HOUR: i64 = 3600;

/// The clock of a service and its workers.
struct Clock {
    folder: tempfile::TempDir,
}

impl Clock {
    fn new() -> Self {
        let clock = Self { folder: tempfile::tempdir().unwrap() };
        clock.set(0);
        clock
    }

    /// Sets it that many seconds ahead of the true time.
    fn set(&self, ahead: i64) {
        // In one step, so that no half of it is ever read.
        let new = self.folder.path().join("new");
        fs::write(&new, format!("{ahead:+}\n")).unwrap();
        fs::rename(new, self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    async fn service(&self, options: &str) -> TestApp {
        let library = ["x86_64", "aarch64"]
            .map(|kind| format!("/usr/lib/{kind}-linux-gnu/faketime/libfaketimeMT.so.1"))
            .into_iter()
            .find(|path| Path::new(path).exists())
            .expect("the package faketime is installed");
        TestApp::builder()
            .env("SATCHEL_ROLE", "api")
            .env("LD_PRELOAD", &library)
            .env("FAKETIME_TIMESTAMP_FILE", self.file().to_str().unwrap())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .config(options)
            .config(&agent(&format!("echo x >> runs; {AT_WORK}"), ""))
            .start()
            .await
    }
}

/// Waits until the only claim was renewed by a clock so far from the true one. Workers have looked at
/// it several times by then.
async fn renewed(app: &TestApp, ahead: i64) {
    eventually("the claim is renewed", async || {
        let until =
            app.count("SELECT lease_until FROM sessions WHERE worker_id IS NOT NULL").await / 1_000_000;
        let true_time = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
        ((until - true_time - ahead).abs() < 60).then_some(())
    })
    .await;
}

async fn assert_ran_once(app: &TestApp, session: &Session) {
    app.let_go(session);
    session.until_waiting().await;
    assert_eq!(session.answers().await, ["done"]);
    assert_eq!(app.written(session, "runs").await, "x\n");
}

#[tokio::test]
async fn a_jump_of_the_clock_takes_no_session_from_its_worker() {
    let clock = Clock::new();
    let app = clock.service("").await;
    let session = app.v3().open("hello").await;
    let _workers = [app.worker(), app.worker()];
    app.written(&session, "ready").await;
    renewed(&app, 0).await;
    for ahead in [HOUR, -HOUR] {
        clock.set(ahead);
        renewed(&app, ahead).await;
    }
    assert_ran_once(&app, &session).await;
}

#[tokio::test]
async fn what_waits_does_not_wait_for_a_clock_that_was_set_back() {
    let clock = Clock::new();
    clock.set(24 * HOUR);
    let app = clock.service("session_slots = 1").await;
    let (first, second) = (app.v3().open("one").await, app.v3().open("two").await);
    let worker = app.worker();
    app.written(&first, "ready").await;
    clock.set(0);
    app.let_go(&first);
    app.written(&second, "ready").await;
    // And what its worker died of is taken up, although its claim seems to hold for a day.
    fs::remove_file(app.workspace(&second).join("ready")).unwrap();
    drop(worker);
    let _worker = app.worker();
    app.written(&second, "ready").await;
}
