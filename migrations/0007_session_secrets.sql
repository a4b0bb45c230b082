-- Secrets of sessions that are not over, each encrypted with a key that lies outside of the data
-- folder. sealed: nonce and ciphertext in base64, bound to session and name; key_id tells which key.

CREATE TABLE session_secrets (
    session_id TEXT NOT NULL REFERENCES sessions (id),
    name       TEXT NOT NULL,
    key_id     TEXT NOT NULL,
    sealed     TEXT NOT NULL,
    PRIMARY KEY (session_id, name)
);
