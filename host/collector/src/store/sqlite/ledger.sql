-- What belongs to no month: messages that could not be read, and what became of all samples.

CREATE TABLE letter (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    arrived INTEGER NOT NULL,
    origin TEXT NOT NULL,
    reason TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    body BLOB NOT NULL,
    place TEXT
);

CREATE TABLE tally (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
