//! The catalogue: a SQL database behind one small face.
//!
//! Guarantees: a committed transaction survives a kill and a power cut (SQLite in WAL mode with
//! `synchronous=FULL`); write transactions begin as writers, so that none fails half-way because
//! another wrote first. Only this file names the engine; every other SQL text lives in the
//! `store.rs` of its room and is written for SQLite and PostgreSQL alike.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyPool, Executor};

/// One connection; what the functions of a `store.rs` take.
pub type Conn = sqlx::AnyConnection;
/// A write transaction: rolled back unless committed.
pub type Tx = sqlx::Transaction<'static, sqlx::Any>;
/// A row of an answer.
pub type Row = sqlx::any::AnyRow;
/// A connection borrowed for reading.
pub type Reader = sqlx::pool::PoolConnection<sqlx::Any>;

/// How long a writer waits for another process (a command beside the server) to finish.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
const READERS: u32 = 8;

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

/// The opened catalogue. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {
    readers: AnyPool,
    writer: AnyPool,
}

impl Db {
    /// Opens, or makes, the SQLite database at `path` and brings its tables up to date.
    pub async fn open_sqlite(path: &Path) -> Result<Self, DbError> {
        sqlx::any::install_default_drivers();
        let mut url = url::Url::parse("sqlite:///").map_err(|e| sqlx::Error::Configuration(e.into()))?;
        url.set_path(&path.to_string_lossy());
        url.set_query(Some("mode=rwc"));
        let options: AnyConnectOptions = url.as_str().parse()?;
        let pool = |size: u32| {
            AnyPoolOptions::new()
                .max_connections(size)
                .min_connections(1)
                .max_lifetime(None)
                .idle_timeout(None)
                .test_before_acquire(false)
                .after_connect(|conn, _| {
                    Box::pin(async move {
                        let pragmas = format!(
                            "PRAGMA busy_timeout = {}; PRAGMA journal_mode = WAL; \
                             PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
                             PRAGMA cache_size = -4096; PRAGMA journal_size_limit = 67108864; \
                             PRAGMA wal_autocheckpoint = 8192;",
                            BUSY_TIMEOUT.as_millis()
                        );
                        conn.execute(sqlx::AssertSqlSafe(pragmas)).await?;
                        Ok(())
                    })
                })
        };
        let writer = pool(1).connect_with(options.clone()).await?;
        migrate(&writer).await?;
        let readers = pool(READERS).connect_with(options).await?;
        Ok(Self { readers, writer })
    }

    /// A connection for reading outside of any transaction.
    pub async fn read(&self) -> Result<Reader, DbError> {
        Ok(self.readers.acquire().await?)
    }

    /// A transaction that may write. One at a time: keep it short, and never wait for anything
    /// else while it is open.
    pub async fn write(&self) -> Result<Tx, DbError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Lets running statements finish and closes every connection.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Cuts rows to be inserted into statements of 8, 2 and 1 rows: few texts, so that each is prepared
/// once, and short ones, because the cost of binding grows with the square of the parameters.
pub fn in_rows<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = [8, 2, 1].into_iter().find(|size| rows.len() >= *size)?;
        let (first, rest) = rows.split_at(size);
        rows = rest;
        Some(first)
    })
}

/// `($1, $2), ($3, $4)`: placeholders for that many rows of that many columns.
pub fn placeholders(rows: usize, columns: usize) -> String {
    let mut text = String::new();
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..columns {
            let comma = if column == 0 { "" } else { ", " };
            let _ = write!(text, "{comma}${}", row * columns + column + 1);
        }
        text.push(')');
    }
    text
}

/// Brings the tables up to date; refuses a database that a newer release has written.
async fn migrate(pool: &AnyPool) -> Result<(), DbError> {
    let migrator = sqlx::migrate!("./migrations");
    let known = migrator.iter().map(|m| m.version).max().unwrap_or(0);
    let found: Result<Option<i64>, _> =
        sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations").fetch_one(pool).await;
    if let Ok(Some(found)) = found
        && found > known
    {
        return Err(DbError::Newer { found, known });
    }
    migrator.run(pool).await.map_err(DbError::Migrate)
}
