-- Who an agent's sidecars are, beside the holders of its token. One identity is one agent's in the whole installation.
CREATE TABLE agent_identities (
    identity TEXT NOT NULL PRIMARY KEY,
    project TEXT NOT NULL,
    agent TEXT NOT NULL,
    FOREIGN KEY (project, agent) REFERENCES agents ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX agent_identities_by_agent ON agent_identities (project, agent);
