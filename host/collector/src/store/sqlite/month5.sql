-- Sums over all resources of a project. Samples belong to a project by their series.

CREATE TABLE project_meter (
    id INTEGER PRIMARY KEY,
    meter INTEGER NOT NULL REFERENCES meter (id),
    project_id TEXT
);
CREATE INDEX project_meter_by_meter ON project_meter (meter, project_id);
ALTER TABLE series ADD COLUMN project_meter INTEGER REFERENCES project_meter (id);

INSERT INTO project_meter (meter, project_id)
    SELECT DISTINCT s.meter, r.project_id FROM series s JOIN resource r ON r.id = s.resource;
UPDATE series SET project_meter = (
    SELECT p.id FROM resource r
    JOIN project_meter p ON p.meter = series.meter AND p.project_id IS r.project_id
    WHERE r.id = series.resource
);
CREATE INDEX series_by_project_meter ON series (project_meter);

-- Sums of the rows of `rollup` that begin at `start`, of all series of a meter and a project. Stale
-- ones are counted again. An hour or a day of few series has no row.
CREATE TABLE project_rollup (
    project_meter INTEGER NOT NULL,
    span INTEGER NOT NULL,
    start INTEGER NOT NULL,
    stale INTEGER NOT NULL,
    row_count INTEGER NOT NULL DEFAULT 0,
    volume_count INTEGER NOT NULL DEFAULT 0,
    sum REAL,
    min,
    max,
    first_time INTEGER,
    last_time INTEGER,
    PRIMARY KEY (project_meter, span, start)
) WITHOUT ROWID;
CREATE INDEX project_rollup_stale ON project_rollup (span, start) WHERE stale = 1;

INSERT INTO project_rollup (project_meter, span, start, stale)
    SELECT DISTINCT s.project_meter, u.span, u.start, 1
    FROM rollup u JOIN series s ON s.id = u.series;
