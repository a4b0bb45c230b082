-- Sessions that wait for somebody's decision stay out of the queue's index, however many they become; the query that
-- looks for the next one repeats the condition. What is left of sessions that are over is found without a scan.
DROP INDEX sessions_claimable;
CREATE INDEX sessions_claimable ON sessions (not_before, id)
    WHERE ended_at IS NULL AND (stop_requested_at IS NOT NULL OR inbox_seq > done_seq)
    AND (stop_requested_at IS NOT NULL OR status IN ('new', 'claimed', 'running', 'resuming'));
CREATE INDEX sessions_with_workspace ON sessions (ended_at)
    WHERE ended_at IS NOT NULL AND workspace_removed_at IS NULL;
