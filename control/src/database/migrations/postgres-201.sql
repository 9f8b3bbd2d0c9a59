-- What people are asked about requests, and what they said.
CREATE TABLE asks (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    agent TEXT COLLATE "C" NOT NULL,
    -- A digest of everything that is bound but the body.
    scope BYTEA NOT NULL,
    body BYTEA NOT NULL,
    -- All that is bound, as JSON.
    binding TEXT COLLATE "C" NOT NULL,
    -- The version of the provider's document when it was asked; 0: there is none.
    document BIGINT NOT NULL,
    request TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    any_body BIGINT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    decided BIGINT,
    decided_by TEXT COLLATE "C",
    version BIGINT NOT NULL,
    PRIMARY KEY (project, id)
);
CREATE INDEX asks_by_scope ON asks (project, agent, scope);
CREATE INDEX asks_by_end ON asks (expires);
