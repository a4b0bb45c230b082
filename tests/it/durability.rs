//! What a 200 means: bytes synced, name published, folders synced, row committed, then the answer.
//! Shown by the order of the system calls, as strace records them.

use tokio::task::JoinSet;

use crate::support::strace::{self, Call};
use crate::support::wire::{Wire, upload_head};
use crate::support::{TestApp, User, eventually, form, noise};

const SMALL: usize = 4096;
const LARGE: usize = 3 * 1024 * 1024 + 17;

/// What the service did for one upload, up to its answer.
struct Upload {
    calls: Vec<Call>,
}

impl Upload {
    /// Uploads a file and takes the record of it.
    async fn trace(app: &TestApp, user: &User, size: usize) -> Self {
        // The first request of a key notes its use in the catalogue, which is not to be taken for the row.
        user.get("/v1/auth_status").await.expect(200);
        eventually("the use is noted", async || {
            let noted = "SELECT COUNT(*) FROM api_keys WHERE last_used_at IS NOT NULL";
            (app.count(noted).await > 0).then_some(())
        })
        .await;
        let from = strace::length(app);
        user.upload("data.bin", noise(1, size)).await;
        let calls = eventually("the answer is in the record", async || {
            let mut calls = strace::calls(app);
            calls.retain(|call| call.began >= from);
            let end = calls.iter().position(Call::answers_200)?;
            calls.truncate(end + 1);
            Some(calls)
        })
        .await;
        Self { calls }
    }

    /// The calls that are so.
    fn all(&self, is_so: impl Fn(&Call) -> bool) -> Vec<&Call> {
        self.calls.iter().filter(|call| is_so(call)).collect()
    }

    /// The one call that is so.
    #[track_caller]
    fn one(&self, what: &str, is_so: impl Fn(&Call) -> bool) -> &Call {
        let found = self.all(is_so);
        assert_eq!(found.len(), 1, "{what}: {:#?}", self.calls);
        found[0]
    }

    /// The row is written to the write-ahead log after `bytes_are_safe`, and is safe before the answer.
    #[track_caller]
    fn assert_committed_after(&self, bytes_are_safe: &Call) {
        let in_log = |call: &Call| call.path.ends_with("satchel.db-wal");
        let writes = self.all(|call| in_log(call) && call.writes());
        let first = writes.first().expect("the row is written");
        let last = writes.last().expect("the row is written");
        assert_order(bytes_are_safe, first);
        let sync = self.all(|call| in_log(call) && call.syncs() && call.began > last.ended);
        assert_order(sync.first().expect("the log is synced after its last write"), self.answer());
    }

    fn answer(&self) -> &Call {
        self.calls.last().unwrap()
    }
}

/// One call had ended before the other began.
#[track_caller]
fn assert_order(first: &Call, then: &Call) {
    assert!(first.result >= 0 && first.ended < then.began, "{first:#?}\nis not before\n{then:#?}");
}

#[tokio::test]
async fn a_large_upload_is_synced_named_and_committed_before_its_answer() {
    let app = strace::recorded().start().await;
    let upload = Upload::trace(&app, &app.v1(), LARGE).await;

    let name = upload.one("it is given its name", |call| call.name.starts_with("rename"));
    let mut names = name.texts();
    let (staged, public) = (names.next().unwrap(), names.next().unwrap());
    assert!(staged.contains("/blobs/staging/") && public.contains("/blobs/files/"), "{name:?}");

    let written = upload.all(|call| call.path == staged && (call.writes() || call.name == "ftruncate"));
    let bytes: i64 = written.iter().filter(|call| call.writes()).map(|call| call.result).sum();
    assert!(bytes >= LARGE as i64, "{bytes} bytes were written");
    let synced = upload.one("its bytes are synced", |call| call.path == staged && call.syncs());
    written.iter().for_each(|write| assert_order(write, synced));
    assert_order(synced, name);

    let folder = public.rsplit_once('/').unwrap().0;
    let folder_synced = upload.one("its folder is synced", |call| call.path == folder && call.syncs());
    assert_order(name, folder_synced);
    upload.assert_committed_after(folder_synced);
}

#[tokio::test]
async fn a_small_upload_is_synced_and_committed_before_its_answer() {
    let app = strace::recorded().start().await;
    let upload = Upload::trace(&app, &app.v1(), SMALL).await;

    let is_pack = |call: &Call| call.path.ends_with(".pack");
    let written = upload.one("its bytes are packed", |call| is_pack(call) && call.writes());
    assert!(written.result >= SMALL as i64);
    let synced = upload.one("the pack is synced", |call| is_pack(call) && call.syncs());
    assert_order(written, synced);
    upload.assert_committed_after(synced);

    // It is the first: the pack is new, and its name must survive too.
    let made = upload.one("the pack is made", |call| is_pack(call) && call.args.contains("O_CREAT"));
    let folder_synced =
        upload.one("its folder is synced", |call| call.path.ends_with("/blobs/packs") && call.syncs());
    assert_order(made, folder_synced);
    upload.assert_committed_after(folder_synced);
}

#[tokio::test]
async fn an_empty_upload_is_committed_before_its_answer() {
    let app = strace::recorded().start().await;
    let upload = Upload::trace(&app, &app.v1(), 0).await;
    let synced = upload.one("the pack is synced", |call| call.path.ends_with(".pack") && call.syncs());
    upload.assert_committed_after(synced);
}

#[tokio::test]
async fn every_new_folder_of_the_store_is_durable_before_the_service_listens() {
    let app = strace::recorded().start().await;
    let calls = strace::calls(&app);
    let listening = calls.iter().find(|call| call.writes() && call.args.contains("listening on"));
    let listening = listening.expect("the service says that it listens");

    let data = app.data();
    let kept = |path: &str| path == data.to_str().unwrap() || path.contains("/data/blobs");
    let made = calls.iter().filter(|call| call.name.starts_with("mkdir") && call.result == 0);
    let made: Vec<(&Call, &str)> =
        made.map(|call| (call, call.texts().next().unwrap())).filter(|(_, path)| kept(path)).collect();
    assert_eq!(made.len(), 1 + 1 + 4 + 256, "the data folder, blobs, four in it, one for each first byte");
    for (mkdir, path) in made {
        let parent = path.rsplit_once('/').unwrap().0;
        let synced = calls.iter().find(|call| {
            call.path.trim_end_matches('/') == parent && call.syncs() && call.began > mkdir.ended
        });
        assert_order(synced.unwrap_or_else(|| panic!("the name {path} is never synced")), listening);
    }
}

/// 64 uploads whose last byte comes at the same moment.
#[tokio::test]
async fn many_small_uploads_at_once_share_their_syncs() {
    const AT_ONCE: usize = 64;
    let app = strace::recorded().start().await;
    let user = app.v1();
    user.get("/v1/auth_status").await.expect(200);

    let mut ready = Vec::new();
    for seed in 0..AT_ONCE {
        let body = form::form(&[form::file("small.bin", &noise(seed as u64, SMALL))]);
        let mut wire = Wire::open(app.address()).await;
        wire.send(upload_head(&user, body.len() as u64, "")).await.unwrap();
        wire.send(&body[..body.len() - 1]).await.unwrap();
        ready.push((wire, body[body.len() - 1]));
    }
    let from = strace::length(&app);
    let mut uploads = JoinSet::new();
    for (mut wire, last) in ready {
        uploads.spawn(async move {
            wire.send([last]).await.unwrap();
            wire.answer().await.expect("an answer").status
        });
    }
    assert_eq!(uploads.join_all().await, [200; AT_ONCE]);

    let calls = strace::calls(&app);
    let syncs = calls.iter().filter(|call| call.began >= from && call.syncs()).count();
    // One by one, each upload would take two: of the pack and of the log.
    assert!(syncs <= AT_ONCE / 2, "{syncs} syncs for {AT_ONCE} uploads");
}
