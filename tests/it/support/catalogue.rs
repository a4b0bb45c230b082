//! The catalogue as it lies on disk, read beside the running service.

use serde_json::{Map, Value};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Column, ConnectOptions, Row, TypeInfo, ValueRef};

use super::TestApp;

impl TestApp {
    /// The rows that a query over the catalogue finds, each an object by column.
    pub async fn rows(&self, sql: &'static str) -> Vec<Value> {
        let options = SqliteConnectOptions::new().filename(self.data().join("satchel.db")).read_only(true);
        let mut conn = options.connect().await.unwrap();
        let rows = sqlx::query(sql).fetch_all(&mut conn).await.unwrap();
        rows.iter().map(object).collect()
    }

    /// How many rows a table has.
    pub async fn count(&self, sql: &'static str) -> i64 {
        let rows = self.rows(sql).await;
        rows[0].as_object().unwrap().values().next().unwrap().as_i64().unwrap()
    }

    /// Every file of the store that holds bytes of uploads, with its size and the bytes of disk that it takes.
    pub fn blob_files(&self) -> Vec<(std::path::PathBuf, u64, u64)> {
        use std::os::unix::fs::MetadataExt;
        let mut files = Vec::new();
        let mut folders =
            ["staging", "files", "packs"].map(|name| self.data().join("blobs").join(name)).to_vec();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                // A file may go between being listed and being looked at.
                let Ok(meta) = entry.metadata() else { continue };
                if meta.is_dir() {
                    folders.push(entry.path());
                } else {
                    files.push((entry.path(), meta.len(), meta.blocks() * 512));
                }
            }
        }
        files
    }
}

fn object(row: &sqlx::sqlite::SqliteRow) -> Value {
    let value = |at: usize| {
        let raw = row.try_get_raw(at).unwrap();
        match raw.type_info().name() {
            _ if raw.is_null() => Value::Null,
            "INTEGER" => row.get::<i64, _>(at).into(),
            _ => row.get::<String, _>(at).into(),
        }
    };
    let columns = row.columns().iter().map(|column| (column.name().to_owned(), value(column.ordinal())));
    Value::Object(columns.collect::<Map<_, _>>())
}
