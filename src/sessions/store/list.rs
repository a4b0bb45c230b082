//! Lists of sessions, newest first, by any of the filters.

use sqlx::Row as _;

use super::{IdleSince, columns, session};
use crate::clock::Moment;
use crate::db::{Conn, DbError};
use crate::id::{OrgId, SessionId};
use crate::sessions::structured::MAX_LISTED;
use crate::sessions::{Filter, ORIGIN, Session};

const ORDER: &str = " ORDER BY created_at DESC, id DESC";

/// Up to `limit` sessions behind `after` that the filter lets through.
pub(in crate::sessions) async fn list(
    conn: &mut Conn,
    org: &OrgId,
    filter: &Filter,
    after: Option<&(Moment, SessionId)>,
    limit: usize,
    idle: IdleSince,
) -> Result<Vec<Session>, DbError> {
    let mut wanted = conditions(org, filter);
    if let Some((at, id)) = after {
        let behind = [Arg::Int(at.0), Arg::Int(at.0), Arg::Text(id.to_string())];
        wanted.add("(created_at < ? OR (created_at = ? AND id < ?))", behind);
    }
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let offset = i64::try_from(filter.offset).unwrap_or(i64::MAX);
    wanted.tail(ORDER, []);
    wanted.tail(" LIMIT ? OFFSET ?", [Arg::Int(limit), Arg::Int(offset)]);
    let sql = columns(MAX_LISTED) + &wanted.sql;
    let rows = bound(&sql, wanted.args).fetch_all(conn).await?;
    rows.iter().map(|row| session(row, idle)).collect()
}

/// How many sessions the filter lets through.
pub(in crate::sessions) async fn count(
    conn: &mut Conn,
    org: &OrgId,
    filter: &Filter,
) -> Result<u64, DbError> {
    let wanted = conditions(org, filter);
    let sql = format!("SELECT COUNT(*) AS many FROM sessions {}", wanted.sql);
    let many: i64 = bound(&sql, wanted.args).fetch_one(conn).await?.try_get("many")?;
    Ok(many.unsigned_abs())
}

enum Arg {
    Int(i64),
    Text(String),
}

/// A `WHERE` with numbered parameters.
struct Conditions {
    sql: String,
    args: Vec<Arg>,
}

impl Conditions {
    /// One more condition; each `?` stands for one of the arguments.
    fn add(&mut self, condition: &str, args: impl IntoIterator<Item = Arg>) {
        self.sql.push_str(if self.sql.is_empty() { "WHERE " } else { " AND " });
        self.tail(condition, args);
    }

    fn tail(&mut self, text: &str, args: impl IntoIterator<Item = Arg>) {
        let mut number = self.args.len();
        for (index, part) in text.split('?').enumerate() {
            if index > 0 {
                number += 1;
                self.sql.push_str(&format!("${number}"));
            }
            self.sql.push_str(part);
        }
        self.args.extend(args);
        debug_assert_eq!(self.args.len(), number, "every `?` has its argument");
    }

    /// Any of several values; no condition where the list is empty.
    fn any_of(&mut self, before: &str, values: impl IntoIterator<Item = String>, after: &str) {
        let args: Vec<Arg> = values.into_iter().map(Arg::Text).collect();
        if !args.is_empty() {
            let places = vec!["?"; args.len()].join(", ");
            self.add(&format!("{before} IN ({places}){after}"), args);
        }
    }
}

fn conditions(org: &OrgId, filter: &Filter) -> Conditions {
    let mut wanted = Conditions { sql: String::new(), args: Vec::new() };
    wanted.add("org_id = ?", [Arg::Text(org.to_string())]);
    let foreign_origin = !filter.origins.is_empty() && !filter.origins.iter().any(|origin| origin == ORIGIN);
    match &filter.session_ids {
        Some(ids) if !ids.is_empty() => wanted.any_of("id", ids.iter().map(ToString::to_string), ""),
        Some(_) => wanted.add("1 = 0", []),
        None => {}
    }
    if foreign_origin {
        wanted.add("1 = 0", []);
    }
    let moments = [
        ("created_at >= ?", filter.created_after),
        ("created_at < ?", filter.created_before),
        ("updated_at >= ?", filter.updated_after),
        ("updated_at < ?", filter.updated_before),
    ];
    for (condition, moment) in moments {
        if let Some(moment) = moment {
            wanted.add(condition, [Arg::Int(moment.0)]);
        }
    }
    wanted.any_of("created_by", filter.created_by.iter().cloned(), "");
    let tagged = "EXISTS (SELECT 1 FROM session_tags t WHERE t.session_id = sessions.id AND t.tag";
    wanted.any_of(tagged, filter.tags.iter().cloned(), ")");
    if let Some(email) = &filter.user_email {
        wanted.add("created_by_email = ?", [Arg::Text(email.clone())]);
    }
    match filter.is_archived {
        Some(true) => wanted.add("archived_at IS NOT NULL", []),
        Some(false) => wanted.add("archived_at IS NULL", []),
        None => {}
    }
    wanted
}

fn bound(
    sql: &str,
    args: Vec<Arg>,
) -> sqlx::query::Query<'_, sqlx::Any, <sqlx::Any as sqlx::Database>::Arguments> {
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned()));
    for arg in args {
        query = match arg {
            Arg::Int(number) => query.bind(number),
            Arg::Text(text) => query.bind(text),
        };
    }
    query
}
