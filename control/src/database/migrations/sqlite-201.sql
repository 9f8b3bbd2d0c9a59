-- What people are asked about requests, and what they said.
CREATE TABLE asks (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    agent TEXT NOT NULL,
    -- A digest of everything that is bound but the body.
    scope BLOB NOT NULL,
    body BLOB NOT NULL,
    -- All that is bound, as JSON.
    binding TEXT NOT NULL,
    -- The version of the provider's document when it was asked; 0: there is none.
    document INTEGER NOT NULL,
    request TEXT NOT NULL,
    state TEXT NOT NULL,
    any_body INTEGER NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    decided INTEGER,
    decided_by TEXT,
    version INTEGER NOT NULL,
    PRIMARY KEY (project, id)
) STRICT;
CREATE INDEX asks_by_scope ON asks (project, agent, scope);
CREATE INDEX asks_by_end ON asks (expires);
