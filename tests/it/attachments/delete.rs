//! Deletion: the bytes are freed, and the owner is told afterwards when and why the file went.

use crate::support::*;

/// The blocks that the store takes up on the disk, in bytes.
fn taken(app: &TestApp) -> u64 {
    app.blob_files().iter().map(|(_, _, taken)| taken).sum()
}

#[tokio::test]
async fn a_deleted_large_file_gives_its_bytes_back() {
    let app = TestApp::start().await;
    let ada = app.v1();
    let uploaded = ada.upload("large.bin", noise(1, 3_000_000)).await;
    assert!(taken(&app) >= 3_000_000);
    let answer = ada.delete(&uploaded.url).await;
    assert_eq!(answer.expect(200).detail(), "Attachment deleted successfully");
    eventually("the blocks are free", async || (taken(&app) == 0).then_some(())).await;
    assert!(app.blob_files().is_empty(), "{:?}", app.blob_files());
}

#[tokio::test]
async fn a_deleted_small_file_gives_its_bytes_back_and_its_neighbours_stay() {
    let app = TestApp::start().await;
    let robot = app.v3();
    let mut kept = Vec::new();
    let mut deleted = Vec::new();
    for seed in 0..10 {
        let bytes = noise(seed, 60_000);
        let uploaded = robot.upload("small.bin", bytes.clone()).await;
        if seed % 2 == 0 { deleted.push(uploaded) } else { kept.push((uploaded, bytes)) }
    }
    let before = taken(&app);
    for uploaded in &deleted {
        robot.delete(&uploaded.v3_path(app.org())).await.expect(200);
    }
    eventually("the blocks are free", async || (taken(&app) + 5 * 57_344 <= before).then_some(())).await;
    for (uploaded, bytes) in kept {
        assert_eq!(robot.get(&uploaded.url).await.expect(200).body, bytes);
    }
}

#[tokio::test]
async fn a_deleted_file_is_gone_on_every_path_with_when_and_why() {
    let app = TestApp::start().await;
    let (ada, robot) = (app.v1(), app.v3());
    let uploaded = ada.upload("data.csv", "a,b\n").await;
    let before = satchel::clock::now().iso8601();
    ada.delete(&uploaded.v1_path()).await.expect(200);
    let after = satchel::clock::now().iso8601();

    let v3 = uploaded.v3_path(app.org());
    for (user, path) in [(&ada, &uploaded.url), (&ada, &uploaded.v1_path()), (&robot, &v3)] {
        let detail = user.get(path).await.expect(410).detail();
        let at = detail
            .strip_prefix("This attachment is no longer available: deleted on request at ")
            .unwrap_or_else(|| panic!("{detail}"));
        assert!(*before <= *at && at <= &*after, "{before} {at} {after}");
        assert_eq!(user.head(path).await.expect(410).text(), "");
        assert_eq!(user.delete(path).await.expect(410).detail(), detail);
    }
}

#[tokio::test]
async fn a_deleted_file_stays_deleted_after_a_restart() {
    let mut app = TestApp::start().await;
    let ada = app.v1();
    let uploaded = ada.upload("data.csv", "a,b\n").await;
    ada.delete(&uploaded.url).await.expect(200);
    app.restart().await;
    ada.get(&uploaded.url).await.expect(410);
}

#[tokio::test]
async fn what_was_never_there_is_a_404() {
    let app = TestApp::start().await;
    let nowhere = "/attachments/00000000-0000-4000-8000-000000000000/data.csv";
    assert_eq!(app.v1().delete(nowhere).await.expect(404).detail(), "Attachment not found");
    assert_eq!(
        app.v1().delete("/attachments/none/data.csv").await.expect(404).detail(),
        "Attachment not found"
    );
}

/// The packs of small files: their paths and the bytes of disk that they take.
fn packs(app: &TestApp) -> Vec<(std::path::PathBuf, u64)> {
    let files =
        app.blob_files().into_iter().filter(|(path, ..)| path.extension().is_some_and(|e| e == "pack"));
    files.map(|(path, _, on_disk)| (path, on_disk)).collect()
}

#[tokio::test]
async fn what_a_crash_left_in_a_pack_without_a_row_is_freed_at_the_next_start() {
    let mut app = TestApp::start().await;
    let ada = app.v1();
    let (one, two) = (ada.upload("one.csv", "1").await, ada.upload("two.csv", "2").await);
    app.kill9();
    let [(pack, before)] = &packs(&app)[..] else { panic!("one pack was expected") };
    let mut bytes = std::fs::read(pack).unwrap();
    bytes.extend_from_slice(&noise(7, 64 * 1024));
    std::fs::write(pack, bytes).unwrap();

    app.start_again().await;
    eventually("the bytes without a row are freed", async || (packs(&app)[0].1 <= *before).then_some(()))
        .await;
    assert_eq!(ada.get(&one.url).await.expect(200).text(), "1");
    assert_eq!(ada.get(&two.url).await.expect(200).text(), "2");
}

#[tokio::test]
async fn a_place_in_a_pack_is_never_given_twice() {
    let mut app = TestApp::start().await;
    let ada = app.v1();
    let gone = ada.upload("one.csv", "1").await;
    ada.delete(&gone.url).await.expect(200);
    for _ in 0..2 {
        app.restart().await;
        eventually("the store is swept", async || app.log().contains("the store is swept").then_some(()))
            .await;
    }
    let two = ada.upload("two.csv", "2").await;
    assert_eq!(ada.get(&two.url).await.expect(200).text(), "2");
    ada.get(&gone.url).await.expect(410);
}

#[tokio::test]
async fn a_pack_that_holds_nothing_any_more_goes_once_there_is_a_later_one() {
    let mut app = TestApp::start().await;
    let ada = app.v1();
    let uploaded = ada.upload("one.csv", "1").await;
    ada.delete(&uploaded.url).await.expect(200);
    app.restart().await;
    ada.upload("two.csv", "2").await;
    app.restart().await;
    let first = |app: &TestApp| packs(app).iter().any(|(path, _)| path.ends_with("1.pack"));
    eventually("the empty pack is gone", async || (!first(&app)).then_some(())).await;
    assert_eq!(packs(&app).len(), 1);
}
