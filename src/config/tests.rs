//! Tests of what a configuration is read as, and of what is refused.

use confique::Config as _;

use super::*;
use crate::sessions::acp::{OptionValue, Permissions};
use crate::sessions::command::PromptVia;
use crate::sessions::sandbox::Network;

fn read(text: &str) -> Result<<Config as confique::Config>::Layer, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    read_file(file.path()).map_err(|error| error.to_string())
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_right_one() {
    let error = read("max_upload_byte = 1").unwrap_err();
    assert_eq!(error, "unknown configuration key `max_upload_byte`; did you mean `max_upload_bytes`?");
    let error = read("[agents.a]\nprogram = \"x\"\ntimeout_seconds = 1").unwrap_err();
    assert_eq!(error, "unknown key of [agents.a] `timeout_seconds`; did you mean `turn_timeout_seconds`?");
    let error = check_environment(["SATCHEL_LISTN".to_owned()].into_iter()).unwrap_err().to_string();
    assert_eq!(error, "unknown environment variable `SATCHEL_LISTN`; did you mean `SATCHEL_LISTEN`?");
}

#[test]
fn every_key_of_a_profile_is_read() {
    let text = "[agents.a]\nprogram = \"/bin/cat\"\nargs = [\"{prompt_file}\"]\nprompt = \"file\"\n\
        env = { A = \"b\" }\npass_env = [\"K\"]\nread_paths = [\"/opt\"]\nnetwork = \"none\"\n\
        turn_timeout_seconds = 5\nkill_grace_seconds = 1\nmax_answer_bytes = 10\noutput_hint = \"\"\n\
        kind = \"acp\"\nmax_file_bytes = 1\nmax_processes = 2\nmode = \"m\"\nstart_timeout_seconds = 3\n\
        config_options = { model = \"x\", fast = true }\npermissions = \"reject\"\nmax_line_bytes = 4\n\
        prefix = [\"env\"]\ncwd = \"/w\"";
    let table: toml::Table = toml::from_str(text).unwrap();
    let keys = table["agents"]["a"].as_table().unwrap();
    assert!(AGENT_KEYS.iter().all(|key| keys.contains_key(*key)), "the test misses a key");
    let layer = read(text).unwrap();
    let agents = layer.agents.unwrap();
    assert_eq!(agents["a"].prompt, Some(PromptVia::File));
    assert_eq!(agents["a"].network, Some(Network::None));
    assert_eq!((agents["a"].kind, agents["a"].permissions), (AgentKind::Acp, Some(Permissions::Reject)));
    let options = &agents["a"].config_options;
    assert_eq!(
        (&options["fast"], &options["model"]),
        (&OptionValue::Flag(true), &OptionValue::Text("x".into()))
    );
}

#[test]
fn keys_of_a_profile_that_do_not_go_with_its_kind_are_refused() {
    for (keys, expected) in [
        ("mode = \"x\"", "`mode` is for agents of `kind = \"acp\"`"),
        ("kind = \"acp\"\nprompt = \"stdin\"", "`prompt` is for agents of `kind = \"command\"`"),
        ("kind = \"acp\"\ncwd = \"/x\"", "`cwd` is only for an agent behind a `prefix`"),
        (
            "kind = \"acp\"\nprefix = [\"docker\"]\nnetwork = \"none\"",
            "behind a `prefix` the service isolates nothing",
        ),
        (
            "kind = \"acp\"\nprefix = [\"bwrap\", \"{workspace}\"]",
            "names `{workspace}` but not `{attachments}`",
        ),
        ("kind = \"acp\"\nprefix = [\"ssh\"]\ncwd = \"x\"", "`cwd` is relative"),
    ] {
        let said = refusal(&format!("[agents.a]\nprogram = \"x\"\n{keys}")).unwrap();
        assert!(said.starts_with("[agents.a]: ") && said.contains(expected), "{said}");
    }
    let good = "kind = \"acp\"\nprefix = [\"docker\", \"-v={workspace}:/w\", \"-v={attachments}:/w/attachments:ro\"]";
    assert_eq!(refusal(&format!("[agents.a]\nprogram = \"x\"\n{good}")), None);
    assert!(refusal("agent_restart_seconds = [1]").unwrap().contains("it takes two"));
}

/// What is said of a configuration that is read and refused, or nothing.
fn refusal(text: &str) -> Option<String> {
    let config = Config::builder().preloaded(read(text).unwrap()).load().unwrap();
    config.check().err().map(|error| error.to_string())
}

#[test]
fn limits_with_which_nothing_could_be_done_are_refused() {
    for name in [
        "max_connections",
        "requests_per_key",
        "uploads_per_key",
        "sessions_per_org",
        "session_slots",
        "max_parked_agents",
        "header_timeout_seconds",
        "body_silence_seconds",
        "max_upload_bytes",
        "max_prompt_bytes",
        "max_queued_messages",
    ] {
        let said = refusal(&format!("{name} = 0")).unwrap();
        assert!(said.starts_with(&format!("`{name}` is 0")), "{said}");
        assert_eq!(refusal(&format!("{name} = 1")), None);
    }
    for name in ["turn_timeout_seconds", "max_answer_bytes"] {
        let agent = format!("[agents.a]\nprogram = \"x\"\n{name} = ");
        let said = refusal(&format!("{agent}0")).unwrap();
        assert!(said.starts_with(&format!("[agents.a]: `{name}` is 0")), "{said}");
        assert_eq!(refusal(&format!("{agent}1")), None);
    }
    assert_eq!(refusal("max_session_attachments = 0\nmax_output_files = 0\nidle_limit_seconds = 0"), None);
}

#[test]
fn a_relative_path_to_read_is_refused() {
    let said = refusal("[agents.a]\nprogram = \"x\"\nread_paths = [\"/opt\", \"tools\"]").unwrap();
    assert!(said.starts_with("[agents.a]: `tools` in `read_paths` is relative"), "{said}");
}

#[test]
fn a_public_address_needs_a_public_url() {
    assert!(refusal("listen = \"0.0.0.0:8080\"").unwrap().contains("needs `public_url`"));
    let public = "listen = \"0.0.0.0:8080\"\npublic_url = \"https://files.example.org/\"";
    assert_eq!(refusal(public), None);
}
