-- A session is held by whoever stands in worker_id; lease_until only shows that the holder still
-- renews its claim. What counts an organisation's running sessions, and what looks at all claims,
-- goes through the held ones alone.

DROP INDEX sessions_leased;
CREATE INDEX sessions_held ON sessions (org_id) WHERE worker_id IS NOT NULL;
