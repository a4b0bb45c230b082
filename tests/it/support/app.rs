//! A service that runs: the real binary on a folder of its own, started, stopped, killed, restarted.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

use super::{PATIENCE, User, eventually};

/// One service and its data folder. Dropping it kills the service and removes the folder.
pub struct TestApp {
    // Before the folder: the service is to be gone when its folder goes.
    process: Option<Process>,
    home: TempDir,
    config: Option<PathBuf>,
    env: Vec<(String, String)>,
    wrapper: Vec<String>,
    address: SocketAddr,
    first_run: Value,
    client: reqwest::Client,
}

/// What is to be known before a service is started.
#[derive(Default)]
pub struct Builder {
    config: String,
    env: Vec<(String, String)>,
    wrapper: Vec<String>,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Cli {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

pub(super) struct Process {
    pub(super) child: Child,
    stdout: Arc<Mutex<String>>,
    pub(super) stderr: Arc<Mutex<String>>,
}

impl TestApp {
    /// A service with the default configuration.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The address under which the service is reached: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// A folder beside the data folder, for what a test writes itself.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The process id of the service (of the program that it runs under, if it does).
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the service runs").child.id()
    }

    /// The id of the organisation that the first start made.
    pub fn org(&self) -> &str {
        self.first_run["org_id"].as_str().unwrap()
    }

    /// The credentials that the first start made, as in `first-run.json`.
    pub fn first_run(&self) -> &Value {
        &self.first_run
    }

    /// A person with a personal v1 key.
    pub fn v1(&self) -> User {
        self.first_user("personal_key")
    }

    /// A script with a v1 service key.
    pub fn v1_service(&self) -> User {
        self.first_user("service_key")
    }

    /// A service user with a v3 key (role `org_admin`).
    pub fn v3(&self) -> User {
        self.first_user("service_user_token")
    }

    /// Somebody without a credential.
    pub fn nobody(&self) -> User {
        self.user(self.org(), None, "")
    }

    /// Somebody with this text for a credential.
    pub fn bearer(&self, secret: &str) -> User {
        self.user(self.org(), Some(secret), "")
    }

    /// Makes a key with `satchel keys create` and hands it to a user; `--org` is the first one's
    /// unless given. For example `&["--kind", "service-user", "--role", "account_member"]`.
    pub async fn key(&self, args: &[&str]) -> User {
        let mut all = vec!["keys", "create", "--json"];
        all.extend(args);
        if !args.contains(&"--org") {
            all.extend(["--org", self.org()]);
        }
        let made = self.cli(&all).await.json();
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        self.user(&text("org_id"), Some(&text("key")), &text("id"))
    }

    /// A key of a kind whose time is over.
    pub async fn expired_key(&self, kind: &str) -> User {
        let user = self.key(&["--kind", kind, "--expires-in-seconds", "1"]).await;
        let path = if user.is_v3() { "/v3/self" } else { "/v1/auth_status" };
        eventually("the key expires", async || (user.get(path).await.status == 401).then_some(())).await;
        user
    }

    /// Makes a second organisation; its id.
    pub async fn other_org(&self) -> String {
        let made = self.cli(&["orgs", "create", "Other", "--json"]).await.json();
        made["org_id"].as_str().unwrap().to_owned()
    }

    /// Revokes a user's key with `satchel keys revoke` (a key made with [`Self::key`]).
    pub async fn revoke(&self, user: &User) {
        self.cli(&["keys", "revoke", &user.key_id]).await.success();
    }

    /// Runs a command of the program beside the service, on the same data folder.
    pub async fn cli(&self, args: &[&str]) -> Cli {
        let mut all = args.to_vec();
        let data = self.data();
        all.extend(["--data", data.to_str().unwrap()]);
        run(&all, &[]).await
    }

    /// What the service has written to standard error so far: its log.
    pub fn log(&self) -> String {
        self.process.as_ref().map(|process| process.stderr.lock().unwrap().clone()).unwrap_or_default()
    }

    /// What the service has written to standard output so far.
    pub fn stdout(&self) -> String {
        self.process.as_ref().map(|process| process.stdout.lock().unwrap().clone()).unwrap_or_default()
    }

    /// Asks the service to stop (SIGTERM) and waits until it has.
    pub async fn terminate(&mut self) -> ExitStatus {
        let pid = i32::try_from(self.pid()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let process = self.process.as_mut().unwrap();
        let status = eventually("the service stops", async || process.child.try_wait().unwrap()).await;
        self.process = None;
        status
    }

    /// Kills the service (SIGKILL).
    pub fn kill9(&mut self) {
        self.process = None;
    }

    /// Starts the service again, on the same address.
    pub async fn start_again(&mut self) {
        assert!(self.process.is_none(), "the service runs already");
        let (process, address) = self.spawn(self.address);
        assert_eq!(address, self.address);
        self.process = Some(process);
        self.wait_until_ready().await;
    }

    /// Writes the configuration anew, for the next start.
    pub fn configure(&mut self, toml: &str) {
        let path = self.home.path().join("satchel.toml");
        std::fs::write(&path, toml).unwrap();
        self.config = Some(path);
    }

    /// Runs the service under another program from the next start on, as [`Builder::under`].
    pub fn run_under(&mut self, words: &[&str]) {
        self.wrapper = words.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Stops the service in order and starts it again.
    pub async fn restart(&mut self) {
        assert!(self.terminate().await.success(), "the service did not stop well");
        self.start_again().await;
    }

    fn spawn(&self, listen: SocketAddr) -> (Process, SocketAddr) {
        let (process, url) = self.serve(&["--listen", &listen.to_string()], "listening on http://");
        (process, url.parse().unwrap())
    }

    /// Starts `satchel serve` on the data folder and waits for a line that it prints; what comes after
    /// `line` in it.
    pub(super) fn serve(&self, args: &[&str], line: &str) -> (Process, String) {
        let mut words = self.wrapper.clone();
        words.push(env!("CARGO_BIN_EXE_satchel").to_owned());
        let mut command = clean(Command::new(&words[0]));
        command.args(&words[1..]).arg("serve").args(args).arg("--data").arg(self.data());
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (lines, heard) = mpsc::channel();
        let stdout = collect(child.stdout.take().unwrap(), Some(lines));
        let stderr = collect(child.stderr.take().unwrap(), None);
        let process = Process { child, stdout, stderr };
        let until = Instant::now() + PATIENCE;
        loop {
            match heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(heard) => {
                    if let Some(rest) = heard.strip_prefix(line) {
                        return (process, rest.to_owned());
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("the service did not start in time"),
                Err(RecvTimeoutError::Disconnected) => {
                    let mut child = process;
                    let status = child.child.wait();
                    panic!("the service did not start: {status:?}\n{}", child.stderr.lock().unwrap());
                }
            }
        }
    }

    async fn wait_until_ready(&self) {
        let nobody = self.nobody();
        eventually("the service is ready", async || {
            let answer = nobody.request("GET", "/health/ready").send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    fn first_user(&self, key: &str) -> User {
        self.user(self.org(), Some(self.first_run[key].as_str().unwrap()), "")
    }

    fn user(&self, org: &str, key: Option<&str>, key_id: &str) -> User {
        User::new(self.client.clone(), self.address, org, key, key_id)
    }
}

impl Builder {
    /// The text of the configuration file.
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self.config.push('\n');
        self
    }

    /// A variable in the environment of the service.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs the service under another program, such as `strace -f`.
    pub fn under(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Starts the service and waits until it is ready.
    pub async fn start(self) -> TestApp {
        let home = tempfile::tempdir().unwrap();
        let config = (!self.config.is_empty()).then(|| {
            let path = home.path().join("satchel.toml");
            std::fs::write(&path, &self.config).unwrap();
            path
        });
        let client = reqwest::Client::builder()
            .no_proxy()
            // A connection that a killed service left behind must not meet the next request.
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            .build()
            .unwrap();
        let mut app = TestApp {
            home,
            config,
            env: self.env,
            wrapper: self.wrapper,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            process: None,
            first_run: Value::Null,
            client,
        };
        let (process, address) = app.spawn(app.address);
        app.process = Some(process);
        app.address = address;
        let written = std::fs::read_to_string(app.data().join("first-run.json")).unwrap();
        app.first_run = serde_json::from_str(&written).unwrap();
        app.wait_until_ready().await;
        app
    }
}

impl Cli {
    /// The command, which must have ended well.
    #[track_caller]
    pub fn success(self) -> Self {
        assert!(self.status.success(), "{self:#?}");
        self
    }

    /// What the command, which must have ended well, printed as JSON.
    #[track_caller]
    pub fn json(self) -> Value {
        serde_json::from_str(&self.success().stdout).unwrap()
    }
}

/// Runs a command of the program with no more than these words and variables.
pub async fn run(args: &[&str], env: &[(&str, &str)]) -> Cli {
    let mut command = clean(Command::new(env!("CARGO_BIN_EXE_satchel")));
    command.args(args).envs(env.iter().copied()).stdin(Stdio::null());
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("the command ends").unwrap();
    Cli {
        status: output.status,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A command whose outcome no variable of the person who runs the tests can change.
pub fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("SATCHEL_")) {
            command.env_remove(name);
        }
    }
    command
}

/// Reads a stream to its end in a thread of its own, so that the writer never waits.
fn collect(stream: impl Read + Send + 'static, lines: Option<mpsc::Sender<String>>) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&text);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            let mut kept = kept.lock().unwrap();
            kept.push_str(&line);
            kept.push('\n');
            if let Some(lines) = &lines {
                let _ = lines.send(line);
            }
        }
    });
    text
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
            eprintln!("--- log of the service\n{log}---");
        }
    }
}
