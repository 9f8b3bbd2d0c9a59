-- The beginning of the body that a person is asked about, while they are asked: sealed at a server.
ALTER TABLE asks ADD COLUMN preview BLOB;
