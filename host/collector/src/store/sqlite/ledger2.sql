-- Closed months: the sums at the time of closing, a digest over them, and whether files of the month
-- have been dropped since. And projects whose samples are stored without metadata.

CREATE TABLE closing (
    month TEXT PRIMARY KEY,
    closed INTEGER NOT NULL,
    digest BLOB NOT NULL,
    dropped INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE closed_sum (
    month TEXT NOT NULL REFERENCES closing (month),
    project TEXT,
    meter TEXT NOT NULL,
    unit TEXT NOT NULL,
    kind TEXT NOT NULL,
    samples INTEGER NOT NULL,
    volumes INTEGER NOT NULL,
    sum REAL NOT NULL,
    lowest,
    highest
);
CREATE INDEX closed_sum_by_month ON closed_sum (month);

CREATE TABLE erasing (project TEXT PRIMARY KEY, since INTEGER NOT NULL) WITHOUT ROWID;
