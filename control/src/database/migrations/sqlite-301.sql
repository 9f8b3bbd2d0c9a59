-- Where a chain of the audit stood at a time, signed: what was dropped or cut off afterwards shows.
CREATE TABLE audit_checkpoints (
    source TEXT NOT NULL,
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    at INTEGER NOT NULL,
    key TEXT NOT NULL,
    signature BLOB NOT NULL,
    PRIMARY KEY (source, seq)
) STRICT, WITHOUT ROWID;
