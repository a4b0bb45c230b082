//! Stored bytes are the sent bytes, or there is an error: whatever the size, however they came,
//! and whatever the disk does.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::wire::{Wire, upload_head};
use crate::support::{TestApp, Uploaded, User, eventually, form, noise, sha256, strace};

/// Sizes at which something changes: blocks, packs, pieces of reading and writing.
const EDGES: [usize; 6] = [0, 4096, 64 * 1024, 128 * 1024, 1024 * 1024, 2 * 1024 * 1024];

/// How a body is sent.
#[derive(Debug, Clone)]
struct Sending {
    size: usize,
    seed: u64,
    /// Lengths of the writes, over and over.
    pieces: Vec<usize>,
    /// Whether the length is said before, or each chunk carries its own.
    chunked: bool,
}

fn sending() -> impl Strategy<Value = Sending> {
    let near = (prop::sample::select(EDGES.to_vec()), 0..7_usize)
        .prop_map(|(edge, off)| (edge + off).saturating_sub(3));
    let size = prop_oneof![4 => near, 1 => 0..3 * 1024 * 1024_usize];
    let piece = prop_oneof![1 => 1..100_usize, 2 => 100..5000_usize, 4 => 5000..200_000_usize];
    (size, any::<u64>(), prop::collection::vec(piece, 1..6), any::<bool>())
        .prop_map(|(size, seed, pieces, chunked)| Sending { size, seed, pieces, chunked })
}

#[test]
fn what_comes_back_is_what_was_sent_whatever_the_size_and_however_it_was_cut() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let app = runtime.block_on(TestApp::start());
    let user = app.v1();
    for edge in EDGES {
        for size in edge.saturating_sub(1)..=edge + 1 {
            let sent = Sending { size, seed: size as u64, pieces: vec![50_000], chunked: false };
            runtime.block_on(goes_round(&app, &user, &sent));
        }
    }
    let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&sending(), |sent| {
        runtime.block_on(goes_round(&app, &user, &sent));
        Ok(())
    });
    outcome.unwrap();
}

/// Uploads over a connection of its own and downloads again.
async fn goes_round(app: &TestApp, user: &User, sent: &Sending) {
    let bytes = confusing(sent.seed, sent.size);
    let body = form::form(&[form::file("data.bin", &bytes)]);
    let mut head = upload_head(user, body.len() as u64, "");
    if sent.chunked {
        let length = format!("Content-Length: {}", body.len());
        head = head.replace(&length, "Transfer-Encoding: chunked");
    }
    let mut wire = Wire::open(app.address()).await;
    wire.send(&head).await.unwrap();
    let mut rest = body.as_slice();
    for piece in sent.pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at((*piece).min(rest.len()));
        rest = later;
        if sent.chunked {
            wire.send(format!("{:x}\r\n", now.len())).await.unwrap();
            wire.send(now).await.unwrap();
            wire.send("\r\n").await.unwrap();
        } else {
            wire.send(now).await.unwrap();
        }
    }
    if sent.chunked {
        wire.send("0\r\n\r\n").await.unwrap();
    }
    let answer = wire.answer().await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let url: String = serde_json::from_slice(&answer.body).unwrap();

    let got = user.get(&url).await;
    got.expect(200);
    assert_eq!(got.body.len(), bytes.len());
    assert!(got.body == bytes, "other bytes came back");
    assert_eq!(got.header("etag"), format!("\"{}\"", sha256(&bytes)));
}

/// Bytes in which a delimiter seems to begin again and again.
fn confusing(seed: u64, size: usize) -> Vec<u8> {
    let delimiter = format!("\r\n--{}", form::BOUNDARY);
    let mut bytes = noise(seed, size);
    for (nth, at) in (0..size).step_by(997).enumerate() {
        let length = (nth % delimiter.len()).min(size - at);
        bytes[at..at + length].copy_from_slice(&delimiter.as_bytes()[..length]);
    }
    bytes
}

#[tokio::test]
async fn empty_files_do_not_get_in_the_way_of_each_other_or_of_the_next() {
    let app = TestApp::start().await;
    let user = app.v1();
    let mut kept = Vec::new();
    for size in [0, 0, 5_000, 0, 70_000] {
        kept.push((user.upload("data.bin", noise(1, size)).await, size));
    }
    user.delete(&kept[1].0.url).await.expect(200);
    kept.remove(1);
    eventually("the deleted one is freed", async || {
        (app.count("SELECT COUNT(*) FROM discarded_blobs").await == 0).then_some(())
    })
    .await;
    for (file, size) in kept {
        assert!(user.get(&file.url).await.expect(200).body == noise(1, size), "{size} bytes");
    }
}

/// Where a small file lies: the pack and the first byte in it.
async fn packed_at(app: &TestApp) -> (PathBuf, u64) {
    let rows = app.rows("SELECT blob FROM attachments").await;
    let [_, segment, offset]: [&str; 3] =
        rows[0]["blob"].as_str().unwrap().split(':').collect::<Vec<_>>().try_into().unwrap();
    (app.data().join(format!("blobs/packs/{segment}.pack")), offset.parse().unwrap())
}

/// Changes one bit.
fn flip(path: &PathBuf, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// Downloading fails as the service's fault, and shows nothing of the file.
async fn assert_lost(user: &User, file: &Uploaded) {
    let whole = user.get(&file.url).await;
    assert!(
        whole.expect(500).detail().contains("cannot be sent whole: the stored bytes"),
        "{}",
        whole.text()
    );
    assert!(whole.headers.get("etag").is_none() && whole.headers.get("content-disposition").is_none());
    user.get_with(&file.url, "range", "bytes=0-9").await.expect(500);
    user.head(&file.url).await.expect(500);
}

#[tokio::test]
async fn a_small_file_that_rots_is_refused_loudly_and_never_handed_out() {
    let app = TestApp::start().await;
    let user = app.v1();
    let file = user.upload("data.bin", noise(1, 10_000)).await;
    let (pack, offset) = packed_at(&app).await;
    user.get(&file.url).await.expect(200);

    flip(&pack, offset + 9_999);
    assert_lost(&user, &file).await;
    let log = app.log();
    assert!(log.contains("the stored bytes have changed"), "{log}");

    flip(&pack, offset + 9_999);
    assert_eq!(user.get(&file.url).await.expect(200).body, noise(1, 10_000));
}

#[tokio::test]
async fn one_rotten_file_does_not_take_its_neighbour_in_the_pack_with_it() {
    let app = TestApp::start().await;
    let user = app.v1();
    let rotten = user.upload("rotten.bin", noise(1, 5_000)).await;
    let (pack, offset) = packed_at(&app).await;
    let neighbour = user.upload("neighbour.bin", noise(2, 5_000)).await;
    flip(&pack, offset);
    assert_lost(&user, &rotten).await;
    assert_eq!(user.get(&neighbour.url).await.expect(200).body, noise(2, 5_000));
}

#[tokio::test]
async fn files_whose_bytes_are_gone_are_an_error_and_not_an_empty_answer() {
    let app = TestApp::start().await;
    let user = app.v1();
    let small = user.upload("small.bin", noise(1, 5_000)).await;
    let (pack, _) = packed_at(&app).await;
    let large = user.upload("large.bin", noise(2, 500_000)).await;
    for (path, ..) in app.blob_files() {
        if path != pack {
            std::fs::remove_file(path).unwrap();
        }
    }
    File::options().write(true).open(&pack).unwrap().set_len(1000).unwrap();
    assert_lost(&user, &small).await;
    assert_lost(&user, &large).await;
}

#[tokio::test]
async fn a_large_file_that_was_cut_short_never_looks_complete() {
    let app = TestApp::start().await;
    let user = app.v1();
    let file = user.upload("large.bin", noise(2, 500_000)).await;
    cut_to(&app, 400_000);
    assert_lost(&user, &file).await;
}

#[tokio::test]
async fn a_large_file_that_is_cut_short_while_it_is_read_never_looks_complete() {
    let app = TestApp::start().await;
    let user = app.v1();
    // More than the buffers of a connection hold.
    let file = user.upload("large.bin", noise(2, 50_000_000)).await;
    let response = user.request("GET", &file.url).send().await.unwrap();
    let announced = response.headers().get("content-length").unwrap().to_str().unwrap().to_owned();
    cut_to(&app, 49_000_000);
    assert!(announced == "50000000" && response.bytes().await.is_err(), "the body must break off");
}

/// Cuts every stored file short.
fn cut_to(app: &TestApp, size: u64) {
    for (path, ..) in app.blob_files() {
        File::options().write(true).open(path).unwrap().set_len(size).unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_is_a_507_and_the_next_file_is_kept() {
    let app = strace::failing("pwritev:error=ENOSPC:when=1", Some("blobs/packs/1.pack")).start().await;
    let user = app.v1();
    let refused = user.try_upload("data.bin", noise(1, 5_000)).await;
    assert!(refused.expect(507).detail().contains("full"));
    assert_eq!(app.count("SELECT COUNT(*) FROM attachments").await, 0);
    let kept = user.upload("data.bin", noise(1, 5_000)).await;
    assert_eq!(user.get(&kept.url).await.expect(200).body, noise(1, 5_000));
}

#[tokio::test]
async fn a_sync_that_fails_is_a_500_and_its_pack_is_never_written_to_again() {
    let app = strace::failing("fdatasync:error=EIO:when=1", Some("blobs/packs/1.pack")).start().await;
    let user = app.v1();
    user.try_upload("data.bin", noise(1, 5_000)).await.expect(500);
    assert_eq!(app.count("SELECT COUNT(*) FROM attachments").await, 0);
    let kept = user.upload("data.bin", noise(1, 5_000)).await;
    let (pack, _) = packed_at(&app).await;
    assert!(pack.ends_with("2.pack"), "{pack:?}");
    assert_eq!(user.get(&kept.url).await.expect(200).body, noise(1, 5_000));
}

#[tokio::test]
async fn a_large_file_that_cannot_be_given_its_name_is_a_500_and_leaves_nothing() {
    let app = strace::failing("?rename,?renameat,renameat2:error=EIO:when=1", None).start().await;
    let user = app.v1();
    user.try_upload("data.bin", noise(1, 500_000)).await.expect(500);
    assert_eq!(app.blob_files(), []);
    assert_eq!(app.count("SELECT COUNT(*) FROM attachments").await, 0);
}
