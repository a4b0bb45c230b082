//! Every route, what it wants, and who holds that: the table behind the tests of access.

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::support::{Answer, User};

/// Which API's keys a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    V1,
    V3,
    Either,
}

/// What a route wants of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// Any good key.
    Nothing,
    Use,
    View,
    Manage,
    /// One of the two is enough.
    UseOrManage,
    /// `ViewAccountSessions`, on the enterprise.
    ViewAccount,
}

/// Who calls, within the organisation or above all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    V1,
    OrgMember,
    OrgAdmin,
    AccountMember,
    AccountAdmin,
}

/// What is sent along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sends {
    Nothing,
    File,
    Prompt,
    Message,
    Tags,
}

/// One method of one path.
#[derive(Debug, Clone)]
pub struct Route {
    pub method: &'static str,
    /// As the OpenAPI documents have it.
    pub path: String,
    pub query: &'static str,
    pub api: Api,
    pub wants: Wants,
    pub sends: Sends,
}

/// The ids that are put into a path.
#[derive(Debug, Clone)]
pub struct Ids {
    pub org: String,
    pub session: String,
    pub attachment: String,
}

const TABLE: &[(&str, &str, Api, Wants, Sends)] = &[
    ("GET", "/v1/auth_status", Api::V1, Wants::Nothing, Sends::Nothing),
    ("POST", "/v1/attachments", Api::V1, Wants::Use, Sends::File),
    ("GET", "/v1/attachments/{attachment_id}/{name}", Api::V1, Wants::View, Sends::Nothing),
    ("DELETE", "/v1/attachments/{attachment_id}/{name}", Api::V1, Wants::Use, Sends::Nothing),
    ("GET", "/v1/sessions", Api::V1, Wants::View, Sends::Nothing),
    ("POST", "/v1/sessions", Api::V1, Wants::Use, Sends::Prompt),
    ("GET", "/v1/sessions/{session_id}", Api::V1, Wants::View, Sends::Nothing),
    ("DELETE", "/v1/sessions/{session_id}", Api::V1, Wants::Use, Sends::Nothing),
    ("POST", "/v1/sessions/{session_id}/message", Api::V1, Wants::Use, Sends::Message),
    ("PUT", "/v1/sessions/{session_id}/tags", Api::V1, Wants::Use, Sends::Tags),
    ("GET", "/v1/sessions/{session_id}/receipts", Api::V1, Wants::View, Sends::Nothing),
    ("GET", "/v1/sessions/{session_id}/events", Api::V1, Wants::View, Sends::Nothing),
    ("GET", "/v3/self", Api::V3, Wants::Nothing, Sends::Nothing),
    ("POST", "{org}/attachments", Api::V3, Wants::Use, Sends::File),
    ("GET", "{org}/attachments/{attachment_id}/{name}", Api::V3, Wants::View, Sends::Nothing),
    ("DELETE", "{org}/attachments/{attachment_id}/{name}", Api::V3, Wants::Use, Sends::Nothing),
    ("GET", "{org}/sessions", Api::V3, Wants::View, Sends::Nothing),
    ("POST", "{org}/sessions", Api::V3, Wants::Use, Sends::Prompt),
    ("GET", "{org}/sessions/{devin_id}", Api::V3, Wants::View, Sends::Nothing),
    ("DELETE", "{org}/sessions/{devin_id}", Api::V3, Wants::Manage, Sends::Nothing),
    ("POST", "{org}/sessions/{devin_id}/archive", Api::V3, Wants::Manage, Sends::Nothing),
    ("GET", "{org}/sessions/{devin_id}/messages", Api::V3, Wants::View, Sends::Nothing),
    ("POST", "{org}/sessions/{devin_id}/messages", Api::V3, Wants::UseOrManage, Sends::Message),
    ("GET", "{org}/sessions/{devin_id}/tags", Api::V3, Wants::View, Sends::Nothing),
    ("POST", "{org}/sessions/{devin_id}/tags", Api::V3, Wants::Manage, Sends::Tags),
    ("PUT", "{org}/sessions/{devin_id}/tags", Api::V3, Wants::Manage, Sends::Tags),
    ("GET", "{org}/sessions/{devin_id}/attachments", Api::V3, Wants::View, Sends::Nothing),
    ("GET", "{org}/sessions/{devin_id}/receipts", Api::V3, Wants::View, Sends::Nothing),
    ("GET", "{org}/sessions/{devin_id}/events", Api::V3, Wants::View, Sends::Nothing),
    ("GET", "/v3/enterprise/sessions/{devin_id}/attachments", Api::V3, Wants::ViewAccount, Sends::Nothing),
    ("GET", "/attachments/{attachment_id}/{name}", Api::Either, Wants::View, Sends::Nothing),
    ("DELETE", "/attachments/{attachment_id}/{name}", Api::Either, Wants::Use, Sends::Nothing),
];

/// Every route that wants a credential, aliases and `HEAD` included.
pub fn routes() -> Vec<Route> {
    let mut routes = Vec::new();
    for &(method, path, api, wants, sends) in TABLE {
        let mut paths = vec![path.replace("{org}", "/v3/organizations/{org_id}")];
        if path.starts_with("{org}") {
            paths.push(path.replace("{org}", "/v3beta1/organizations/{org_id}"));
        }
        if path.starts_with("/v1/sessions/") {
            paths.push(path.replace("/v1/sessions/", "/v1/session/"));
        }
        let methods = if method == "GET" { &["GET", "HEAD"][..] } else { &[method] };
        let query = match path {
            _ if wants == Wants::ViewAccount => "?org_id={org_id}",
            // So that the answer ends.
            _ if path.ends_with("/events") => "?until=idle",
            _ => "",
        };
        for path in paths {
            let of = |&method| Route { method, path: path.clone(), query, api, wants, sends };
            routes.extend(methods.iter().map(of));
        }
    }
    routes
}

impl Route {
    pub fn names_a_session(&self) -> bool {
        self.path.contains("{devin_id}") || self.path.contains("{session_id}")
    }

    pub fn names_an_attachment(&self) -> bool {
        self.path.contains("{attachment_id}")
    }

    pub fn names_an_org(&self) -> bool {
        self.path.contains("{org_id}")
    }

    /// The path and query with ids in their places; the file's name does not matter and is left out.
    pub fn with(&self, ids: &Ids) -> String {
        format!("{}{}", self.path, self.query)
            .replace("{org_id}", &ids.org)
            .replace("{session_id}", &ids.session)
            .replace("{devin_id}", &ids.session)
            .replace("{attachment_id}", &ids.attachment)
            .replace("{name}", "x")
    }

    /// What a caller of this role is to be answered within its own organisation.
    pub fn status_for(&self, role: Role) -> u16 {
        let holds = |wants: Wants| match wants {
            Wants::Nothing => true,
            Wants::Use => matches!(role, Role::V1 | Role::OrgMember | Role::OrgAdmin),
            Wants::View => role != Role::AccountMember,
            Wants::Manage => matches!(role, Role::OrgAdmin | Role::AccountAdmin),
            Wants::UseOrManage => role != Role::AccountMember,
            Wants::ViewAccount => role == Role::AccountAdmin,
        };
        match self.api {
            Api::V1 if role != Role::V1 => 403,
            Api::V3 if role == Role::V1 => 403,
            // Who may not see the file is not told that it is there.
            Api::Either if !holds(Wants::View) => 404,
            _ if holds(self.wants) => 200,
            _ => 403,
        }
    }

    /// Sends the request. `well_formed`: whether what is sent along is as it should be.
    pub async fn send(&self, user: &User, ids: &Ids, well_formed: bool) -> Answer {
        let request = user.request(self.method, &self.with(ids));
        let json = |body: Value| if well_formed { body } else { json!([1]) };
        let request = match self.sends {
            Sends::Nothing => request,
            Sends::File if well_formed => {
                request.multipart(Form::new().part("file", Part::text("x").file_name("x.txt")))
            }
            Sends::File => request.multipart(Form::new().text("other", "x")),
            Sends::Prompt => request.json(&json(json!({ "prompt": "Hello." }))),
            Sends::Message => request.json(&json(json!({ "message": "Hello." }))),
            Sends::Tags => request.json(&json(json!({ "tags": ["changed"] }))),
        };
        Answer::to(request).await
    }
}
