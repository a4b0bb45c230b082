//! What the client commands say when something is not right, and when there is nothing to say.

use super::*;

#[tokio::test]
async fn a_service_that_is_away_and_a_wrong_address_are_said_in_one_line_with_what_to_look_at() {
    let app = TestApp::with_agent("", ECHO).await;
    let mut shell = Shell::of(&app, &app.v1());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (url, said) in [
        (
            format!("http://127.0.0.1:{port}"),
            "did not answer: Connection refused (os error 111); does it run",
        ),
        (
            format!("{}/elsewhere", app.url()),
            "the answer is none of this service; is the address right (--url)?",
        ),
    ] {
        shell.url = url;
        let told = shell.run(&["list"]).await.code(1);
        assert!(told.err.contains(said) && told.err.lines().count() == 1, "{}", told.err);
    }
    for wrong in ["nonsense", "ftp://host", "http://ada:secret@host"] {
        let told = shell.run(&["list", "--url", wrong]).await.code(2);
        assert!(told.err.contains("an address begins with http:// or https://"), "{}", told.err);
    }
}

#[tokio::test]
async fn options_that_would_have_no_effect_are_refused() {
    let app = TestApp::with_agent("", ECHO).await;
    let shell = Shell::of(&app, &app.v1());
    let told = shell.run(&["list", "--org", app.org()]).await.code(1);
    assert!(told.err.contains("--org is for a cog_ key"), "{}", told.err);
    let told = shell.run(&["list", "--org", "mine"]).await.code(2);
    assert!(told.err.contains("`mine` is not an id of the form `org-`"), "{}", told.err);
    let id = app.v1().open("Hello.").await.id;
    let told = shell.run(&["show", &id, "--output", "results"]).await.code(1);
    assert!(told.err.contains("add --download"), "{}", told.err);
    let told = shell.run(&["run", "--prompt", " "]).await.code(1);
    assert!(told.err.contains("the prompt is empty"), "{}", told.err);
    let told = shell.run(&["run"]).await.code(2);
    assert!(told.err.contains("<--prompt <TEXT>|--prompt-file <FILE>>"), "{}", told.err);
    assert_eq!(app.count("SELECT COUNT(*) FROM sessions").await, 1);
}

#[tokio::test]
async fn an_empty_list_is_said_beside_the_output_and_a_row_ends_with_its_last_word() {
    let app = TestApp::with_agent("", ECHO).await;
    for user in [app.v1(), app.v3()] {
        let shell = Shell::of(&app, &user);
        let told = shell.run(&["list", "--tag", "none"]).await.code(0);
        assert_eq!((told.out.as_str(), told.err.as_str()), ("", "no sessions\n"));
        let session = user.open("Hello.").await;
        session.until_waiting().await;
        let told = shell.run(&["list"]).await.code(0);
        let row = told.out.lines().find(|row| row.starts_with(&session.id)).unwrap();
        let time = row.rsplit("  ").next().unwrap();
        assert!(time.len() == 20 && time.ends_with('Z'), "{row:?}");
    }
}

#[tokio::test]
async fn a_session_is_shown_and_downloaded_as_one_json_with_what_was_saved_in_it() {
    let app = TestApp::with_agent("", "echo 1 > output/one.txt").await;
    let user = app.v3();
    let session = user.open("Go.").await;
    session.until_waiting().await;
    let told = Shell::of(&app, &user).run(&["show", &session.id, "--download", "--json"]).await.code(0);
    let shown: Value = serde_json::from_str(&told.out).unwrap_or_else(|_| panic!("{}", told.out));
    let saved = &shown["saved"][0];
    assert_eq!((&saved["file"], &saved["path"]), (&json!("./output/one.txt"), &json!("output/one.txt")));
}

#[tokio::test]
async fn what_cannot_go_well_is_found_before_anything_is_sent() {
    let app = TestApp::with_agent("", ECHO).await;
    let shell = Shell::of(&app, &app.v3());
    shell.write("file", "");
    let told = shell.run(&["run", "--prompt", "Hello.", "--output", "file/results"]).await.code(1);
    assert!(told.err.contains("file/results cannot be the folder for what comes back"), "{}", told.err);
    let told = shell.run(&["run", "--prompt", "Hello.", "--attach", "/proc/cpuinfo"]).await.code(1);
    assert!(told.err.contains("/proc/cpuinfo says that it has 0 bytes, and has more"), "{}", told.err);
    assert_eq!(app.count("SELECT COUNT(*) FROM sessions").await, 0);
    shell.run(&["run", "--prompt", "Hello.", "--attach", "file", "--title", "one\nrow"]).await.code(0);
    let told = shell.run(&["list"]).await.code(0);
    assert!(told.out.lines().count() == 1 && told.out.ends_with("one row\n"), "{}", told.out);
}
