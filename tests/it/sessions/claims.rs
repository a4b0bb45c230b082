//! A worker's claim on a session: it is kept while the work goes on, and a worker that has lost it
//! writes nothing more. In the process, because the length of a lease is nobody's to configure.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use satchel::attachments::{self, Attachments, ServiceUrls};
use satchel::blobs::Blobs;
use satchel::db::Db;
use satchel::id::SessionId;
use satchel::identity::setup::{KeyOrder, create_key, create_org};
use satchel::identity::{Grant, Identity, KeyKind, Permission, Request, Role};
use satchel::sessions::command::CommandProfile;
use satchel::sessions::process::Supervisor;
use satchel::sessions::sandbox::{Isolation, Network, Sandbox};
use satchel::sessions::{AgentProfile, Api, NewSession, Sessions, Settings, Status, StatusDetail};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::eventually;

const URL: &str = "http://127.0.0.1:8080";

/// The room of sessions with a worker, over a catalogue and a store of its own.
struct Room {
    folder: tempfile::TempDir,
    db: Db,
    sessions: Arc<Sessions>,
    grant: Grant,
    worker: JoinHandle<io::Result<()>>,
    stop: CancellationToken,
}

impl Room {
    async fn open(script: &str, lease: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open_sqlite(&folder.path().join("satchel.db")).await.unwrap();
        let grant = grant(&db).await;
        let blobs = Arc::new(Blobs::open(&folder.path().join("blobs"), 0).unwrap());
        let limits = attachments::Settings {
            max_upload_bytes: 1 << 20,
            body_silence: Duration::from_secs(60),
            uploads_per_key: 1,
        };
        let urls = ServiceUrls::new(URL, &[]).unwrap();
        let attachments = Arc::new(Attachments::new(db.clone(), blobs, urls, limits));
        let sandbox = sandbox(folder.path()).await;
        let mut command = CommandProfile::new("script", "/bin/sh");
        command.args = vec!["-c".to_owned(), script.to_owned()];
        let settings =
            Settings::new(AgentProfile::new(command), sandbox, folder.path().join("sessions"), URL);
        let settings = Settings { lease, rest: Duration::from_secs(1), ..settings };
        let sessions = Arc::new(Sessions::new(db.clone(), attachments, settings));
        let stop = CancellationToken::new();
        let worker = tokio::spawn(Arc::clone(&sessions).run_worker(stop.clone()));
        Self { folder, db, sessions, grant, worker, stop }
    }

    async fn create(&self) -> SessionId {
        let new = NewSession {
            prompt: "hello".to_owned(),
            attachment_urls: Vec::new(),
            title: None,
            tags: Vec::new(),
            fields: serde_json::Map::new(),
            structured_output: None,
            secrets: Vec::new(),
            idempotency_key: None,
            api: Api::V3,
        };
        self.sessions.create(&self.grant, new).await.unwrap().session.id
    }

    fn workspace(&self, id: &SessionId) -> PathBuf {
        self.folder.path().join("sessions").join(id.as_str()).join("ws")
    }

    async fn until_waiting(&self, id: &SessionId) {
        eventually("the turn ends", async || {
            let session = self.sessions.get(&self.grant, id).await.unwrap();
            let wanted = (Status::Running, Some(StatusDetail::WaitingForUser));
            ((session.status, session.status_detail) == wanted).then_some(())
        })
        .await;
    }

    /// What was said in the session, by the agent or by the service.
    async fn said(&self, id: &SessionId, by_service: bool) -> Vec<String> {
        let mut messages = self.sessions.all_messages(&self.grant, id).await.unwrap();
        messages.retain(|message| {
            message.source == attachments::Source::Devin && message.is_notice == by_service
        });
        messages.into_iter().map(|message| message.message).collect()
    }

    async fn close(self) {
        self.stop.cancel();
        self.worker.await.unwrap().unwrap();
    }
}

async fn sandbox(scratch: &Path) -> Sandbox {
    let supervisor = Supervisor::at(PathBuf::from(env!("CARGO_BIN_EXE_satchel")));
    Sandbox::probe(Some(Isolation::Landlock), Network::Host, scratch, &supervisor).await.unwrap()
}

async fn grant(db: &Db) -> Grant {
    let org = create_org(db, "room").await.unwrap().id;
    let order = KeyOrder {
        kind: KeyKind::ServiceUser,
        name: "ada".to_owned(),
        org: Some(org.clone()),
        role: Some(Role::OrgAdmin),
        email: None,
        expires_at: None,
    };
    let made = create_key(db, &order).await.unwrap();
    let identity = Identity::new(db.clone(), 10, Vec::new());
    let caller = identity.authenticate(made.key.reveal()).await.unwrap();
    let slot = Arc::new(identity.take_slot(&caller).unwrap());
    Request { caller, address: None, slot }.may(Permission::UseDevinSessions, &org).unwrap()
}

#[tokio::test]
async fn a_worker_that_lost_its_claim_stops_its_agent_and_writes_nothing() {
    let script = "echo x >> runs; echo > ready; [ -e go ] || sleep 1000; echo done";
    let room = Room::open(script, Duration::from_millis(900)).await;
    let id = room.create().await;
    let workspace = room.workspace(&id);
    eventually("the agent is at work", async || workspace.join("ready").exists().then_some(())).await;
    std::fs::write(workspace.join("go"), "").unwrap();
    // As if another worker had claimed it and died.
    let mut tx = room.db.write().await.unwrap();
    sqlx::query("UPDATE sessions SET epoch = epoch + 1").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    room.until_waiting(&id).await;
    let notices = room.said(&id, true).await;
    assert!(notices[0].contains("runs again (attempt 2 of 3)"), "{notices:#?}");
    assert_eq!(room.said(&id, false).await, ["done"]);
    assert_eq!(std::fs::read_to_string(workspace.join("runs")).unwrap(), "x\nx\n");
    room.close().await;
}

#[tokio::test]
async fn a_worker_whose_database_is_away_stops_its_agent_in_time_and_goes_on_when_it_is_back() {
    let script = "echo x >> runs; echo $$ > pid; [ -e go ] || sleep 1000; echo done";
    let room = Room::open(script, Duration::from_millis(1500)).await;
    let id = room.create().await;
    let workspace = room.workspace(&id);
    let pid = eventually("the agent is at work", async || {
        std::fs::read_to_string(workspace.join("pid")).ok().filter(|pid| pid.ends_with('\n'))
    })
    .await;
    let process = Path::new("/proc").join(pid.trim());
    assert!(process.exists());
    // Whoever holds the only place of a writer keeps the worker from renewing its claim.
    let away = sqlx::sqlite::SqliteConnectOptions::new().filename(room.folder.path().join("satchel.db"));
    let mut away = sqlx::ConnectOptions::connect(&away).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut away).await.unwrap();
    eventually("the agent is stopped", async || (!process.exists()).then_some(())).await;
    std::fs::write(workspace.join("go"), "").unwrap();
    sqlx::query("ROLLBACK").execute(&mut away).await.unwrap();
    room.until_waiting(&id).await;
    assert_eq!(room.said(&id, false).await, ["done"], "its message was handled once");
    assert_eq!(std::fs::read_to_string(workspace.join("runs")).unwrap(), "x\nx\n");
    room.close().await;
}

/// A worker of another machine has no lock here that could be looked at: its lease alone counts.
#[tokio::test]
async fn the_claim_of_an_unknown_worker_is_respected_while_it_is_renewed_and_taken_when_it_is_not() {
    let lease = Duration::from_secs(3);
    let room = Room::open("echo done", lease).await;
    room.stop.cancel();
    eventually("the worker stops", async || room.worker.is_finished().then_some(())).await;
    let id = room.create().await;
    let write = async |sql: &'static str| {
        let mut tx = room.db.write().await.unwrap();
        sqlx::query(sql).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    };
    write("UPDATE sessions SET worker_id = 'elsewhere', lease_until = 1, epoch = 7").await;
    let again = CancellationToken::new();
    let worker = tokio::spawn(Arc::clone(&room.sessions).run_worker(again.clone()));
    let begun = std::time::Instant::now();
    while begun.elapsed() < lease * 3 {
        write("UPDATE sessions SET lease_until = lease_until + 1 WHERE worker_id = 'elsewhere'").await;
        // The pace at which the other one renews its claim.
        tokio::time::sleep(lease / 10).await;
        let session = room.sessions.get(&room.grant, &id).await.unwrap();
        assert_eq!(session.status, Status::New, "it is somebody else's, whatever its lease says of the time");
    }
    room.until_waiting(&id).await;
    assert_eq!(room.said(&id, false).await, ["done"]);
    again.cancel();
    worker.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_turn_longer_than_the_lease_keeps_its_claim() {
    let room = Room::open("echo x >> runs; sleep 4; cat runs", Duration::from_millis(1500)).await;
    let id = room.create().await;
    room.until_waiting(&id).await;
    assert_eq!(room.said(&id, false).await, ["x"]);
    assert_eq!(room.said(&id, true).await, Vec::<String>::new());
    room.close().await;
}

#[tokio::test]
async fn work_that_fails_again_and_again_is_left_to_a_person() {
    let room = Room::open("cat", Duration::from_secs(30)).await;
    let sessions = room.folder.path().join("sessions");
    eventually("the worker runs", async || sessions.exists().then_some(())).await;
    std::fs::remove_dir(&sessions).unwrap();
    std::fs::write(&sessions, "in the way").unwrap();
    let id = room.create().await;
    // As if it had rested many times.
    let rested = "UPDATE sessions SET rests = 9, not_before = 0 WHERE rests = 1 AND lease_until IS NULL";
    eventually("it rests", async || {
        let mut tx = room.db.write().await.unwrap();
        let changed = sqlx::query(rested).execute(&mut *tx).await.unwrap().rows_affected();
        tx.commit().await.unwrap();
        (changed == 1).then_some(())
    })
    .await;
    eventually("it is suspended", async || {
        let session = room.sessions.get(&room.grant, &id).await.unwrap();
        let wanted = (Status::Suspended, Some(StatusDetail::Error));
        ((session.status, session.status_detail) == wanted).then_some(())
    })
    .await;
    let notices = room.said(&id, true).await;
    assert!(notices[0].starts_with("The service tried 10 times"), "{notices:#?}");
    room.close().await;
}
