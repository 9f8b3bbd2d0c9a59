-- What has to be known before anything is opened: the check value of the master key, passphrase parameters, the revision.
CREATE TABLE meta (
    key TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE revision (
    only INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
    number INTEGER NOT NULL
) STRICT;
INSERT INTO revision VALUES (1, 0);

-- The last version of each name. It outlives the secret: a name that is used again must not repeat a version that a
-- running proxy still holds.
CREATE TABLE last_versions (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (project, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE secrets (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    created INTEGER NOT NULL,
    current INTEGER NOT NULL,
    PRIMARY KEY (project, name)
) STRICT, WITHOUT ROWID;

-- `sealed_as` is the version under which the values were sealed: rolling back makes a new version of old values.
-- `hosts` and `expires` are authenticated with the values.
CREATE TABLE versions (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    sealed_as INTEGER NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER,
    hosts TEXT,
    PRIMARY KEY (project, name, version),
    FOREIGN KEY (project, name) REFERENCES secrets ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE sealed_values (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    sealed_as INTEGER NOT NULL,
    key TEXT NOT NULL,
    record BLOB NOT NULL,
    fingerprint TEXT NOT NULL,
    PRIMARY KEY (project, name, sealed_as, key),
    FOREIGN KEY (project, name) REFERENCES secrets ON DELETE CASCADE
) STRICT;

CREATE TABLE variables (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (project, name)
) STRICT, WITHOUT ROWID;
