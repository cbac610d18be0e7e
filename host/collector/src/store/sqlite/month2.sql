-- Samples that were stored after their month was closed, by series. Times of arrival are microseconds
-- since the epoch.

CREATE TABLE correction (
    series INTEGER PRIMARY KEY,
    samples INTEGER NOT NULL,
    volumes INTEGER NOT NULL,
    sum REAL NOT NULL,
    lowest,
    highest,
    first_arrived INTEGER NOT NULL,
    last_arrived INTEGER NOT NULL
);
