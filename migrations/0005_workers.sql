-- A session is held by whoever stands in worker_id; lease_until only shows that the holder still
-- renews its claim. What counts an organisation's running sessions, and what looks at all claims,
-- goes through the held ones alone.

DROP INDEX sessions_leased;
CREATE INDEX sessions_held ON sessions (org_id) WHERE worker_id IS NOT NULL;

-- What an agent left becomes an attachment before its session names it, in the transaction that ends
-- the turn. Until then this is set; what stays so while nobody holds the session is removed.
ALTER TABLE attachments ADD COLUMN unnamed_since BIGINT;
CREATE INDEX attachments_unnamed ON attachments (unnamed_since) WHERE unnamed_since IS NOT NULL;
