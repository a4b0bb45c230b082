//! Every process of an agent ends with its turn, with its supervisor and with the service.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use satchel::sessions::command::{HowEnded, run_turn};
use tokio_util::sync::CancellationToken;

use super::{ALL, in_each, marked, until};
use crate::support::sessions::agent;
use crate::support::{PATIENCE, TestApp};

#[tokio::test]
async fn stray_descendants_do_not_outlive_a_turn_nor_hold_its_streams() {
    in_each(&ALL, |scene| async move {
        let script = "setsid sleep 1000 & (setsid sh -c 'trap \"\" TERM; sleep 1000 & sleep 1000' &) ; \
                      for i in $(seq 200); do setsid sleep 1000 & done; echo done; echo trouble >&2; exit 3";
        let end = scene.run(&scene.shell(script), "").await;
        assert_eq!(end.how, HowEnded::Exited(3));
        assert_eq!(end.stdout, "done\n");
        assert_eq!(end.stderr_tail, ["trouble"]);
        assert_eq!(fs::read(scene.workspace.path().join("log/stderr.log")).unwrap(), b"trouble\n");
    })
    .await;
}

#[tokio::test]
async fn processes_that_go_on_forking_are_all_killed() {
    in_each(&ALL, |scene| async move {
        // Each process of the chain starts the next and goes away; nothing but speed keeps it alive.
        let script = "chain() { (sleep 0.001; chain) & }; for i in 1 2 3 4 5 6 7 8; do chain; done; exit 0";
        let end = scene.run(&scene.shell(script), "").await;
        assert_eq!(end.how, HowEnded::Exited(0));
    })
    .await;
}

#[tokio::test]
async fn a_turn_that_takes_too_long_is_ended_even_if_sigterm_is_ignored() {
    in_each(&ALL, |scene| async move {
        let mut profile = scene.shell("trap '' TERM; echo started; while :; do sleep 1000; done");
        profile.turn_timeout = Duration::from_millis(300);
        let end = scene.run(&profile, "").await;
        assert_eq!(end.how, HowEnded::TimedOut);
        assert_eq!(end.stdout, "started\n");
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_turn_may_say_goodbye() {
    in_each(&ALL, |scene| async move {
        let mut profile =
            scene.shell("trap 'echo goodbye; exit 0' TERM; echo x > ready; while :; do sleep 0.01; done");
        profile.kill_grace = Duration::from_secs(10);
        let cancel = CancellationToken::new();
        let ready = scene.workspace.path().join("ws/ready");
        let (end, ()) = tokio::join!(
            run_turn(&profile, &scene.sandbox, &scene.workspace, "", &scene.extra, cancel.clone()),
            async {
                until("the agent is ready", || ready.exists()).await;
                cancel.cancel();
            }
        );
        assert_eq!(end.how, HowEnded::Cancelled);
        assert_eq!(end.stdout, "goodbye\n", "{:?}", scene.isolation);
        assert_eq!(marked(&scene.mark), Vec::<PathBuf>::new());
    })
    .await;
}

#[tokio::test]
async fn a_dropped_turn_is_killed() {
    in_each(&ALL, |scene| async move {
        let profile = scene.shell("setsid sleep 1000 & sleep 1000");
        {
            let turn = run_turn(
                &profile,
                &scene.sandbox,
                &scene.workspace,
                "",
                &scene.extra,
                CancellationToken::new(),
            );
            tokio::select! {
                end = turn => panic!("{end:?}"),
                () = until("the agent runs", || marked(&scene.mark).len() > 2) => {}
            }
        }
        until("nothing is left", || marked(&scene.mark).is_empty()).await;
    })
    .await;
}

#[tokio::test]
async fn an_agent_dies_with_its_supervisor() {
    in_each(&ALL, |scene| async move {
        let profile = scene.shell("echo x > ready; exec sleep 1000");
        let ready = scene.workspace.path().join("ws/ready");
        let (end, ()) = tokio::join!(
            run_turn(&profile, &scene.sandbox, &scene.workspace, "", &scene.extra, CancellationToken::new()),
            async {
                until("the agent runs", || ready.exists()).await;
                // The supervisor is the one parent of marked processes that has no mark itself.
                let agents = marked(&scene.mark);
                let parent = agents.iter().map(|agent| parent(agent)).find(|parent| !agents.contains(parent));
                let pid = parent.unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap();
                let pid = rustix::process::Pid::from_raw(pid).unwrap();
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            }
        );
        assert!(matches!(&end.how, HowEnded::Lost(why) if why.contains("ended early")), "{end:?}");
        until("nothing is left", || marked(&scene.mark).is_empty()).await;
    })
    .await;
}

/// The parent of a process, both as folders in `/proc`.
fn parent(process: &Path) -> PathBuf {
    let status = fs::read_to_string(process.join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    Path::new("/proc").join(line.trim())
}

#[tokio::test]
async fn nothing_outlives_a_service_that_is_killed() {
    for isolation in ALL {
        let mark = format!("mark-{}", uuid::Uuid::new_v4());
        let script = "setsid sleep 1000 & (setsid sh -c 'trap \"\" TERM; sleep 1000 & sleep 1000' &) ; \
                      echo > ready; sleep 1000";
        let mut app = TestApp::builder()
            .config(&format!("isolation = \"{}\"", isolation.name()))
            .config(&agent(script, &format!("env = {{ MARK = \"{mark}\" }}")))
            .start()
            .await;
        let session = app.v3().open("hello").await;
        app.written(&session, "ready").await;
        assert!(marked(&mark).len() > 3, "{isolation:?}");
        app.kill9();
        until("nothing is left", || marked(&mark).is_empty()).await;
    }
}

#[tokio::test]
async fn a_turn_that_is_cancelled_while_it_starts_ends_at_once() {
    in_each(&ALL, |scene| async move {
        let mut profile = scene.shell("sleep 1000");
        profile.kill_grace = Duration::from_secs(300);
        let cancelled = CancellationToken::new();
        cancelled.cancel();
        let end = run_turn(&profile, &scene.sandbox, &scene.workspace, "", &scene.extra, cancelled);
        let end = tokio::time::timeout(PATIENCE, end).await.expect("the agent heard that it is to end");
        assert_eq!(end.how, HowEnded::Cancelled);
    })
    .await;
}
