-- Where a chain of the audit stood at a time, signed: what was dropped or cut off afterwards shows.
CREATE TABLE audit_checkpoints (
    source TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    at BIGINT NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    signature BYTEA NOT NULL,
    PRIMARY KEY (source, seq)
);
