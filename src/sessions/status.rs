//! Where a session stands, in the words of both APIs (contract, section 3, "How a run maps to the
//! two status fields").
//!
//! Names are the wire's names and the database's alike.

use super::Session;

/// v3 `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Created, waits for a worker.
    New,
    /// A worker has it; files are being delivered.
    Claimed,
    /// Its agent works, or waits for a message.
    Running,
    /// Ended.
    Exit,
    /// Could not be started.
    Error,
    /// Nothing runs; a message takes it up again.
    Suspended,
    /// A message came while it was suspended.
    Resuming,
}

impl Status {
    const ALL: [Status; 7] = [
        Status::New,
        Status::Claimed,
        Status::Running,
        Status::Exit,
        Status::Error,
        Status::Suspended,
        Status::Resuming,
    ];

    /// The status' name.
    pub fn name(self) -> &'static str {
        match self {
            Status::New => "new",
            Status::Claimed => "claimed",
            Status::Running => "running",
            Status::Exit => "exit",
            Status::Error => "error",
            Status::Suspended => "suspended",
            Status::Resuming => "resuming",
        }
    }

    /// The status of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// Whether the session is over for good.
    pub fn is_over(self) -> bool {
        matches!(self, Status::Exit | Status::Error)
    }
}

/// v3 `status_detail`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusDetail {
    /// Running: the agent is at work.
    Working,
    /// Running: the turn ended.
    WaitingForUser,
    /// Running: the agent asks for leave.
    WaitingForApproval,
    /// Running: the final result was given.
    Finished,
    /// Suspended: the idle limit passed.
    Inactivity,
    /// Suspended or ended: somebody asked for it.
    UserRequest,
    /// Suspended: something failed that another message may overcome.
    Error,
}

impl StatusDetail {
    const ALL: [StatusDetail; 7] = [
        StatusDetail::Working,
        StatusDetail::WaitingForUser,
        StatusDetail::WaitingForApproval,
        StatusDetail::Finished,
        StatusDetail::Inactivity,
        StatusDetail::UserRequest,
        StatusDetail::Error,
    ];

    /// The detail's name.
    pub fn name(self) -> &'static str {
        match self {
            StatusDetail::Working => "working",
            StatusDetail::WaitingForUser => "waiting_for_user",
            StatusDetail::WaitingForApproval => "waiting_for_approval",
            StatusDetail::Finished => "finished",
            StatusDetail::Inactivity => "inactivity",
            StatusDetail::UserRequest => "user_request",
            StatusDetail::Error => "error",
        }
    }

    /// The detail of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|detail| detail.name() == name)
    }
}

/// v1 `status_enum` of a session: the third column of the contract's table. Failures are `blocked`
/// until the idle limit has passed, then `finished`, because some pollers know only that.
pub fn v1_status_enum(session: &Session) -> Option<&'static str> {
    Some(v1_words(session.status, session.status_detail, session.idle_limit_passed))
}

/// The same of a status. `idle_limit_passed`: whether a session has stood there for longer than that.
pub fn v1_words(status: Status, detail: Option<StatusDetail>, idle_limit_passed: bool) -> &'static str {
    use StatusDetail as D;
    match (status, detail) {
        (Status::New | Status::Claimed, _) => "working",
        (Status::Running, Some(D::WaitingForUser | D::WaitingForApproval)) => "blocked",
        (Status::Running, Some(D::Finished)) => "finished",
        (Status::Running, _) => "working",
        (Status::Resuming, _) => "resume_requested",
        (Status::Error, _) | (Status::Suspended, Some(D::Error)) => {
            if idle_limit_passed {
                "finished"
            } else {
                "blocked"
            }
        }
        (Status::Suspended | Status::Exit, _) => "finished",
    }
}

#[cfg(test)]
mod tests {

    use super::super::Api;
    use super::*;
    use crate::clock::Moment;
    use crate::id::{OrgId, SessionId};

    fn session(status: Status, status_detail: Option<StatusDetail>, idle_limit_passed: bool) -> Session {
        Session {
            id: SessionId::new(),
            org_id: OrgId::new(),
            created_by: "user-1".to_owned(),
            created_by_email: None,
            title: None,
            tags: Vec::new(),
            playbook_id: None,
            snapshot_id: None,
            agent: "example".to_owned(),
            status,
            status_detail,
            status_at: Moment(0),
            idle_limit_passed,
            structured_output: None,
            archived: false,
            api: Api::V1,
            created_at: Moment(0),
            updated_at: Moment(0),
        }
    }

    #[test]
    fn every_row_of_the_contracts_table() {
        use StatusDetail as D;
        let rows = [
            ("created", Status::New, None, false, "working"),
            ("claimed", Status::Claimed, None, false, "working"),
            ("agent at work", Status::Running, Some(D::Working), false, "working"),
            ("turn ended", Status::Running, Some(D::WaitingForUser), false, "blocked"),
            ("turn ended long ago", Status::Running, Some(D::WaitingForUser), true, "blocked"),
            ("waits for leave", Status::Running, Some(D::WaitingForApproval), false, "blocked"),
            ("final output given", Status::Running, Some(D::Finished), false, "finished"),
            ("idle limit passed", Status::Suspended, Some(D::Inactivity), false, "finished"),
            ("message to a suspended one", Status::Resuming, None, false, "resume_requested"),
            ("recoverable failure", Status::Suspended, Some(D::Error), false, "blocked"),
            ("recoverable failure, later", Status::Suspended, Some(D::Error), true, "finished"),
            ("cannot start", Status::Error, None, false, "blocked"),
            ("cannot start, later", Status::Error, None, true, "finished"),
            ("terminated", Status::Exit, Some(D::UserRequest), false, "finished"),
        ];
        for (event, status, detail, idle, expected) in rows {
            assert_eq!(v1_status_enum(&session(status, detail, idle)), Some(expected), "{event}");
        }
    }

    #[test]
    fn names_lead_back_to_what_they_name() {
        for status in Status::ALL {
            assert_eq!(Status::from_name(status.name()), Some(status));
        }
        for detail in StatusDetail::ALL {
            assert_eq!(StatusDetail::from_name(detail.name()), Some(detail));
        }
    }
}
