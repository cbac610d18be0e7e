-- The samples of one month and one class of retention. Times are microseconds since the epoch in
-- `message`, and microseconds since the beginning of the month everywhere else.

CREATE TABLE meter (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    unit TEXT NOT NULL,
    kind TEXT NOT NULL,
    UNIQUE (name, unit, kind)
);

-- A resource with its owner. When the owner changes, it is another row.
CREATE TABLE resource (
    id INTEGER PRIMARY KEY,
    resource_id TEXT NOT NULL,
    project_id TEXT,
    user_id TEXT,
    source TEXT NOT NULL
);
CREATE INDEX resource_by_id ON resource (resource_id);
CREATE INDEX resource_by_project ON resource (project_id);

-- The metadata of a resource, once for each content.
CREATE TABLE revision (
    id INTEGER PRIMARY KEY,
    resource INTEGER NOT NULL REFERENCES resource (id),
    digest BLOB NOT NULL,
    metadata TEXT NOT NULL,
    UNIQUE (resource, digest)
);

CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    meter INTEGER NOT NULL REFERENCES meter (id),
    resource INTEGER NOT NULL REFERENCES resource (id),
    UNIQUE (meter, resource)
);
CREATE INDEX series_by_resource ON series (resource);

-- A message that samples came in, or a record of a stream. `body` is the SHA-256 of the message's
-- bytes; `previous` and `digest` are its links in the chain; `record` is the signed record as JSON.
CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    arrived INTEGER NOT NULL,
    origin TEXT NOT NULL,
    event_type TEXT NOT NULL,
    body BLOB NOT NULL,
    samples INTEGER NOT NULL,
    stored INTEGER NOT NULL DEFAULT 0,
    stream BLOB,
    sequence INTEGER,
    previous BLOB,
    digest BLOB,
    record TEXT
);
CREATE UNIQUE INDEX message_by_place ON message (stream, sequence, body) WHERE stream IS NOT NULL;

-- An id is 16 bytes, or text if it is no UUID. A volume is an integer, a float, or null.
CREATE TABLE sample (
    series INTEGER NOT NULL,
    time INTEGER NOT NULL,
    id BLOB NOT NULL,
    volume,
    revision INTEGER NOT NULL,
    message INTEGER NOT NULL,
    PRIMARY KEY (series, time, id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX sample_by_id ON sample (id);

-- Sums of an hour (span 0) or a day (span 1), which begins at `start`. Stale ones are counted again.
CREATE TABLE rollup (
    series INTEGER NOT NULL,
    span INTEGER NOT NULL,
    start INTEGER NOT NULL,
    stale INTEGER NOT NULL,
    row_count INTEGER NOT NULL DEFAULT 0,
    volume_count INTEGER NOT NULL DEFAULT 0,
    sum REAL,
    min,
    max,
    first,
    last,
    first_time INTEGER,
    last_time INTEGER,
    PRIMARY KEY (series, span, start)
) WITHOUT ROWID;
CREATE INDEX rollup_stale ON rollup (span, start) WHERE stale = 1;

CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
