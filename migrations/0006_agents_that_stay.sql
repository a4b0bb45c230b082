-- For agents whose process lives across turns. `agent_session`: what the agent calls its conversation, to take it up
-- again in a new process. `parked_at`: since when the session is held by a worker whose agent waits for a message; it
-- takes no slot then. `told_attempts`: attempts whose failure was told in a message, so that the next one is not told
-- as an interruption. `turn_open`: 1 from the
-- beginning of a turn until its messages are handled; the agent is told of a turn that was cut short.
ALTER TABLE sessions ADD COLUMN agent_session TEXT;
ALTER TABLE sessions ADD COLUMN parked_at BIGINT;
ALTER TABLE sessions ADD COLUMN told_attempts BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN turn_open BIGINT NOT NULL DEFAULT 0;
