//! The SQL of attachments.

use sqlx::{AssertSqlSafe, Row as _};

use super::commit::Arrival;
use super::{Attachment, Gone, Source};
use crate::blobs::Locator;
use crate::clock::Moment;
use crate::db::{Conn, DbError, Row, in_rows, placeholders};
use crate::id::{AttachmentId, OrgId, SessionId};
use crate::identity::Scope;

const COLUMNS: &str = "id, org_id, name, size, sha256, content_type, blob, source, created_at, \
    deleted_at, deleted_reason, expires_at";

/// Inserts attachments, several in one statement.
pub(super) async fn insert_many(conn: &mut Conn, arrivals: &[&Arrival]) -> Result<(), DbError> {
    for rows in in_rows(arrivals) {
        insert(conn, rows).await?;
    }
    Ok(())
}

async fn insert(conn: &mut Conn, arrivals: &[&Arrival]) -> Result<(), DbError> {
    let sql = format!(
        "INSERT INTO attachments (id, org_id, name, size, sha256, content_type, blob, source, \
         created_at, created_by, session_id, unnamed_since) VALUES {}",
        placeholders(arrivals.len(), 12)
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for arrival in arrivals {
        let new = &arrival.attachment;
        query = query
            .bind(new.id.to_string())
            .bind(new.org_id.as_str())
            .bind(new.name.as_str())
            .bind(new.size as i64)
            .bind(new.sha256.as_str())
            .bind(new.content_type.as_str())
            .bind(new.blob.to_string())
            .bind(new.source.name())
            .bind(new.created_at.0)
            .bind(arrival.grant.as_ref().map(|grant| grant.caller().principal_id.clone()))
            .bind(arrival.session_id.as_deref())
            .bind(arrival.session_id.is_some().then_some(new.created_at.0));
    }
    query.execute(conn).await?;
    Ok(())
}

/// One attachment within a scope. Unknown and foreign take one path: a single query.
pub(super) async fn find(
    conn: &mut Conn,
    scope: &Scope,
    id: AttachmentId,
) -> Result<Option<Attachment>, DbError> {
    let (condition, orgs): (String, &[OrgId]) = match scope {
        Scope::Everywhere => (String::new(), &[]),
        Scope::Only(orgs) => {
            let places: Vec<String> = (0..orgs.len()).map(|n| format!("${}", n + 2)).collect();
            (format!(" AND org_id IN ({})", places.join(", ")), orgs)
        }
    };
    let sql = format!("SELECT {COLUMNS} FROM attachments WHERE id = $1{condition}");
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(id.to_string());
    for org in orgs {
        query = query.bind(org.as_str());
    }
    query.fetch_optional(conn).await?.as_ref().map(attachment).transpose()
}

/// Attachments of one organisation, in the order asked for; an unknown one is `None`, and so is
/// another organisation's.
pub async fn find_many(
    conn: &mut Conn,
    org: &OrgId,
    ids: &[AttachmentId],
) -> Result<Vec<Option<Attachment>>, DbError> {
    let mut found = Vec::with_capacity(ids.len());
    let scope = Scope::Only(vec![org.clone()]);
    for id in ids {
        found.push(find(conn, &scope, *id).await?);
    }
    Ok(found)
}

/// An output is named by its session from now on; `false` if it was before, or is gone.
pub async fn name_output(conn: &mut Conn, id: AttachmentId) -> Result<bool, DbError> {
    let named = sqlx::query(
        "UPDATE attachments SET unnamed_since = NULL WHERE id = $1 AND unnamed_since IS NOT NULL",
    )
    .bind(id.to_string())
    .execute(conn)
    .await?;
    Ok(named.rows_affected() == 1)
}

/// Outputs that no session names, oldest first, and the sessions that they came out of.
pub(super) async fn unnamed_outputs(
    conn: &mut Conn,
    limit: i64,
) -> Result<Vec<(SessionId, Attachment)>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS}, session_id FROM attachments WHERE unnamed_since IS NOT NULL \
         ORDER BY unnamed_since LIMIT $1"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(limit).fetch_all(conn).await?;
    let output = |row: &Row| {
        let session: &str = row.try_get("session_id")?;
        let session = session.parse().map_err(|_| DbError::Corrupt("attachments.session_id"))?;
        Ok((session, attachment(row)?))
    };
    rows.iter().map(output).collect()
}

/// Marks an attachment as gone and its bytes as to be freed; `false` if it was gone before.
pub(super) async fn mark_gone(
    conn: &mut Conn,
    attachment: &Attachment,
    gone: &Gone,
) -> Result<bool, DbError> {
    let done = sqlx::query(
        "UPDATE attachments SET deleted_at = $2, deleted_reason = $3 WHERE id = $1 AND deleted_at IS NULL",
    )
    .bind(attachment.id.to_string())
    .bind(gone.at.0)
    .bind(gone.reason.as_str())
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query("INSERT INTO discarded_blobs (blob, size, discarded_at) VALUES ($1, $2, $3)")
        .bind(attachment.blob.to_string())
        .bind(attachment.size as i64)
        .bind(gone.at.0)
        .execute(conn)
        .await?;
    Ok(true)
}

/// Blobs whose attachment is gone and whose bytes may still be there, oldest first.
pub(super) async fn discarded(conn: &mut Conn, limit: i64) -> Result<Vec<(String, u64)>, DbError> {
    let rows = sqlx::query("SELECT blob, size FROM discarded_blobs ORDER BY discarded_at, blob LIMIT $1")
        .bind(limit)
        .fetch_all(conn)
        .await?;
    rows.iter().map(|row| Ok((row.try_get("blob")?, row.try_get::<i64, _>("size")?.unsigned_abs()))).collect()
}

/// The bytes of a discarded blob are freed.
pub(super) async fn forget_discarded(conn: &mut Conn, blob: &str) -> Result<(), DbError> {
    sqlx::query("DELETE FROM discarded_blobs WHERE blob = $1").bind(blob).execute(conn).await?;
    Ok(())
}

/// Whether a live row names a blob.
pub(super) async fn is_named(conn: &mut Conn, blob: &str) -> Result<bool, DbError> {
    let found: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM attachments WHERE blob = $1 AND deleted_at IS NULL")
            .bind(blob)
            .fetch_one(conn)
            .await?;
    Ok(found > 0)
}

/// At most so many live blobs whose locator begins with a prefix, and their sizes. The prefix ends
/// in `:`, so the texts that begin with it lie before the one that ends in `;` instead.
pub(super) async fn live_blobs(
    conn: &mut Conn,
    prefix: &str,
    limit: i64,
) -> Result<Vec<(Locator, u64)>, DbError> {
    let after = format!("{};", prefix.trim_end_matches(':'));
    let rows = sqlx::query(
        "SELECT blob, size FROM attachments WHERE blob >= $1 AND blob < $2 AND deleted_at IS NULL LIMIT $3",
    )
    .bind(prefix)
    .bind(after)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            let blob = row
                .try_get::<String, _>("blob")?
                .parse()
                .map_err(|_| DbError::Corrupt("attachments.blob"))?;
            Ok((blob, row.try_get::<i64, _>("size")?.unsigned_abs()))
        })
        .collect()
}

fn attachment(row: &Row) -> Result<Attachment, DbError> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let moment = |column: &str| row.try_get::<Option<i64>, _>(column).map(|at| at.map(Moment));
    let deleted = moment("deleted_at")?.zip(row.try_get::<Option<String>, _>("deleted_reason")?);
    let expired = moment("expires_at")?.filter(|at| *at <= crate::clock::now());
    Ok(Attachment {
        id: text("id")?.parse().map_err(|_| DbError::Corrupt("attachments.id"))?,
        org_id: text("org_id")?.parse().map_err(|_| DbError::Corrupt("attachments.org_id"))?,
        name: text("name")?,
        size: row.try_get::<i64, _>("size")?.unsigned_abs(),
        sha256: text("sha256")?,
        content_type: text("content_type")?,
        source: match text("source")?.as_str() {
            "user" => Source::User,
            "devin" => Source::Devin,
            _ => return Err(DbError::Corrupt("attachments.source")),
        },
        created_at: Moment(row.try_get("created_at")?),
        gone: deleted
            .map(|(at, reason)| Gone { at, reason })
            .or_else(|| expired.map(|at| Gone { at, reason: "expired".to_owned() })),
        blob: text("blob")?.parse().map_err(|_| DbError::Corrupt("attachments.blob"))?,
    })
}
