-- The server's state. The installation's own rows have an empty project.
ALTER TABLE secrets ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE variables ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
-- Until when a version that is not current can be returned to, unix seconds; NULL: until the next rotation.
ALTER TABLE versions ADD COLUMN kept_until INTEGER;
CREATE INDEX versions_by_end ON versions (kept_until) WHERE kept_until IS NOT NULL;
-- First and last characters, where the project keeps them.
ALTER TABLE sealed_values ADD COLUMN hint TEXT;

-- Which of its keys a project seals with: rises when the project's key is rotated.
CREATE TABLE generations (
    project TEXT NOT NULL PRIMARY KEY,
    generation INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE projects (
    name TEXT NOT NULL PRIMARY KEY,
    description TEXT,
    unbound_secrets INTEGER NOT NULL,
    hints INTEGER NOT NULL,
    created INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE documents (
    project TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    content TEXT NOT NULL,
    type_name TEXT NOT NULL,
    withheld INTEGER NOT NULL,
    created INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (project, kind, name)
) STRICT;

CREATE TABLE document_uses (
    project TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    secret TEXT NOT NULL,
    PRIMARY KEY (project, kind, name, secret),
    FOREIGN KEY (project, kind, name) REFERENCES documents ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX document_uses_by_secret ON document_uses (project, secret);

CREATE TABLE document_claims (
    project TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    claim TEXT NOT NULL,
    PRIMARY KEY (project, kind, name, claim),
    FOREIGN KEY (project, kind, name) REFERENCES documents ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE agents (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    digest BLOB NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    expires INTEGER,
    revoked INTEGER,
    version INTEGER NOT NULL,
    PRIMARY KEY (project, name)
) STRICT;

CREATE TABLE sidecars (
    project TEXT NOT NULL,
    agent TEXT NOT NULL,
    id TEXT NOT NULL,
    acknowledged INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    PRIMARY KEY (project, agent, id),
    FOREIGN KEY (project, agent) REFERENCES agents ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- What an environment variable holds is named by `source_kind` (variable, secret) and `source`.
CREATE TABLE attachments (
    project TEXT NOT NULL,
    agent TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    source_kind TEXT,
    source TEXT,
    created INTEGER NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (project, agent, kind, name),
    FOREIGN KEY (project, agent) REFERENCES agents ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX attachments_by_name ON attachments (project, kind, name);

-- What an agent's attachments cover: each thing once.
CREATE TABLE attachment_claims (
    project TEXT NOT NULL,
    agent TEXT NOT NULL,
    claim TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (project, agent, claim),
    FOREIGN KEY (project, agent, kind, name) REFERENCES attachments ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX attachment_claims_by_name ON attachment_claims (project, agent, kind, name);

CREATE TABLE tokens (
    id TEXT NOT NULL PRIMARY KEY,
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    role TEXT NOT NULL,
    expires INTEGER,
    created INTEGER NOT NULL,
    last_used INTEGER,
    version INTEGER NOT NULL,
    UNIQUE (project, name)
) STRICT;

CREATE TABLE idempotency (
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    request BLOB NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (owner, key)
) STRICT;
CREATE INDEX idempotency_by_age ON idempotency (at);

CREATE TABLE changes (
    revision INTEGER NOT NULL,
    project TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (revision, project, kind, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE last_used (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (project, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    source TEXT NOT NULL,
    seq INTEGER NOT NULL,
    project TEXT NOT NULL,
    hash BLOB NOT NULL,
    line TEXT NOT NULL,
    PRIMARY KEY (source, seq)
) STRICT;
CREATE INDEX audit_by_project ON audit (project, source, seq);

-- Where each source's chain ends; whoever continues it holds its row.
CREATE TABLE audit_chains (
    source TEXT NOT NULL PRIMARY KEY,
    project TEXT NOT NULL,
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT, WITHOUT ROWID;
