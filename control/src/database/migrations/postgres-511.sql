-- Who an agent's sidecars are, beside the holders of its token. One identity is one agent's in the whole installation.
CREATE TABLE agent_identities (
    identity TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    project TEXT COLLATE "C" NOT NULL,
    agent TEXT COLLATE "C" NOT NULL,
    FOREIGN KEY (project, agent) REFERENCES agents ON DELETE CASCADE
);
CREATE INDEX agent_identities_by_agent ON agent_identities (project, agent);
