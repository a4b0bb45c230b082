//! Assembly: from a configuration to a service that runs.
//!
//! Everything is opened and checked before the service listens: the folder's lock, the catalogue,
//! the store, the agents' containment. Rooms do not know each other's construction; this file does.

mod agents;

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use axum::extract::{DefaultBodyLimit, FromRef};
use axum::{Router, middleware};
use rustix::fs::FlockOperation;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::attachments::{self, Attachments, ServiceUrls};
use crate::blobs::Blobs;
use crate::config::{Config, Role};
use crate::db::Db;
use crate::documents;
use crate::http::health::Vitals;
use crate::http::problem::ApiError;
use crate::http::{health, problem, serve};
use crate::identity::{self, Identity};
use crate::sessions::process::Supervisor;
use crate::sessions::sandbox::{Isolation, Network, Sandbox};
use crate::sessions::secrets::SecretKey;
use crate::sessions::{self, AgentProfile, Sessions};
use crate::telemetry::{self, Metrics};

use agents::check_read_paths;
pub use agents::{EXAMPLE_AGENT, check_agent, profiles};

/// The folder of everything that is kept.
#[derive(Debug, Clone)]
pub struct DataFolder(PathBuf);

impl DataFolder {
    /// Opens the folder; makes it, for its owner alone, where it is missing.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let made = fs::DirBuilder::new().mode(0o700).create(path);
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error)
                    .with_context(|| format!("the data folder {} cannot be made", path.display()));
            }
            _ => {}
        }
        let path = path
            .canonicalize()
            .with_context(|| format!("the data folder {} cannot be opened", path.display()))?;
        anyhow::ensure!(path.is_dir(), "the data folder {} is no folder", path.display());
        if let Some(parent) = path.parent() {
            File::open(parent)
                .and_then(|parent| parent.sync_all())
                .context("the data folder cannot be synced")?;
        }
        Ok(Self(path))
    }

    /// Opens the folder of a service that was set up; a mistyped name makes no new one.
    pub fn open_existing(path: &Path) -> anyhow::Result<Self> {
        anyhow::ensure!(
            path.join("satchel.db").exists(),
            "{} holds no service: name its data folder with --data, or set one up with `satchel init`",
            path.display()
        );
        Self::open(path)
    }

    /// A path in the folder.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Takes a lock of the folder; `None` while another process holds it and `wait` is not wanted.
    pub fn lock(&self, name: &str, wait: bool) -> anyhow::Result<Option<File>> {
        let path = self.join(name);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("{} cannot be opened", path.display()))?;
        let operation =
            if wait { FlockOperation::LockExclusive } else { FlockOperation::NonBlockingLockExclusive };
        match rustix::fs::flock(&file, operation) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{} cannot be locked", path.display())),
        }
    }

    /// The folder's catalogue.
    pub async fn open_db(&self) -> anyhow::Result<Db> {
        let path = self.join("satchel.db");
        // Processes that start together bring the tables up to date one after the other.
        let _alone = self.lock("schema.lock", true)?;
        Db::open_sqlite(&path)
            .await
            .with_context(|| format!("the database {} cannot be opened", path.display()))
    }
}

/// A service, opened and checked, with its listener bound.
#[derive(Debug)]
pub struct App {
    role: Role,
    listener: Option<TcpListener>,
    metrics_listener: Option<TcpListener>,
    public_url: String,
    state: AppState,
    settings: serve::Settings,
    metrics: Arc<Metrics>,
    db: Db,
    _lock: Option<File>,
}

/// What the endpoints work with.
#[derive(Debug, Clone, FromRef)]
struct AppState {
    identity: Arc<Identity>,
    attachments: Arc<Attachments>,
    sessions: Arc<Sessions>,
    vitals: Vitals,
}

impl App {
    /// Opens and checks everything, then binds.
    pub async fn open(config: &Config, folder: &DataFolder) -> anyhow::Result<Self> {
        let role = config.role;
        let lock = if role.listens() { folder.lock("server.lock", false)? } else { None };
        if role.listens() && lock.is_none() {
            bail!(
                "another server runs on the data folder {}: stop it, name another folder with --data, or run a \
                 worker beside it with --role worker",
                folder.path().display()
            );
        }
        let db = folder.open_db().await?;
        if !role.listens() && !identity::standing(&mut *db.read().await?).await? {
            bail!(
                "the data folder {} is not set up: start the service on it, or run `satchel init`",
                folder.path().display()
            );
        }
        let blobs = Blobs::open(&folder.join("blobs"), config.min_free_bytes)
            .with_context(|| format!("the store in {} cannot be opened", folder.join("blobs").display()))?;
        let blobs = Arc::new(blobs);
        let (profiles, default_agent) = profiles(config)?;
        check_read_paths(config, folder)?;
        let secret_key = secret_key(config, &profiles, folder)?;
        let sessions_dir = folder.join("sessions");
        fs::DirBuilder::new().mode(0o700).recursive(true).create(&sessions_dir)?;
        let sandbox = probe(config, &profiles, &sessions_dir).await?;

        let listener = if role.listens() { Some(bind(config.listen).await?) } else { None };
        let metrics_listener = match config.metrics_listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let address = listener.as_ref().map_or(Ok(config.listen), TcpListener::local_addr)?;
        let public_url = config.public_url(address);
        let urls = ServiceUrls::new(&public_url, &other_urls(config, address))?;

        let identity =
            Arc::new(Identity::new(db.clone(), config.requests_per_key, config.trusted_proxies.clone()));
        let attachments = Arc::new(Attachments::new(
            db.clone(),
            Arc::clone(&blobs),
            urls,
            attachments::Settings {
                max_upload_bytes: config.max_upload_bytes,
                body_silence: Duration::from_secs(config.body_silence_seconds),
                uploads_per_key: config.uploads_per_key,
            },
        ));
        let settings = session_settings(config, profiles, &default_agent, sandbox, sessions_dir, &public_url)
            .with_context(|| format!("there is no agent `{default_agent}`"))?;
        let settings = sessions::Settings { secret_key, ..settings };
        let sessions = Arc::new(Sessions::new(db.clone(), Arc::clone(&attachments), settings));
        let kept = attachments.metrics().clone();
        let metrics = Metrics::new(|registry| {
            registry.register("attachments_received", "Attachments made durable", kept.received);
            registry.register("attachments_received_bytes", "Bytes of these", kept.received_bytes);
            registry.register("attachment_commits", "Transactions that they took", kept.commits);
        });
        let vitals = Vitals { db: db.clone(), blobs, broken: attachments.broken().clone() };
        Ok(Self {
            role,
            listener,
            metrics_listener,
            public_url,
            state: AppState { identity, attachments, sessions, vitals },
            settings: serve::Settings {
                header_timeout: Duration::from_secs(config.header_timeout_seconds),
                max_connections: config.max_connections,
                drain: Duration::from_secs(config.drain_seconds),
            },
            metrics,
            db,
            _lock: lock,
        })
    }

    /// The address listened on; none for a worker.
    pub fn address(&self) -> io::Result<Option<SocketAddr>> {
        self.listener.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// The address that URLs begin with.
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// How agents are contained.
    pub fn sandbox(&self) -> &Sandbox {
        &self.state.sessions.settings().sandbox
    }

    /// Runs until `stop`, then finishes what is in flight and closes.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let router = router(self.state.clone(), &self.metrics, &self.public_url);
        tokio::spawn(self.db.clone().keep_log_short(stop.clone()));
        let (sessions, works, told) = (Arc::clone(&self.state.sessions), self.role.works(), stop.clone());
        let worker =
            tokio::spawn(async move { if works { sessions.run_worker(told).await } else { Ok(()) } });
        let attachments = Arc::clone(&self.state.attachments);
        let sweep = tokio::spawn(async move {
            match attachments.sweep().await {
                Ok(()) => tracing::info!("the store is swept"),
                Err(error) => tracing::error!(
                    error = format!("{:#}", anyhow!(error)),
                    "cleaning up stopped; the next start goes on"
                ),
            }
        });
        if let Some(listener) = self.metrics_listener {
            let settings = serve::Settings { max_connections: 16, ..self.settings.clone() };
            let router = self.metrics.router().merge(vital_signs().with_state(self.state.clone()));
            tokio::spawn(serve::serve(listener, router, settings, stop.clone()));
        }
        // The worker ends only when it is told to; if it fails, the service stops and says so.
        let failed = stop.clone();
        let worker = tokio::spawn(async move {
            let ended = worker.await;
            if works {
                failed.cancel();
            }
            ended
        });
        // So do the tasks that write uploads down.
        let (failed, broken) = (stop.clone(), self.state.attachments.broken().clone());
        let watch = tokio::spawn(async move {
            broken.cancelled().await;
            failed.cancel();
        });
        match self.listener {
            Some(listener) => serve::serve(listener, router, self.settings, stop).await,
            None => stop.cancelled().await,
        }
        worker
            .await?
            .context("the worker of sessions failed")?
            .context("the worker of sessions cannot begin")?;
        watch.abort();
        if self.state.attachments.broken().is_cancelled() {
            bail!("a task that writes uploads down failed: see the log; start the service again");
        }
        sweep.abort();
        self.db.close().await;
        Ok(())
    }
}

/// The route table: what the service answers, in the order of a reader's interest.
fn router(state: AppState, metrics: &Arc<Metrics>, public_url: &str) -> Router {
    Router::new()
        .merge(attachments::http::routes())
        .merge(sessions::http::routes())
        .merge(identity::http::routes())
        .merge(documents::routes(public_url, state.attachments.settings().max_upload_bytes))
        .merge(vital_signs())
        .fallback(|| async { ApiError::NotFound("Not Found") })
        .method_not_allowed_fallback(|| async { ApiError::MethodNotAllowed })
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn(problem::render))
        .layer(middleware::from_fn_with_state(Arc::clone(metrics), telemetry::observe))
        .with_state(state)
}

/// What watches over the process asks.
fn vital_signs() -> Router<AppState> {
    use axum::routing::get;
    Router::new().route("/health/live", get(health::live)).route("/health/ready", get(health::ready))
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

/// The further names of the service. Who listens on the loopback address without a public one is
/// also known as `localhost`.
fn other_urls(config: &Config, address: SocketAddr) -> Vec<String> {
    let mut urls = config.other_urls.clone();
    if config.public_url.is_none() {
        urls.push(format!("http://localhost:{}", address.port()));
    }
    urls
}

/// The key for the secrets of sessions, where the operator gives one.
fn secret_key(
    config: &Config,
    profiles: &[AgentProfile],
    folder: &DataFolder,
) -> anyhow::Result<Option<SecretKey>> {
    let Some(path) = &config.secret_key_file else { return Ok(None) };
    let shown: Vec<PathBuf> =
        profiles.iter().flat_map(|profile| profile.command.read_paths.iter().cloned()).collect();
    let key = SecretKey::read(path, folder.path(), &shown)?;
    tracing::info!(key = key.id(), "session secrets are taken");
    Ok(Some(key))
}

/// Finds out how agents can be contained here, with the strictest network that a profile wants.
async fn probe(config: &Config, profiles: &[AgentProfile], scratch: &Path) -> anyhow::Result<Sandbox> {
    let strict = profiles.iter().any(|profile| profile.command.network == Network::None);
    let network = if strict { Network::None } else { Network::Host };
    let sandbox = Sandbox::probe(config.isolation, network, scratch, &Supervisor::default()).await?;
    if sandbox.isolation() == Isolation::None {
        tracing::warn!("isolation is \"none\": agents can read and change whatever this service can");
    }
    for open in sandbox.uncovered() {
        tracing::info!(isolation = ?sandbox.isolation(), "{open}");
    }
    Ok(sandbox)
}

fn session_settings(
    config: &Config,
    profiles: Vec<AgentProfile>,
    default_agent: &str,
    sandbox: Sandbox,
    sessions_dir: PathBuf,
    public_url: &str,
) -> Option<sessions::Settings> {
    let main = profiles.iter().find(|profile| profile.command.name == default_agent);
    let defaults = sessions::Settings::new(main.cloned()?, sandbox, sessions_dir, public_url);
    Some(sessions::Settings {
        agents: profiles.into_iter().map(|profile| (profile.command.name.clone(), profile)).collect(),
        slots: config.session_slots.unwrap_or(defaults.slots),
        running_per_org: config.sessions_per_org,
        max_prompt_bytes: config.max_prompt_bytes,
        max_attachments: config.max_session_attachments,
        max_delivered_bytes: config.max_session_bytes,
        max_queued_messages: config.max_queued_messages,
        streams_per_key: config.streams_per_key,
        idle_limit: Duration::from_secs(config.idle_limit_seconds),
        max_parked: config.max_parked_agents,
        restart_waits: match config.agent_restart_seconds[..] {
            [first, second] => [first, second].map(Duration::from_secs),
            _ => defaults.restart_waits,
        },
        rest: Duration::from_secs(config.retry_seconds),
        workspace_keep: Duration::from_secs(config.workspace_keep_seconds),
        outputs: sessions::outputs::OutputLimits {
            files: config.max_output_files,
            file_bytes: config.max_output_file_bytes,
            total_bytes: config.max_output_bytes,
            ..Default::default()
        },
        lenient_references: config.lenient_references,
        drain: Duration::from_secs(config.drain_seconds),
        ..defaults
    })
}

#[cfg(test)]
mod tests;
