-- What is kept and handed back. `blob` is the blob store's own locator; a row never points at bytes
-- that are not durable. A deleted attachment stays as a row without bytes, so that its owner can be
-- told when and why it went.

CREATE TABLE attachments (
    id             TEXT PRIMARY KEY,
    org_id         TEXT NOT NULL REFERENCES organizations (id),
    name           TEXT NOT NULL,
    size           BIGINT NOT NULL,
    sha256         TEXT NOT NULL,
    content_type   TEXT NOT NULL,
    blob           TEXT NOT NULL,
    source         TEXT NOT NULL CHECK (source IN ('user', 'devin')),
    created_at     BIGINT NOT NULL,
    created_by     TEXT,
    session_id     TEXT,
    expires_at     BIGINT,
    deleted_at     BIGINT,
    deleted_reason TEXT
);
CREATE UNIQUE INDEX attachments_by_blob ON attachments (blob);

-- Bytes whose attachment is gone and that are still to be removed from the store.
CREATE TABLE discarded_blobs (
    blob         TEXT PRIMARY KEY,
    size         BIGINT NOT NULL,
    discarded_at BIGINT NOT NULL
);
