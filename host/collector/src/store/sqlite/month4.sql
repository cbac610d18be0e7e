-- What an audit needs besides: samples of a message that were not stored, by reason, as JSON; samples
-- that came in a message again after they were stored from another one; and sums of days as they were
-- when the month was closed, where later samples have changed them.

ALTER TABLE message ADD COLUMN refused TEXT;

CREATE TABLE repeated (
    message INTEGER NOT NULL,
    id BLOB NOT NULL,
    PRIMARY KEY (message, id)
) WITHOUT ROWID;

CREATE TABLE closed_day (
    series INTEGER NOT NULL,
    start INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    volumes INTEGER NOT NULL,
    sum REAL NOT NULL,
    lowest,
    highest,
    PRIMARY KEY (series, start)
) WITHOUT ROWID;
