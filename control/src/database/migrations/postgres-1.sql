-- What has to be known before anything is opened: the check value of the master key, passphrase parameters, the revision.
CREATE TABLE meta (
    key TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value BYTEA NOT NULL
);

CREATE TABLE revision (
    one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    number BIGINT NOT NULL
);
INSERT INTO revision VALUES (1, 0);

-- The last version of each name. It outlives the secret: a name that is used again must not repeat a version that a
-- running proxy still holds.
CREATE TABLE last_versions (
    project TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (project, name)
);

CREATE TABLE secrets (
    project TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C",
    created BIGINT NOT NULL,
    current BIGINT NOT NULL,
    revision BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (project, name)
);

-- `sealed_as` is the version under which the values were sealed: rolling back makes a new version of old values.
-- `hosts` and `expires` are authenticated with the values.
CREATE TABLE versions (
    project TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    sealed_as BIGINT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT,
    hosts TEXT COLLATE "C",
    -- Until when a version that is not current can be returned to, unix seconds; NULL: until the next rotation.
    kept_until BIGINT,
    PRIMARY KEY (project, name, version),
    FOREIGN KEY (project, name) REFERENCES secrets ON DELETE CASCADE
);

CREATE INDEX versions_by_end ON versions (kept_until) WHERE kept_until IS NOT NULL;

CREATE TABLE sealed_values (
    project TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    sealed_as BIGINT NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    record BYTEA NOT NULL,
    fingerprint TEXT COLLATE "C" NOT NULL,
    -- First and last characters, where the project keeps them.
    hint TEXT COLLATE "C",
    PRIMARY KEY (project, name, sealed_as, key),
    FOREIGN KEY (project, name) REFERENCES secrets ON DELETE CASCADE
);

CREATE TABLE variables (
    project TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    created BIGINT NOT NULL,
    revision BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (project, name)
);

-- The server's state. The installation's own rows have an empty project.

-- Which of its keys a project seals with: rises when the project's key is rotated.
CREATE TABLE generations (
    project TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL
);

CREATE TABLE projects (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    description TEXT COLLATE "C",
    unbound_secrets BIGINT NOT NULL,
    hints BIGINT NOT NULL,
    created BIGINT NOT NULL,
    version BIGINT NOT NULL
);

CREATE TABLE documents (
    project TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    content TEXT COLLATE "C" NOT NULL,
    type_name TEXT COLLATE "C" NOT NULL,
    withheld BIGINT NOT NULL,
    created BIGINT NOT NULL,
    changed BIGINT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (project, kind, name)
);

CREATE TABLE document_uses (
    project TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    secret TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (project, kind, name, secret),
    FOREIGN KEY (project, kind, name) REFERENCES documents ON DELETE CASCADE
);
CREATE INDEX document_uses_by_secret ON document_uses (project, secret);

CREATE TABLE document_claims (
    project TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    claim TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (project, kind, name, claim),
    FOREIGN KEY (project, kind, name) REFERENCES documents ON DELETE CASCADE
);

CREATE TABLE agents (
    project TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C",
    digest BYTEA NOT NULL UNIQUE,
    created BIGINT NOT NULL,
    expires BIGINT,
    revoked BIGINT,
    version BIGINT NOT NULL,
    PRIMARY KEY (project, name)
);

CREATE TABLE sidecars (
    project TEXT COLLATE "C" NOT NULL,
    agent TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    acknowledged BIGINT NOT NULL,
    seen BIGINT NOT NULL,
    PRIMARY KEY (project, agent, id),
    FOREIGN KEY (project, agent) REFERENCES agents ON DELETE CASCADE
);

-- What an environment variable holds is named by `source_kind` (variable, secret) and `source`.
CREATE TABLE attachments (
    project TEXT COLLATE "C" NOT NULL,
    agent TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    source_kind TEXT COLLATE "C",
    source TEXT COLLATE "C",
    created BIGINT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (project, agent, kind, name),
    FOREIGN KEY (project, agent) REFERENCES agents ON DELETE CASCADE
);
CREATE INDEX attachments_by_name ON attachments (project, kind, name);

-- What an agent's attachments cover: each thing once.
CREATE TABLE attachment_claims (
    project TEXT COLLATE "C" NOT NULL,
    agent TEXT COLLATE "C" NOT NULL,
    claim TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (project, agent, claim),
    FOREIGN KEY (project, agent, kind, name) REFERENCES attachments ON DELETE CASCADE
);
CREATE INDEX attachment_claims_by_name ON attachment_claims (project, agent, kind, name);

CREATE TABLE tokens (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    project TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    digest BYTEA NOT NULL UNIQUE,
    role TEXT COLLATE "C" NOT NULL,
    expires BIGINT,
    created BIGINT NOT NULL,
    last_used BIGINT,
    version BIGINT NOT NULL,
    UNIQUE (project, name)
);

CREATE TABLE idempotency (
    owner TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    request BYTEA NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (owner, key)
);
CREATE INDEX idempotency_by_age ON idempotency (at);

CREATE TABLE changes (
    revision BIGINT NOT NULL,
    project TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (revision, project, kind, name)
);

CREATE TABLE last_used (
    project TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (project, name)
);

CREATE TABLE audit (
    source TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    project TEXT COLLATE "C" NOT NULL,
    hash BYTEA NOT NULL,
    line TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (source, seq)
);
CREATE INDEX audit_by_project ON audit (project, source, seq);

-- Where each source's chain ends; whoever continues it holds its row.
CREATE TABLE audit_chains (
    source TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    project TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    hash BYTEA NOT NULL
);
