//! What an agent reaches: its own session, and nothing of the service or of others.

use std::collections::HashMap;
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use satchel::sessions::command::HowEnded;
use satchel::sessions::outputs::{OutputLimits, collect};
use satchel::sessions::sandbox::{Isolation, Network};
use satchel::sessions::workspace::{Workspace, remove_workspace};

use super::{ALL, BOTH, DATA, Scene, in_each};

#[tokio::test]
async fn a_hostile_program_gets_nothing_and_leaves_nothing() {
    in_each(&BOTH, |scene| async move {
        let data = scene.folder.path();
        fs::write(data.join("satchel.db"), "database").unwrap();
        let other = Workspace::open(&data.join("two")).unwrap();
        fs::write(other.path().join("ws/secret"), "secret").unwrap();
        // This process stands for the service: its own environment and memory are what the agent is after.
        let mut service = std::process::Command::new("sleep").arg("1000").env("SECRET", "x").spawn().unwrap();
        let abstract_name = format!("satchel-{}", scene.mark);
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let _listener = UnixListener::bind_addr(&address).unwrap();
        let facts = serde_json::json!({
            // In bubblewrap the parent is the first process inside, and the kernel protects that.
            "parent_is_supervisor": scene.isolation == Isolation::Landlock,
            "service": service.id(),
            "database": data.join("satchel.db"),
            "other_session": other.path().join("ws/secret"),
            // With the host's network bubblewrap shares abstract sockets too.
            "abstract": if scene.isolation == Isolation::Landlock { abstract_name } else { String::new() },
        });
        let mut profile = scene.shell("");
        profile.program = "/usr/bin/python3".to_owned();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/containment/hostile.py");
        profile.args = vec![script.to_str().unwrap().to_owned()];
        profile.read_paths = vec![script];
        let end = scene.run(&profile, &facts.to_string()).await;
        assert_eq!(end.how, HowEnded::Exited(0), "{end:?}");
        let attempts: Vec<serde_json::Value> =
            end.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(attempts[0]["got"], "a,b\n1,2\n");
        for attempt in &attempts[1..] {
            assert_eq!(attempt["got"], serde_json::Value::Null, "{:?}: {attempt}", scene.isolation);
        }
        assert!(attempts.len() > 20);
        assert!(service.try_wait().unwrap().is_none());
        service.kill().unwrap();
        service.wait().unwrap();
        assert_eq!(fs::read(scene.workspace.path().join("attachments/data.csv")).unwrap(), DATA);
        assert_eq!(fs::read(data.join("satchel.db")).unwrap(), b"database");

        let outputs = collect(&scene.workspace, &OutputLimits::default(), &HashMap::new()).unwrap();
        assert_eq!(outputs.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["report.md"]);
        let left: Vec<_> = outputs.left_out.iter().map(|left| left.path.as_str()).collect();
        assert_eq!(left, ["output/hard", "output/link", "output/pipe"]);
        let path = scene.workspace.path().to_owned();
        remove_workspace(&path).unwrap();
        assert!(!path.exists());
    })
    .await;
}

#[tokio::test]
async fn an_output_swapped_for_a_link_is_not_followed_and_the_way_to_the_files_is_restored() {
    in_each(&BOTH, |scene| async move {
        fs::write(scene.folder.path().join("secret"), "secret").unwrap();
        let script = format!(
            "rmdir output; ln -s {} output; rm -rf attachments 2>/dev/null; mkdir -p attachments; true",
            scene.folder.path().display()
        );
        let end = scene.run(&scene.shell(&script), "").await;
        assert_eq!(end.how, HowEnded::Exited(0), "{end:?}");
        let outputs = collect(&scene.workspace, &OutputLimits::default(), &HashMap::new()).unwrap();
        assert!(outputs.files.is_empty());
        assert_eq!(outputs.left_out[0].path, "output");
        let end = scene.run(&scene.shell("cat attachments/data.csv"), "").await;
        assert_eq!(end.stdout.as_bytes(), DATA);
    })
    .await;
}

#[tokio::test]
async fn a_read_path_that_holds_the_session_is_refused() {
    in_each(&BOTH, |scene| async move {
        let mut profile = scene.shell("true");
        profile.read_paths = vec![scene.folder.path().to_owned()];
        let end = scene.run(&profile, "").await;
        assert!(matches!(&end.how, HowEnded::FailedToStart(why) if why.contains("narrower")), "{end:?}");
    })
    .await;
}

#[tokio::test]
async fn no_network_means_no_connection_to_the_machine_itself() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script =
        format!("import socket; socket.create_connection(('127.0.0.1', {port}), 5); print('connected')");
    for isolation in BOTH {
        let scene = Scene::set(isolation, Network::None).await;
        for (network, connected) in [(Network::Host, true), (Network::None, false)] {
            let mut profile = scene.shell("");
            profile.program = "/usr/bin/python3".to_owned();
            profile.args = vec!["-c".to_owned(), script.clone()];
            profile.network = network;
            let end = scene.run(&profile, "").await;
            assert_eq!(end.stdout == "connected\n", connected, "{isolation:?} {network:?}: {end:?}");
        }
    }
}

#[tokio::test]
async fn the_environment_is_what_the_profile_names() {
    in_each(&ALL, |scene| async move {
        let mut profile = scene.shell("env");
        profile.pass_env = vec!["CARGO_PKG_NAME".to_owned(), "NOT_SET_ANYWHERE".to_owned()];
        let end = scene.run(&profile, "").await;
        let mut names: Vec<_> = end.stdout.lines().filter_map(|line| line.split('=').next()).collect();
        names.sort_unstable();
        let wanted: &[&str] = if std::env::var("CARGO_PKG_NAME").is_ok() {
            &["CARGO_PKG_NAME", "HOME", "LANG", "MARK", "PATH", "PWD", "TMPDIR"]
        } else {
            &["HOME", "LANG", "MARK", "PATH", "PWD", "TMPDIR"]
        };
        assert_eq!(names, wanted);
    })
    .await;
}
