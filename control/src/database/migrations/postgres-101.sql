-- When somebody saw the credential of a document work, and which revision of the server that was.
CREATE TABLE verified (
    project TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    who TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (project, kind, name),
    FOREIGN KEY (project, kind, name) REFERENCES documents ON DELETE CASCADE
);

-- Who may do what when he logs in with the issuer; the installation's own rows have an empty project. Whoever was named by
-- e-mail is bound to his subject at his first login: an address may be given to somebody else later.
CREATE TABLE members (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    project TEXT COLLATE "C" NOT NULL,
    issuer TEXT COLLATE "C" NOT NULL,
    email TEXT COLLATE "C",
    subject TEXT COLLATE "C",
    role TEXT COLLATE "C" NOT NULL,
    created BIGINT NOT NULL,
    version BIGINT NOT NULL
);
CREATE INDEX members_by_project ON members (project, id);
CREATE INDEX members_by_subject ON members (issuer, subject);

-- Tokens that a login gave have no role of their own: it is that of the person, as it is now.
ALTER TABLE tokens ADD COLUMN issuer TEXT COLLATE "C";
ALTER TABLE tokens ADD COLUMN subject TEXT COLLATE "C";
