-- Sessions, their messages and what was handed over. The table of sessions is the queue: a session
-- with inbox_seq > done_seq has a message to handle; `epoch` grows with every claim and fences the
-- writes of a worker that has lost its lease. Sessions that wait are taken in the order of
-- not_before.

CREATE TABLE sessions (
    id                TEXT PRIMARY KEY,
    org_id            TEXT NOT NULL REFERENCES organizations (id),
    created_by        TEXT NOT NULL,
    created_by_email  TEXT,
    title             TEXT,
    tags              TEXT NOT NULL,
    playbook_id       TEXT,
    snapshot_id       TEXT,
    agent             TEXT NOT NULL,
    status            TEXT NOT NULL,
    status_detail     TEXT,
    status_at         BIGINT NOT NULL,
    api_version       TEXT NOT NULL CHECK (api_version IN ('v1', 'v3')),
    idempotency_key   TEXT,
    inbox_seq         BIGINT NOT NULL,
    done_seq          BIGINT NOT NULL,
    epoch             BIGINT NOT NULL,
    attempts          BIGINT NOT NULL,
    rests             BIGINT NOT NULL,
    worker_id         TEXT,
    lease_until       BIGINT,
    not_before        BIGINT NOT NULL,
    stop_requested_at BIGINT,
    archived_at       BIGINT,
    ended_at          BIGINT,
    workspace_removed_at BIGINT,
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL,
    -- May be long and is read by nobody here, so it comes last: what stands before is read without it.
    fields            TEXT NOT NULL
);
CREATE INDEX sessions_by_org ON sessions (org_id, created_at, id);
CREATE INDEX sessions_by_key ON sessions (created_by, idempotency_key, created_at);
CREATE INDEX sessions_waiting ON sessions (status, not_before);
-- The queue and nothing else; the query that looks for the next one repeats the condition.
CREATE INDEX sessions_claimable ON sessions (not_before, id)
    WHERE ended_at IS NULL AND (stop_requested_at IS NOT NULL OR inbox_seq > done_seq);
CREATE INDEX sessions_leased ON sessions (org_id, lease_until);

-- The tags once more, one row for each, to find sessions by them.
CREATE TABLE session_tags (
    session_id TEXT NOT NULL REFERENCES sessions (id),
    tag        TEXT NOT NULL,
    PRIMARY KEY (session_id, tag)
);

-- position orders the messages of a session; seq numbers the user's messages from 1 (else null).
CREATE TABLE session_messages (
    session_id TEXT NOT NULL REFERENCES sessions (id),
    position   BIGINT NOT NULL,
    seq        BIGINT,
    event_id   TEXT NOT NULL UNIQUE,
    source     TEXT NOT NULL CHECK (source IN ('user', 'devin')),
    kind       TEXT NOT NULL CHECK (kind IN ('message', 'notice')),
    message    TEXT NOT NULL,
    user_id    TEXT,
    username   TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (session_id, position)
);

-- One row for each file of a session in each direction (a file that came back may be handed in
-- again); the receipt of its delivery. seq: the user's message that named it first.
CREATE TABLE session_attachments (
    session_id    TEXT NOT NULL REFERENCES sessions (id),
    attachment_id TEXT NOT NULL REFERENCES attachments (id),
    source        TEXT NOT NULL CHECK (source IN ('user', 'devin')),
    position      BIGINT NOT NULL,
    seq           BIGINT NOT NULL,
    url           TEXT NOT NULL,
    path          TEXT,
    state         TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    error         TEXT,
    at            BIGINT NOT NULL,
    PRIMARY KEY (session_id, attachment_id, source)
);
