-- Sessions that want structured output: the JSON Schema (draft 7), whether an output is required, and
-- the newest valid one as JSON, if there is one.

CREATE TABLE structured_outputs (
    session_id TEXT PRIMARY KEY REFERENCES sessions (id),
    schema     TEXT NOT NULL,
    required   BIGINT NOT NULL,
    output     TEXT,
    is_final   BIGINT NOT NULL
);
