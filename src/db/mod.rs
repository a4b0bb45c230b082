//! The catalogue: a SQL database behind one small face.
//!
//! Guarantees: a committed transaction survives a kill and a power cut (SQLite in WAL mode with
//! `synchronous=FULL`); write transactions begin as writers, so that none fails half-way because
//! another wrote first. Only this file names the engine; every other SQL text lives in the
//! `store.rs` of its room and is written for SQLite and PostgreSQL alike.

mod checkpoint;
mod transaction;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyPool, Connection as _, Executor as _};
use tokio::sync::Mutex;
pub use transaction::Tx;

/// One connection; what the functions of a `store.rs` take.
pub type Conn = sqlx::AnyConnection;
/// A row of an answer.
pub type Row = sqlx::any::AnyRow;
/// A connection borrowed for reading.
pub type Reader = sqlx::pool::PoolConnection<sqlx::Any>;

/// How long a writer waits for another process (a command beside the server) to finish.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
const READERS: u32 = 8;
/// Pages in the log at which a commit itself moves them into the database. A service does so beside its commits, long
/// before ([`Db::keep_log_short`]); the limit is for what runs without it.
const LOG_LIMIT: u32 = 16 * 1024;

/// What can go wrong with the catalogue.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The engine refused or failed; the cause says how.
    #[error("the database failed")]
    Engine(#[from] sqlx::Error),
    /// The tables could not be brought up to date.
    #[error("the database could not be brought up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// The folder was written by a newer release.
    #[error(
        "the database has schema version {found}, this program knows up to {known}: start the \
         newer release that wrote it"
    )]
    Newer {
        /// Highest version found in the database.
        found: i64,
        /// Highest version this program knows.
        known: i64,
    },
    /// A row holds what no row of ours can hold.
    #[error("the database holds an unreadable value in {0}")]
    Corrupt(&'static str),
}

impl DbError {
    /// Whether the same may succeed later: nothing of what was to be written is at fault.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Engine(sqlx::Error::Database(error)) => error.kind() == sqlx::error::ErrorKind::Other,
            Self::Engine(_) => true,
            Self::Migrate(_) | Self::Newer { .. } | Self::Corrupt(_) => false,
        }
    }

    /// Whether the disk has no room for what was to be written.
    pub fn is_for_want_of_room(&self) -> bool {
        let Self::Engine(sqlx::Error::Database(error)) = self else { return false };
        // SQLITE_FULL; SQLITE_IOERR_SHMSIZE, where the index of the log could not grow (sqlite.org/rescode.html).
        error.code().is_some_and(|code| matches!(&*code, "13" | "4874"))
    }
}

/// The opened catalogue. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {
    readers: AnyPool,
    /// The one connection that writes. Not a pool's: to give a connection back costs a pool more than a short
    /// transaction takes.
    writer: Arc<Mutex<Conn>>,
    /// Transactions that may have written since the log was last shortened.
    writes: Arc<AtomicU32>,
}

impl Db {
    /// Opens, or makes, the SQLite database at `path` and brings its tables up to date.
    pub async fn open_sqlite(path: &Path) -> Result<Self, DbError> {
        sqlx::any::install_default_drivers();
        let mut url = url::Url::parse("sqlite:///").map_err(|e| sqlx::Error::Configuration(e.into()))?;
        url.set_path(&path.to_string_lossy());
        url.set_query(Some("mode=rwc"));
        let options: AnyConnectOptions = url.as_str().parse()?;
        let mut writer = Conn::connect_with(&options).await?;
        prepare(&mut writer).await?;
        migrate(&mut writer).await?;
        let readers = AnyPoolOptions::new()
            .max_connections(READERS)
            .min_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .test_before_acquire(false)
            .after_connect(|conn, _| {
                Box::pin(async move {
                    prepare(conn).await?;
                    conn.execute("PRAGMA query_only = ON").await.map(drop)
                })
            })
            .connect_with(options)
            .await?;
        Ok(Self { readers, writer: Arc::new(Mutex::new(writer)), writes: Arc::default() })
    }

    /// A connection for reading outside of any transaction.
    pub async fn read(&self) -> Result<Reader, DbError> {
        Ok(self.readers.acquire().await?)
    }

    /// A transaction that may write. One at a time: keep it short, and never wait for anything
    /// else while it is open.
    pub async fn write(&self) -> Result<Tx, DbError> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Tx::begin(Arc::clone(&self.writer).lock_owned().await).await
    }

    /// Lets running statements finish, closes what reads, and moves what is left of the log into the database.
    pub async fn close(&self) {
        self.readers.close().await;
        let emptied = (&mut *self.writer.lock().await).execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
        if let Err(error) = emptied {
            tracing::warn!(%error, "the log of the database was not emptied; the next start reads it");
        }
    }
}

/// Sets a new connection up.
async fn prepare(conn: &mut Conn) -> Result<(), sqlx::Error> {
    let pragmas = format!(
        "PRAGMA busy_timeout = {}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
         PRAGMA foreign_keys = ON; PRAGMA cache_size = -4096; PRAGMA journal_size_limit = 67108864; \
         PRAGMA wal_autocheckpoint = {LOG_LIMIT};",
        BUSY_TIMEOUT.as_millis()
    );
    conn.execute(sqlx::AssertSqlSafe(pragmas)).await?;
    Ok(())
}

/// Cuts rows to be inserted into statements of at most 64 rows, of a multiple of four rows as far as that goes: few
/// statements, because each is a round trip to the connection's thread, and few texts, so that each is prepared once.
pub fn in_rows<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = if rows.len() < 4 { rows.len() } else { rows.len().min(64) / 4 * 4 };
        let (first, rest) = rows.split_at(size);
        rows = rest;
        (size > 0).then_some(first)
    })
}

/// `(?, ?), (?, ?)`: placeholders for that many rows of that many columns, in the engine's own way. SQLite would take
/// `$1` too, but binds such in a time that grows with the square of their number.
pub fn placeholders(rows: usize, columns: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(", "));
    vec![row.as_str(); rows].join(", ")
}

/// Brings the tables up to date; refuses a database that a newer release has written.
async fn migrate(conn: &mut Conn) -> Result<(), DbError> {
    let migrator = sqlx::migrate!("./migrations");
    let known = migrator.iter().map(|m| m.version).max().unwrap_or(0);
    let found: Result<Option<i64>, _> =
        sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations").fetch_one(&mut *conn).await;
    if let Ok(Some(found)) = found
        && found > known
    {
        return Err(DbError::Newer { found, known });
    }
    migrator.run(conn).await.map_err(DbError::Migrate)
}
