//! One run of a program: what goes in, what comes out, how its end is told.

use std::fs;

use satchel::sessions::command::{HowEnded, PromptVia};

use super::{ALL, in_each};

#[tokio::test]
async fn a_prompt_comes_on_standard_input_or_as_a_file_and_never_in_the_arguments() {
    in_each(&ALL, |scene| async move {
        let end = scene
            .run(&scene.shell("cat; echo; echo x > \"$HOME/a\"; echo x > \"$TMPDIR/b\""), "the prompt")
            .await;
        assert_eq!((end.how, end.stdout.as_str()), (HowEnded::Exited(0), "the prompt\n"));
        let mut profile = scene.shell("");
        profile.args = [
            "-c",
            "tr '\\0' ' ' < /proc/$$/cmdline | grep -c qu[i]et; cat \"$1\"; cat",
            "sh",
            "{prompt_file}",
        ]
        .map(str::to_owned)
        .to_vec();
        profile.prompt_via = PromptVia::File;
        let end = scene.run(&profile, "the quiet prompt").await;
        assert_eq!(end.stdout, "0\nthe quiet prompt");
        let left = fs::read_dir(scene.workspace.path().join("ws")).unwrap();
        assert!(left.flatten().all(|entry| !entry.file_name().to_string_lossy().contains("prompt")));
    })
    .await;
}

#[tokio::test]
async fn a_flood_is_cut_and_an_unread_prompt_does_not_block() {
    in_each(&ALL, |scene| async move {
        let mut profile =
            scene.shell("head -c 20000000 /dev/zero | tr '\\0' x; head -c 3000000 /dev/zero >&2");
        profile.max_output_bytes = 1000;
        let end = scene.run(&profile, &"prompt ".repeat(200_000)).await;
        assert_eq!(end.how, HowEnded::Exited(0));
        assert!(end.truncated);
        assert!(end.stdout.starts_with(&"x".repeat(1000)));
        assert!(end.stdout.ends_with("[cut after 1000 bytes; the agent printed 20000000]"), "{}", end.stdout);
        let log = |name| fs::metadata(scene.workspace.path().join("log").join(name)).unwrap().len();
        assert!(log("stderr.log") + log("stderr.old.log") <= 1 << 20);
    })
    .await;
}

#[tokio::test]
async fn signals_and_exit_codes_are_told() {
    in_each(&ALL, |scene| async move {
        for (script, how) in [
            ("exit 0", HowEnded::Exited(0)),
            ("exit 127", HowEnded::Exited(127)),
            ("kill -9 $$", HowEnded::Signalled(9)),
            ("kill -15 $$", HowEnded::Signalled(15)),
        ] {
            assert_eq!(
                scene.run(&scene.shell(script), "").await.how,
                how,
                "{script} in {:?}",
                scene.isolation
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_program_that_cannot_run_is_named() {
    in_each(&ALL, |scene| async move {
        let mut profile = scene.shell("");
        profile.program = "no-such-program".to_owned();
        let end = scene.run(&profile, "").await;
        assert!(
            matches!(&end.how, HowEnded::FailedToStart(why) if why.contains("no-such-program")),
            "{end:?}"
        );
        let script = scene.folder.path().join("script");
        fs::write(&script, "#!/no/such/interpreter\n").unwrap();
        fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        profile.program = script.to_str().unwrap().to_owned();
        let end = scene.run(&profile, "").await;
        assert!(matches!(&end.how, HowEnded::FailedToStart(why) if why.contains("No such file")), "{end:?}");
    })
    .await;
}

#[tokio::test]
async fn a_file_over_the_limit_is_not_written() {
    in_each(&ALL, |scene| async move {
        let mut profile =
            scene.shell("head -c 3000 /dev/zero > output/big; stat -c %s output/big; ulimit -c");
        profile.limits.file_bytes = 2048;
        assert_eq!(scene.run(&profile, "").await.stdout, "2048\n0\n");
    })
    .await;
}
