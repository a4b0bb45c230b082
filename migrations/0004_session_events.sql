-- What happened in a session, in the order in which it happened, for those who follow it. `event_seq` of a session is
-- the position given last: whoever adds an event counts it up first, which on any engine keeps other writers of the
-- same session out until the transaction ends. So positions grow in the order of the commits and are never given twice.
-- `told_status` is the status that the last event told of. `data` is a JSON object; an event of kind `message` or
-- `receipt` names what it speaks of and does not copy it.

ALTER TABLE sessions ADD COLUMN event_seq BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN told_status TEXT NOT NULL DEFAULT '';

CREATE TABLE session_events (
    session_id TEXT NOT NULL REFERENCES sessions (id),
    position   BIGINT NOT NULL,
    kind       TEXT NOT NULL,
    data       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (session_id, position)
);

-- Sessions from before get what is still known of them: their messages, and where they stand.
INSERT INTO session_events (session_id, position, kind, data, created_at)
    SELECT session_id, position, 'message', '{"position":' || position || '}', created_at FROM session_messages;
INSERT INTO session_events (session_id, position, kind, data, created_at)
    SELECT id, (SELECT COALESCE(MAX(position), 0) FROM session_events e WHERE e.session_id = sessions.id) + 1, 'status',
        '{"status":"' || status || '","status_detail":' || COALESCE('"' || status_detail || '"', 'null') || '}',
        status_at
    FROM sessions;
UPDATE sessions SET told_status = status || '/' || COALESCE(status_detail, ''),
    event_seq = (SELECT MAX(position) FROM session_events e WHERE e.session_id = sessions.id);
