//! `satchel keys` and `satchel orgs`: the operator's own hand on the catalogue.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{FolderArgs, print};
use crate::clock::{self, Moment};
use crate::db::Db;
use crate::id::OrgId;
use crate::identity::setup::{self, KeyOrder, ListedKey};
use crate::identity::{KeyKind, Role};

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make a key and its principal; the secret is shown once.
    Create(CreateKey),
    /// List the keys, without their secrets.
    List(Output),
    /// Revoke a key: it is refused within 2 s by every process.
    Revoke {
        /// The key's id, `key-…`.
        id: String,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum OrgsCommand {
    /// Make an organisation.
    Create {
        /// Its name.
        name: String,
        #[command(flatten)]
        output: Output,
    },
    /// List the organisations.
    List(Output),
}

#[derive(Debug, Args)]
pub(super) struct Output {
    #[command(flatten)]
    folder: FolderArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct CreateKey {
    /// Which kind of credential.
    #[arg(long, value_enum)]
    kind: Kind,
    /// A name, for people.
    #[arg(long, default_value = "unnamed")]
    name: String,
    /// The organisation, `org-…` [default: the only one there is]. An enterprise role needs none.
    #[arg(long)]
    org: Option<OrgId>,
    /// The role of a service user: account_admin, account_member, org_admin or org_member
    /// [default: org_member].
    #[arg(long)]
    role: Option<Role>,
    /// A person's e-mail address.
    #[arg(long)]
    email: Option<String>,
    /// When the key ceases to be good, RFC 3339 (`2027-01-01T00:00:00Z`).
    #[arg(long, value_name = "TIME", conflicts_with = "expires_in_seconds")]
    expires_at: Option<String>,
    /// In how many seconds the key ceases to be good.
    #[arg(long, value_name = "SECONDS")]
    expires_in_seconds: Option<u64>,
    #[command(flatten)]
    output: Output,
}

/// The kinds of keys as they are typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// A person's key for v1, `apk_user_…`.
    Personal,
    /// A service key for v1, `apk_…`.
    Service,
    /// A service user's key for v3, `cog_…`.
    #[value(alias = "service_user")]
    ServiceUser,
}

pub(super) async fn keys(command: KeysCommand) -> anyhow::Result<ExitCode> {
    match command {
        KeysCommand::Create(new) => {
            let db = new.output.folder.open_existing()?.open_db().await?;
            let order = KeyOrder {
                kind: match new.kind {
                    Kind::Personal => KeyKind::Personal,
                    Kind::Service => KeyKind::Service,
                    Kind::ServiceUser => KeyKind::ServiceUser,
                },
                org: match &new.org {
                    Some(org) => Some(org.clone()),
                    None if new.role.is_some_and(Role::is_enterprise) => None,
                    None => Some(only_org(&db).await?),
                },
                expires_at: expiry(&new)?,
                name: new.name,
                role: new.role,
                email: new.email,
            };
            let made = setup::create_key(&db, &order).await?;
            let (id, principal, secret) = (&made.id, &made.principal_id, made.key.reveal());
            if new.output.json {
                let value = json!({
                    "id": id.as_str(), "kind": order.kind.name(), "principal_id": principal,
                    "org_id": order.org.as_ref().map(OrgId::as_str), "key": secret,
                });
                return print_json(&value);
            }
            print(&format!("{secret}\n\nkey {id} of {principal}; the secret is not shown again\n"))
        }
        KeysCommand::List(output) => {
            let db = output.folder.open_existing()?.open_db().await?;
            let keys = setup::list_keys(&mut *db.read().await?).await?;
            if output.json {
                return print_json(&keys.iter().map(as_json).collect());
            }
            let lines = keys.iter().map(|key| {
                format!(
                    "{}  {:<12}  {:<8}  {:<36}  {}\n",
                    key.id,
                    key.kind,
                    standing(key),
                    key.org_id.as_deref().unwrap_or("enterprise"),
                    key.name
                )
            });
            print(&lines.collect::<String>())
        }
        KeysCommand::Revoke { id, output } => {
            let db = output.folder.open_existing()?.open_db().await?;
            setup::revoke_key(&db, &id).await?;
            if output.json {
                return print_json(&json!({ "id": id, "revoked": true }));
            }
            print(&format!("key {id} is revoked\n"))
        }
    }
}

pub(super) async fn orgs(command: OrgsCommand) -> anyhow::Result<ExitCode> {
    match command {
        OrgsCommand::Create { name, output } => {
            let db = output.folder.open_existing()?.open_db().await?;
            let org = setup::create_org(&db, &name).await?;
            if output.json {
                return print_json(&json!({ "org_id": org.id.as_str(), "name": org.name }));
            }
            print(&format!("{}\n", org.id))
        }
        OrgsCommand::List(output) => {
            let db = output.folder.open_existing()?.open_db().await?;
            let orgs = setup::list_orgs(&mut *db.read().await?).await?;
            if output.json {
                let rows = orgs.iter().map(|org| {
                    json!({ "org_id": org.id.as_str(), "name": org.name, "created_at": org.created_at.iso8601() })
                });
                return print_json(&rows.collect());
            }
            print(&orgs.iter().map(|org| format!("{}  {}\n", org.id, org.name)).collect::<String>())
        }
    }
}

async fn only_org(db: &Db) -> anyhow::Result<OrgId> {
    let orgs = setup::list_orgs(&mut *db.read().await?).await?;
    match orgs.as_slice() {
        [only] => Ok(only.id.clone()),
        [] => bail!("there is no organisation yet: `satchel init` makes one"),
        _ => bail!("there are {} organisations: name one with --org", orgs.len()),
    }
}

fn expiry(new: &CreateKey) -> anyhow::Result<Option<Moment>> {
    if let Some(text) = &new.expires_at {
        let at = Moment::parse_rfc3339(text);
        return at
            .map(Some)
            .with_context(|| format!("`{text}` is no RFC 3339 time such as 2027-01-01T00:00:00Z"));
    }
    Ok(new.expires_in_seconds.map(|seconds| clock::now().plus(Duration::from_secs(seconds))))
}

fn standing(key: &ListedKey) -> &'static str {
    match (key.revoked_at, key.expires_at) {
        (Some(_), _) => "revoked",
        (None, Some(at)) if at <= clock::now() => "expired",
        _ => "active",
    }
}

fn as_json(key: &ListedKey) -> Value {
    let time = |at: Option<Moment>| at.map(Moment::iso8601);
    json!({
        "id": key.id, "kind": key.kind, "name": key.name, "status": standing(key),
        "principal_id": key.principal_id, "principal_name": key.principal_name, "org_id": key.org_id,
        "created_at": key.created_at.iso8601(), "expires_at": time(key.expires_at),
        "revoked_at": time(key.revoked_at), "last_used_at": time(key.last_used_at),
    })
}

fn print_json(value: &Value) -> anyhow::Result<ExitCode> {
    print(&format!("{value:#}\n"))
}
