//! `kill -9` in a loop under concurrent uploads: what was acknowledged stays, whole; what was not
//! is there whole or not at all; nothing is left lying about.
//!
//! The same with workers, which store what agents hand back beside the service that takes uploads,
//! while each that starts sweeps the store.
//!
//! 40 kills; 220 with `TEST_FULL=1` in the environment.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::SystemTime;

use bytes::Bytes;
use reqwest::multipart;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Row};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::sessions::agent;
use crate::support::{TestApp, User, eventually, noise, sha256};

const LARGEST: usize = 2 * 1024 * 1024;

/// All files are pieces of this.
static NOISE: LazyLock<Bytes> = LazyLock::new(|| noise(7, 2 * LARGEST).into());

/// A file that a client was told is kept, or that a row says is.
#[derive(Debug, Clone)]
struct Kept {
    path: String,
    sha256: String,
}

/// Clients at work, and what they were told.
struct Load {
    up: watch::Sender<bool>,
    told: Arc<Told>,
    clients: JoinSet<()>,
}

#[derive(Default)]
struct Told {
    kept: Mutex<Vec<Kept>>,
    cut_off: AtomicUsize,
    read: AtomicUsize,
}

impl Load {
    /// Some who upload small files, some who upload large ones, and some who read whatever has a row.
    fn start(app: &TestApp) -> Self {
        let (up, watched) = watch::channel(true);
        let mut load = Self { up, told: Arc::default(), clients: JoinSet::new() };
        for seed in 0..9 {
            let user = if seed % 2 == 0 { app.v1() } else { app.v3() };
            let sizes = [1..8 * 1024, 60 * 1024..70 * 1024, LARGEST / 8..LARGEST];
            let size = sizes[seed % sizes.len()].clone();
            let mut random = Random(seed as u64 + 1);
            let (told, mut up) = (Arc::clone(&load.told), watched.clone());
            load.clients.spawn(async move {
                while up.wait_for(|up| *up).await.is_ok() {
                    let start = random.within(0..LARGEST);
                    let bytes = NOISE.slice(start..start + random.within(size.clone()));
                    match upload(&user, bytes.clone()).await {
                        Some(path) => {
                            told.kept.lock().unwrap().push(Kept { path, sha256: sha256(&bytes) });
                        }
                        None => _ = told.cut_off.fetch_add(1, Ordering::Relaxed),
                    }
                }
            });
        }
        for _ in 0..2 {
            let (user, catalogue) = (app.v1(), app.data().join("satchel.db"));
            let (told, mut up) = (Arc::clone(&load.told), watched.clone());
            load.clients.spawn(async move {
                while up.wait_for(|up| *up).await.is_ok() {
                    for kept in newest(&catalogue).await.unwrap_or_default() {
                        told.read.fetch_add(usize::from(is_whole(&user, &kept).await), Ordering::Relaxed);
                    }
                }
            });
        }
        load
    }

    fn kept(&self) -> usize {
        self.told.kept.lock().unwrap().len()
    }

    /// Lets some uploads be acknowledged, and stops the clients from beginning more.
    async fn go_on(&mut self, more: usize) {
        self.up.send_replace(true);
        let enough = self.kept() + more;
        eventually("uploads are acknowledged", async || {
            let failed = self.clients.try_join_next();
            assert!(failed.is_none(), "a client failed: {failed:?}");
            (self.kept() >= enough).then_some(())
        })
        .await;
        self.up.send_replace(false);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_acknowledged_survives_every_kill() {
    let kills = kills();
    let mut app = TestApp::builder().config("isolation = \"none\"").start().await;
    let mut random = Random(42);
    let mut load = Load::start(&app);
    for _ in 0..kills {
        load.go_on(random.within(1..24)).await;
        app.kill9();
        app.start_again().await;
        assert_eq!(files_in(&app, "staging"), Vec::<String>::new(), "staging is empty after a start");
    }
    let told = Arc::clone(&load.told);
    drop(load);
    let kept = std::mem::take(&mut *told.kept.lock().unwrap());
    let (cut_off, read) = (told.cut_off.load(Ordering::Relaxed), told.read.load(Ordering::Relaxed));
    println!("{kills} kills, {} acknowledged, {cut_off} cut off, {read} read meanwhile", kept.len());
    assert!(cut_off >= kills / 2, "the kills met only {cut_off} uploads");
    assert!(read >= kills, "the readers read only {read} files");

    // The next start removes what is older than itself, by whole seconds.
    app.kill9();
    let second = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let now = second();
    eventually("the second is over", async || (second() > now + 1).then_some(())).await;
    app.start_again().await;

    let rows = assert_whole(&app, &kept).await;
    assert_eq!(app.rows("PRAGMA integrity_check").await[0]["integrity_check"], "ok");
    let noted = app.count("SELECT COUNT(*) FROM audit_logs WHERE action = 'attachment.create'").await;
    assert_eq!(noted, rows as i64, "each has its row of audit");
}

/// Leaves files of all sizes, other ones each time.
const AGENT: &str =
    "for n in 1 2 3 4 5 6; do head -c $((n * n * 3000)) /dev/urandom > output/$n.bin; done; echo done";

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn processes_that_write_beside_each_other_lose_nothing_to_one_that_starts_and_sweeps() {
    let options = "isolation = \"none\"\nsession_slots = 2\nsessions_per_org = 100";
    let mut app = TestApp::builder().config(options).config(&agent(AGENT, "")).start().await;
    let user = app.v3();
    let mut random = Random(43);
    let mut workers = vec![app.worker(), app.worker()];
    let mut sessions = Vec::new();
    let mut load = Load::start(&app);
    for kill in 0..kills() / 2 {
        for _ in 0..3 {
            sessions.push(user.open("hello").await);
        }
        load.go_on(random.within(1..24)).await;
        if kill % 4 == 3 {
            app.kill9();
            app.start_again().await;
        }
        // The one that is killed was writing; the one that starts sweeps while the others write.
        drop(workers.remove(random.within(0..2)));
        workers.push(tokio::task::block_in_place(|| app.worker()));
    }
    let kept = std::mem::take(&mut *load.told.kept.lock().unwrap());
    drop(load);
    eventually("every turn ends", async || {
        let left = "SELECT COUNT(*) FROM sessions WHERE worker_id IS NOT NULL \
            OR (inbox_seq > done_seq AND status <> 'suspended')";
        (app.count(left).await == 0).then_some(())
    })
    .await;
    let mut handed_back = 0;
    for session in &sessions {
        for receipt in session.receipts().await {
            let (url, sha256) = (receipt["url"].as_str().unwrap(), receipt["sha256"].as_str().unwrap());
            assert_eq!(self::sha256(&user.get(url).await.expect(200).body), sha256, "{receipt}");
            handed_back += 1;
        }
    }
    let cut_short =
        app.count("SELECT COUNT(*) FROM session_messages WHERE message LIKE '%runs again%'").await;
    println!("{} acknowledged, {handed_back} handed back, {cut_short} turns cut short", kept.len());
    assert!(cut_short > 0 && handed_back >= sessions.len() * 3);
    drop(workers);
    app.restart().await;
    assert_whole(&app, &kept).await;
}

fn kills() -> usize {
    if std::env::var_os("TEST_FULL").is_some() { 220 } else { 40 }
}

/// Every file that was acknowledged, and every one that a row names, is whole; no others are there.
/// How many rows there are.
async fn assert_whole(app: &TestApp, kept: &[Kept]) -> usize {
    let user = app.v1();
    for kept in kept {
        assert!(is_whole(&user, kept).await, "the service went away");
    }
    let rows = app.rows("SELECT id, name, sha256, blob FROM attachments WHERE deleted_at IS NULL").await;
    assert!(rows.len() >= kept.len());
    for row in &rows {
        let text = |column: &str| row[column].as_str().unwrap().to_owned();
        let path = format!("/v1/attachments/{}/{}", text("id"), text("name"));
        assert!(is_whole(&user, &Kept { path, sha256: text("sha256") }).await, "the service went away");
    }
    let mut named: Vec<String> =
        rows.iter().filter_map(|row| Some(row["blob"].as_str()?.strip_prefix("file:")?.to_owned())).collect();
    named.sort();
    eventually("files that no row names are removed", async || {
        let mut there = files_in(app, "files");
        there.sort();
        (there == named).then_some(())
    })
    .await;
    assert_eq!(files_in(app, "staging"), Vec::<String>::new());
    rows.len()
}

/// Uploads a file; its download path, or `None` if the service went away.
async fn upload(user: &User, bytes: Bytes) -> Option<String> {
    let size = bytes.len() as u64;
    let part = multipart::Part::stream_with_length(bytes, size).file_name("data.bin");
    let request =
        user.request("POST", &user.upload_path()).multipart(multipart::Form::new().part("file", part));
    let response = request.send().await.ok()?;
    assert_eq!(response.status(), 200);
    let text = response.text().await.ok()?;
    let (_, tail) = text.split_once("/attachments/").unwrap();
    Some(format!("/v1/attachments/{}", tail.split('"').next().unwrap()))
}

/// Reads a file, which must be whole and right; `false` if the service went away.
async fn is_whole(user: &User, kept: &Kept) -> bool {
    let Ok(response) = user.request("GET", &kept.path).send().await else { return false };
    let status = response.status();
    let Ok(body) = response.bytes().await else { return false };
    assert_eq!(status, 200, "{kept:?}: {}", String::from_utf8_lossy(&body));
    assert_eq!(sha256(&body), kept.sha256, "{kept:?} has {} bytes", body.len());
    true
}

/// What the catalogue got last; `None` while the service is not there to be read beside.
async fn newest(catalogue: &PathBuf) -> Option<Vec<Kept>> {
    let options = SqliteConnectOptions::new().filename(catalogue).read_only(true);
    let mut conn = options.connect().await.ok()?;
    let sql =
        "SELECT id, name, sha256 FROM attachments WHERE source = 'user' ORDER BY created_at DESC LIMIT 12";
    let rows = sqlx::query(sql).fetch_all(&mut conn).await.ok()?;
    let kept = |row: &sqlx::sqlite::SqliteRow| Kept {
        path: format!("/v1/attachments/{}/{}", row.get::<&str, _>("id"), row.get::<&str, _>("name")),
        sha256: row.get("sha256"),
    };
    Some(rows.iter().map(kept).collect())
}

/// The names of the files below a folder of the store.
fn files_in(app: &TestApp, folder: &str) -> Vec<String> {
    let folder = app.data().join("blobs").join(folder);
    let files = app.blob_files().into_iter().map(|(path, ..)| path).filter(|path| path.starts_with(&folder));
    files.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

/// A sequence that looks random and is the same each time (xorshift).
struct Random(u64);

impl Random {
    fn within(&mut self, range: std::ops::Range<usize>) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        range.start + self.0 as usize % range.len()
    }
}
