//! The first start on an empty data folder: an organisation, three credentials, something to paste.
//!
//! The credentials go into `first-run.json` (mode 0600) and are shown only on a terminal, so that
//! no log of a service manager holds them.

use std::fs::File;
use std::io::ErrorKind::NotFound;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde::Serialize;

use super::{FolderArgs, print};
use crate::app::DataFolder;
use crate::identity::setup::{KeyOrder, create_key_in, create_org_in};
use crate::identity::{self, KeyKind, Role};

/// What the first start made.
#[derive(Debug, Serialize)]
pub(super) struct FirstRun {
    org_id: String,
    org_name: String,
    user_id: String,
    personal_key: String,
    service_key: String,
    service_user_id: String,
    service_user_token: String,
}

const FILE: &str = "first-run.json";

/// `satchel init`: the set-up alone.
pub(super) async fn init(folder: FolderArgs, json: bool) -> anyhow::Result<ExitCode> {
    let folder = folder.open()?;
    let Some(made) = set_up_if_empty(&folder).await? else {
        bail!(
            "the data folder {} is set up already; `satchel keys create` makes more keys",
            folder.path().display()
        );
    };
    let path = folder.join(FILE);
    let text = match json {
        true => serde_json::to_string_pretty(&made)?,
        false => format!(
            "Organisation {} is set up; its credentials are in {}\n\
             personal key        {}\nservice key         {}\nservice user token  {}",
            made.org_id,
            path.display(),
            made.personal_key,
            made.service_key,
            made.service_user_token
        ),
    };
    print(&format!("{text}\n"))
}

/// Sets the folder up unless it is; the first of several processes does it.
pub(super) async fn set_up_if_empty(folder: &DataFolder) -> anyhow::Result<Option<FirstRun>> {
    let _lock = folder.lock("setup.lock", true)?;
    let db = folder.open_db().await?;
    let mut conn = db.read().await?;
    if identity::standing(&mut conn).await? {
        return Ok(None);
    }
    drop(conn);
    // One transaction, committed once the credentials are written down: a folder is either set up
    // with credentials that somebody has, or not at all.
    let mut tx = db.write().await?;
    let org = create_org_in(&mut tx, "Default organization").await?;
    let order = |kind, name: &str, role| KeyOrder {
        kind,
        name: name.to_owned(),
        org: Some(org.id.clone()),
        role,
        email: None,
        expires_at: None,
    };
    let personal = create_key_in(&mut tx, &order(KeyKind::Personal, "first user", None)).await?;
    let service = create_key_in(&mut tx, &order(KeyKind::Service, "first service key", None)).await?;
    let user = order(KeyKind::ServiceUser, "first service user", Some(Role::OrgAdmin));
    let service_user = create_key_in(&mut tx, &user).await?;
    let made = FirstRun {
        org_id: org.id.to_string(),
        org_name: org.name,
        user_id: personal.principal_id,
        personal_key: personal.key.reveal().to_owned(),
        service_key: service.key.reveal().to_owned(),
        service_user_id: service_user.principal_id,
        service_user_token: service_user.key.reveal().to_owned(),
    };
    let path = folder.join(FILE);
    let write = || -> std::io::Result<()> {
        // Anew, so that the mode is this one whatever an unfinished start left.
        std::fs::remove_file(&path).or_else(|e| if e.kind() == NotFound { Ok(()) } else { Err(e) })?;
        let mut file = File::options().create_new(true).write(true).mode(0o600).open(&path)?;
        file.write_all(serde_json::to_string_pretty(&made)?.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        File::open(folder.path())?.sync_all()
    };
    write().with_context(|| format!("the credentials cannot be written to {}", path.display()))?;
    tx.commit().await?;
    db.close().await;
    Ok(Some(made))
}

impl FirstRun {
    /// What a new user reads. `secrets`: whether the credentials may be shown.
    pub(super) fn welcome(&self, url: &str, folder: &DataFolder, secrets: bool) -> String {
        let path = folder.join(FILE);
        let path = path.display();
        if !secrets {
            return format!("made organisation {} and three credentials: {path}\n", self.org_id);
        }
        let Self { org_id, personal_key, service_key, service_user_token, .. } = self;
        format!(
            r#"
Made organisation {org_id} and three credentials, kept in {path}:

  personal key (v1)        {personal_key}
  service key (v1)         {service_key}
  service user token (v3)  {service_user_token}

Upload a file; paste this into a shell:

printf 'a,b\n1,2\n' > data.csv
curl -sS -w '\n' -H 'Authorization: Bearer {personal_key}' -F file=@data.csv {url}/v1/attachments

Hand it to an agent and read what it says (Python, with the requests package):

python3 - <<'END'
import requests, time
auth = {{"Authorization": "Bearer {personal_key}"}}
with open("data.csv", "rb") as f:
    file_url = requests.post("{url}/v1/attachments", headers=auth, files={{"file": f}}).json()
session = requests.post("{url}/v1/sessions", headers=auth, json={{
    "prompt": f'Please analyze the attached file.\n\nATTACHMENT:"{{file_url}}"\n'}}).json()
session_url = "{url}/v1/sessions/" + session["session_id"]
while (details := requests.get(session_url, headers=auth).json())["status_enum"] == "working":
    time.sleep(0.5)
for message in details["messages"]:
    print(message["type"] + ": " + message["message"])
END

"#
        )
    }
}
