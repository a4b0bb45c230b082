//! The command line: first start, keys, organisations, prompts, and what is refused with a reason.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::app::run;
use crate::support::*;

const SECRETS: [&str; 3] = ["personal_key", "service_key", "service_user_token"];

#[tokio::test]
async fn the_first_start_writes_three_credentials_for_the_owner_alone_and_prints_none() {
    let app = TestApp::start().await;
    let path = app.data().join("first-run.json");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(app.data()).unwrap().permissions().mode() & 0o777, 0o700);
    let made = app.first_run();
    for (name, prefix) in SECRETS.into_iter().zip(["apk_user_", "apk_", "cog_"]) {
        let secret = made[name].as_str().unwrap();
        assert!(secret.starts_with(prefix), "{name}");
        assert!(!app.stdout().contains(secret) && !app.log().contains(secret), "{name} is printed");
    }
    assert!(app.stdout().contains(path.to_str().unwrap()), "{}", app.stdout());
    assert!(app.stdout().contains(&format!("data in {}", app.data().display())), "{}", app.stdout());
}

#[tokio::test]
async fn a_second_start_makes_no_further_credentials() {
    let mut app = TestApp::start().await;
    let before = app.count("SELECT COUNT(*) FROM api_keys").await;
    app.restart().await;
    assert_eq!(app.count("SELECT COUNT(*) FROM api_keys").await, before);
    app.v1().get("/v1/auth_status").await.expect(200);
}

#[tokio::test]
async fn init_sets_an_empty_folder_up_once_and_prints_json() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let args = ["init", "--data", data.to_str().unwrap(), "--json"];
    let made = run(&args, &[]).await.json();
    assert!(made["org_id"].as_str().unwrap().starts_with("org-"));
    for name in SECRETS {
        assert!(made[name].is_string(), "{name}");
    }
    let written = std::fs::read_to_string(data.join("first-run.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), made);

    let again = run(&args, &[]).await;
    assert!(!again.status.success());
    assert!(again.stderr.contains("is set up already"), "{}", again.stderr);
}

#[tokio::test]
async fn keys_of_every_kind_are_made_listed_and_revoked_beside_the_running_server() {
    let app = TestApp::start().await;
    for (kind, wire, prefix, role) in [
        ("personal", "personal", "apk_user_", None),
        ("service", "service", "apk_", None),
        ("service-user", "service_user", "cog_", None),
        ("service_user", "service_user", "cog_", Some("org_admin")),
        ("service-user", "service_user", "cog_", Some("account_admin")),
    ] {
        let mut args = vec!["keys", "create", "--kind", kind, "--name", "a name", "--json"];
        args.extend(role.iter().flat_map(|role| ["--role", role]));
        let made = app.cli(&args).await.json();
        let id = made["id"].as_str().unwrap();
        let secret = made["key"].as_str().unwrap();
        assert!(secret.starts_with(prefix), "{kind}");
        // Whoever has a role in the enterprise belongs to no organisation.
        let org = if role == Some("account_admin") { json!(null) } else { json!(app.org()) };
        assert_eq!((&made["kind"], &made["org_id"]), (&json!(wire), &org));
        let path = if prefix == "cog_" { "/v3/self" } else { "/v1/auth_status" };
        app.bearer(secret).get(path).await.expect(200);

        let listed = async || {
            let list = app.cli(&["keys", "list", "--json"]).await.success().stdout;
            assert!(!list.contains(secret), "the list shows a secret");
            let keys: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
            keys.into_iter().find(|key| key["id"] == id).unwrap()
        };
        let key = listed().await;
        assert_eq!((&key["kind"], &key["name"]), (&json!(wire), &json!("a name")));
        assert_eq!((&key["status"], &key["revoked_at"]), (&json!("active"), &json!(null)));
        let revoked = app.cli(&["keys", "revoke", id, "--json"]).await.json();
        assert_eq!(revoked, json!({ "id": id, "revoked": true }));
        assert_eq!(listed().await["status"], "revoked");
    }
}

#[tokio::test]
async fn a_v1_key_takes_no_role_and_a_wrong_order_makes_nothing() {
    let app = TestApp::start().await;
    let before = app.count("SELECT COUNT(*) FROM api_keys").await;
    for (args, said) in [
        (&["--kind", "personal", "--role", "org_admin"][..], "takes no role"),
        (&["--kind", "service-user", "--role", "king"], "is no role; the roles are account_admin"),
        (&["--kind", "personal", "--role", "account_admin"], "takes no role"),
        (&["--kind", "personal", "--expires-at", "tomorrow"], "RFC 3339"),
        (&["--kind", "personal", "--expires-at", "2020-01-01T00:00:00Z"], "expired already, at 2020-01-01"),
        (&["--kind", "personal", "--expires-in-seconds", "0"], "expired already"),
        (&["--kind", "personal", "--org", "org-00000000000040008000000000000000"], "no organisation"),
        (&["--kind", "master"], "possible values"),
    ] {
        let refused = app.cli(&[&["keys", "create"], args].concat()).await;
        assert!(!refused.status.success() && refused.stderr.contains(said), "{args:?}: {}", refused.stderr);
    }
    let refused = app.cli(&["keys", "revoke", "key-none"]).await;
    assert!(!refused.status.success() && refused.stderr.contains("no active key"), "{}", refused.stderr);
    assert_eq!(app.count("SELECT COUNT(*) FROM api_keys").await, before);
}

#[tokio::test]
async fn with_several_organisations_a_key_names_its_own() {
    let app = TestApp::start().await;
    let made = app.cli(&["orgs", "create", "Second", "--json"]).await.json();
    let orgs = app.cli(&["orgs", "list", "--json"]).await.json();
    let ids: Vec<_> = orgs.as_array().unwrap().iter().map(|org| org["org_id"].as_str().unwrap()).collect();
    assert_eq!(ids, [app.org(), made["org_id"].as_str().unwrap()]);

    let of_no_org =
        |kind, role: &[&'static str]| [&["keys", "create", "--kind", kind, "--json"], role].concat();
    for args in [
        of_no_org("personal", &[]),
        of_no_org("service-user", &[]),
        of_no_org("service-user", &["--role", "org_admin"]),
    ] {
        let refused = app.cli(&args).await;
        assert!(!refused.status.success() && refused.stderr.contains("--org"), "{}", refused.stderr);
    }
    let made = app.cli(&of_no_org("service-user", &["--role", "account_admin"])).await.json();
    assert_eq!(made["org_id"], json!(null));
    let admin = app.bearer(made["key"].as_str().unwrap());
    for org in &ids {
        admin.get(&format!("/v3/organizations/{org}/sessions")).await.expect(200);
    }
    let user = app.key(&["--kind", "personal", "--org", ids[1]]).await;
    assert_eq!(user.get("/v1/auth_status").await.json()["org_id"], ids[1]);
}

#[tokio::test]
async fn an_organisation_without_a_name_is_refused() {
    let app = TestApp::start().await;
    for name in ["", " \t"] {
        let refused = app.cli(&["orgs", "create", name]).await;
        assert!(!refused.status.success() && refused.stderr.contains("needs a name"), "{}", refused.stderr);
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM organizations").await, 1);
}

#[tokio::test]
async fn check_prompt_says_of_every_line_what_will_happen() {
    let app = TestApp::start().await;
    let url = app.v1().upload("data.csv", "a,b\n").await.url;
    let prompt = app.home().join("prompt.txt");
    std::fs::write(&prompt, format!("Read this.\nATTACHMENT:\"{url}\"\nATTACHMENT: \"{url}\"\n")).unwrap();
    let (prompt, service) = (prompt.to_str().unwrap(), app.url());
    let args = ["check-prompt", prompt, "--public-url", &service];

    let told = app.cli(&args).await;
    assert_eq!(told.status.code(), Some(1), "{told:#?}");
    assert!(told.stdout.contains("ok    line 2, column 1: names the file"), "{}", told.stdout);
    assert!(told.stdout.contains("WRONG line 3, column"), "{}", told.stdout);
    assert!(told.stdout.contains(&format!("write: ATTACHMENT:\"{url}\"")), "{}", told.stdout);

    let told = app.cli(&[&args[..], &["--json"]].concat()).await;
    let told: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(told["ok"], false);
    let ok: Vec<_> = told["lines"].as_array().unwrap().iter().map(|line| &line["ok"]).collect();
    assert_eq!(ok, [&json!(true), &json!(false)]);

    std::fs::write(prompt, format!("ATTACHMENT:\"{url}\"\n")).unwrap();
    app.cli(&args).await.success();

    let elsewhere = ["check-prompt", prompt, "--public-url", "https://elsewhere.example"];
    let told = app.cli(&elsewhere).await;
    assert_eq!(told.status.code(), Some(1), "{told:#?}");
    let said = "the service was taken to be https://elsewhere.example; --public-url names another";
    assert!(told.stderr.contains(said), "{}", told.stderr);
}

#[tokio::test]
async fn a_secret_key_is_not_made_in_a_data_folder() {
    let app = TestApp::start().await;
    let path = app.data().join("blobs").join("secret.key");
    let refused = run(&["secret-key", path.to_str().unwrap()], &[]).await;
    assert!(!refused.status.success() && !path.exists());
    assert!(refused.stderr.contains("lies in the data folder"), "{}", refused.stderr);
}

#[tokio::test]
async fn lists_for_people_are_aligned() {
    let app = TestApp::start().await;
    app.key(&["--kind", "service-user", "--role", "account_admin", "--name", "the name"]).await;
    app.key(&["--kind", "personal", "--name", "the name"]).await;
    let listed = app.cli(&["keys", "list"]).await.success().stdout;
    let columns: Vec<_> = listed.lines().filter_map(|row| row.find("the name")).collect();
    assert!(columns.len() == 2 && columns[0] == columns[1], "{listed}");

    let config = app.home().join("agents.toml");
    std::fs::write(&config, "default_agent = \"a\"\n[agents.a]\nprogram = \"/bin/cat\"\n[agents.longer]\nkind = \"acp\"\nprogram = \"/bin/cat\"\n").unwrap();
    let listed = app.cli(&["agents", "list", "--config", config.to_str().unwrap()]).await.success().stdout;
    let columns: Vec<_> = listed.lines().filter_map(|row| row.find("/bin/cat")).collect();
    assert!(columns.len() == 2 && columns[0] == columns[1], "{listed}");
}

#[tokio::test]
async fn an_agent_that_no_configuration_names_is_said_so() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let refused = run(&["agents", "check", "claude", "--data", data.to_str().unwrap()], &[]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        refused.stderr.contains("the configuration names no agents; --config gives another file"),
        "{}",
        refused.stderr
    );
}

#[tokio::test]
async fn what_is_misspelt_in_the_configuration_is_refused_with_the_nearest_right_key() {
    let home = tempfile::tempdir().unwrap();
    let (config, data) = (home.path().join("satchel.toml"), home.path().join("data"));
    std::fs::write(&config, "max_uplod_bytes = 5\n").unwrap();
    let args = ["serve", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let refused = run(&[&args[..], &["--config", config.to_str().unwrap()]].concat(), &[]).await;
    assert_eq!(refused.status.code(), Some(1));
    let said = "unknown configuration key `max_uplod_bytes`; did you mean `max_upload_bytes`?";
    assert!(refused.stderr.contains(said), "{}", refused.stderr);

    let refused = run(&args, &[("SATCHEL_LISTN", "127.0.0.1:0")]).await;
    assert!(refused.stderr.contains("did you mean `SATCHEL_LISTEN`?"), "{}", refused.stderr);
    assert!(!data.exists(), "a refused start made the data folder");
}

#[tokio::test]
async fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let app = TestApp::builder()
        .config("public_url = \"https://file.example\"\nmax_upload_bytes = 10\nuploads_per_key = 7")
        .env("SATCHEL_MAX_UPLOAD_BYTES", "20")
        .env("SATCHEL_LISTEN", "127.0.0.1:1")
        .start()
        .await;
    assert_ne!(app.address().port(), 1, "--listen wins");
    let answer = Answer::to(app.nobody().request("OPTIONS", "/v1/attachments")).await;
    assert_eq!(answer.header("upload-limit"), "max-size=20");
    let uploaded = app.v1().upload("a", "a").await;
    assert!(uploaded.url.starts_with("https://file.example/attachments/"), "{}", uploaded.url);
}

#[tokio::test]
async fn the_host_header_never_makes_a_url() {
    let app = TestApp::start().await;
    let ada = app.v1();
    let part = reqwest::multipart::Part::text("x").file_name("x.txt");
    let request = ada.request("POST", "/v1/attachments").header("Host", "evil.example");
    let request = request.header("X-Forwarded-Host", "evil.example");
    let answer = Answer::to(request.multipart(reqwest::multipart::Form::new().part("file", part))).await;
    assert!(answer.expect(200).json().as_str().unwrap().starts_with(&app.url()), "{}", answer.text());
}

#[tokio::test]
async fn listening_publicly_without_a_public_url_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let args = ["serve", "--data", data.to_str().unwrap(), "--listen", "0.0.0.0:0"];
    let refused = run(&args, &[]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains("needs `public_url`"), "{}", refused.stderr);
}

#[tokio::test]
async fn paths_for_agents_to_read_are_judged_at_the_start() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let data = at("data");
    std::fs::create_dir_all(at("data/sessions")).unwrap();
    std::os::unix::fs::symlink(home.path(), at("data/../link")).unwrap();
    let config = at("satchel.toml");
    for (path, said) in [
        ("/", "holds the data folder"),
        (&at("link"), "holds the data folder"),
        (&data, "holds the data folder"),
        (&at("data/sessions"), "lies in the data folder"),
        (&at("gone"), "cannot be read"),
        ("tools", "is relative"),
    ] {
        let text = format!("[agents.a]\nprogram = \"/bin/cat\"\nread_paths = [\"/usr\", \"{path}\"]");
        std::fs::write(&config, text).unwrap();
        let refused =
            run(&["serve", "--data", &data, "--config", &config, "--listen", "127.0.0.1:0"], &[]).await;
        assert_eq!(refused.status.code(), Some(1), "{path}");
        let named = format!("[agents.a]: `{path}` in `read_paths` {said}");
        assert!(refused.stderr.contains(&named), "{path}: {}", refused.stderr);
    }
}

#[tokio::test]
async fn a_second_server_on_the_same_folder_is_refused_and_the_first_goes_on() {
    let app = TestApp::start().await;
    let refused = app.cli(&["serve", "--listen", "127.0.0.1:0"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains("another server runs on the data folder"), "{}", refused.stderr);
    app.v1().upload("data.csv", "x").await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_refused_before_anything_else_is_said() {
    let app = TestApp::start().await;
    let other = app.home().join("other");
    let listen = app.address().to_string();
    let refused = run(&["serve", "--listen", &listen, "--data", other.to_str().unwrap()], &[]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains(&format!("cannot listen on {listen}")), "{}", refused.stderr);
    assert!(!refused.stdout.contains("listening"), "{}", refused.stdout);
}

#[tokio::test]
async fn the_health_endpoints_want_no_credential() {
    let app = TestApp::start().await;
    assert_eq!(app.nobody().get("/health/live").await.expect(200).json(), json!({ "status": "ok" }));
    let ready = app.nobody().get("/health/ready").await.expect(200).json();
    assert_eq!(ready, json!({ "status": "ok", "database": true, "accepts_uploads": true }));
}

#[tokio::test]
async fn metrics_have_a_listener_of_their_own() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let app = TestApp::builder().config(&format!("metrics_listen = \"127.0.0.1:{port}\"")).start().await;
    app.v1().upload("data.csv", "12345").await;
    let answer = app.nobody().get(&format!("http://127.0.0.1:{port}/metrics")).await;
    assert!(answer.expect(200).text().contains("attachments_received_bytes_total 5"), "{}", answer.text());
    app.nobody().get("/metrics").await.expect(404);
}

#[tokio::test]
async fn the_example_configuration_is_the_one_in_the_repository() {
    let printed = run(&["example-config"], &[]).await.success().stdout;
    let kept = include_str!("../../satchel.example.toml");
    assert_eq!(printed, kept, "write it anew: satchel example-config > satchel.example.toml");
}
