//! What an agent can do to the service, to other sessions and to the machine: nothing that lasts.
//!
//! Each test starts real programs under the real supervisor, in every isolation that works here.
//! Whether a process is left is told by a variable that only this test's agents have in their
//! environment.

mod ends;
mod escape;
mod turns;

use std::fs;
use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use satchel::sessions::command::{CommandProfile, TurnEnd, run_turn};
use satchel::sessions::delivery::Wanted;
use satchel::sessions::environment::Environment;
use satchel::sessions::process::Supervisor;
use satchel::sessions::sandbox::{Isolation, Network, Sandbox};
use satchel::sessions::workspace::Workspace;
use tokio_util::sync::CancellationToken;

const DATA: &[u8] = b"a,b\n1,2\n";
const BOTH: [Isolation; 2] = [Isolation::Bubblewrap, Isolation::Landlock];
const ALL: [Isolation; 3] = [Isolation::Bubblewrap, Isolation::Landlock, Isolation::None];

/// A folder of a service with one session in it, and a mark by which its agents' processes are found.
struct Scene {
    folder: tempfile::TempDir,
    isolation: Isolation,
    sandbox: Sandbox,
    workspace: Workspace,
    mark: String,
    /// Variables of the session.
    extra: Environment,
}

impl Scene {
    async fn set(isolation: Isolation, network: Network) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let supervisor = Supervisor::at(env!("CARGO_BIN_EXE_satchel").into());
        let sandbox = Sandbox::probe(Some(isolation), network, folder.path(), &supervisor).await.unwrap();
        let workspace = Workspace::open(&folder.path().join("one")).unwrap();
        let wanted = Wanted {
            attachment_id: "a1".to_owned(),
            name: "data.csv".to_owned(),
            size: DATA.len() as u64,
            sha256: crate::support::sha256(DATA),
        };
        workspace.deliver(&wanted, DATA).await.unwrap();
        let mark = format!("mark-{}", uuid::Uuid::new_v4());
        Self { folder, isolation, sandbox, workspace, mark, extra: Environment::default() }
    }

    fn shell(&self, script: &str) -> CommandProfile {
        let mut profile = CommandProfile::new("test", "sh");
        profile.args = vec!["-c".to_owned(), script.to_owned()];
        profile.env.insert("MARK".to_owned(), self.mark.clone());
        profile.kill_grace = Duration::from_millis(300);
        profile
    }

    async fn run(&self, profile: &CommandProfile, prompt: &str) -> TurnEnd {
        let end =
            run_turn(profile, &self.sandbox, &self.workspace, prompt, &self.extra, CancellationToken::new())
                .await;
        assert_eq!(marked(&self.mark), Vec::<PathBuf>::new(), "processes are left in {:?}", self.isolation);
        end
    }
}

/// The living processes that have the mark in their environment.
pub fn marked(mark: &str) -> Vec<PathBuf> {
    fs::read_dir("/proc")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let environ = fs::read(path.join("environ")).unwrap_or_default();
            environ.windows(mark.len()).any(|window| window == mark.as_bytes())
        })
        .collect()
}

/// Polls until `condition` holds, at most 20 s.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn in_each<F: Future<Output = ()>>(isolations: &[Isolation], story: impl Fn(Scene) -> F) {
    for &isolation in isolations {
        story(Scene::set(isolation, Network::Host).await).await;
    }
}
