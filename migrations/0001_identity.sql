-- Who may do what. TEXT and BIGINT only (times: microseconds since 1970), so that one text serves
-- SQLite and PostgreSQL. Flags are times that may be null.

CREATE TABLE organizations (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- People (user-...) and service users (service-user-...).
CREATE TABLE principals (
    id         TEXT PRIMARY KEY,
    kind       TEXT NOT NULL CHECK (kind IN ('user', 'service_user')),
    name       TEXT NOT NULL,
    email      TEXT,
    org_id     TEXT REFERENCES organizations (id),
    created_at BIGINT NOT NULL,
    deleted_at BIGINT
);

-- org_id '' stands for the whole enterprise.
CREATE TABLE role_assignments (
    principal_id TEXT NOT NULL REFERENCES principals (id),
    org_id       TEXT NOT NULL,
    role_id      TEXT NOT NULL,
    PRIMARY KEY (principal_id, org_id, role_id)
);

-- Only the SHA-256 of a key is kept. org_id: the one organisation of a v1 key; null for cog_ keys.
CREATE TABLE api_keys (
    id           TEXT PRIMARY KEY,
    kind         TEXT NOT NULL CHECK (kind IN ('personal', 'service', 'service_user')),
    name         TEXT NOT NULL,
    hash         TEXT NOT NULL UNIQUE,
    principal_id TEXT NOT NULL REFERENCES principals (id),
    org_id       TEXT REFERENCES organizations (id),
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    revoked_at   BIGINT,
    last_used_at BIGINT
);

-- Append only: who did what, when, from where.
CREATE TABLE audit_logs (
    id           TEXT PRIMARY KEY,
    created_at   BIGINT NOT NULL,
    action       TEXT NOT NULL,
    org_id       TEXT,
    principal_id TEXT,
    key_id       TEXT,
    address      TEXT,
    subject      TEXT,
    data         TEXT
);
CREATE INDEX audit_logs_by_org ON audit_logs (org_id, created_at);
