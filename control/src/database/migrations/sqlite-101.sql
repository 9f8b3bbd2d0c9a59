-- When somebody saw the credential of a document work, and which revision of the server that was.
CREATE TABLE verified (
    project TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    at INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    who TEXT NOT NULL,
    PRIMARY KEY (project, kind, name),
    FOREIGN KEY (project, kind, name) REFERENCES documents ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- Who may do what when he logs in with the issuer; the installation's own rows have an empty project. Whoever was named by
-- e-mail is bound to his subject at his first login: an address may be given to somebody else later.
CREATE TABLE members (
    id TEXT NOT NULL PRIMARY KEY,
    project TEXT NOT NULL,
    issuer TEXT NOT NULL,
    email TEXT,
    subject TEXT,
    role TEXT NOT NULL,
    created INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT;
CREATE INDEX members_by_project ON members (project, id);
CREATE INDEX members_by_subject ON members (issuer, subject);

-- Tokens that a login gave have no role of their own: it is that of the person, as it is now.
ALTER TABLE tokens ADD COLUMN issuer TEXT;
ALTER TABLE tokens ADD COLUMN subject TEXT;
