-- The digest over the days, resources and meters of a closed month, and those of its projects, which
-- are named by pseudonyms.

ALTER TABLE closing ADD COLUMN tree BLOB;

CREATE TABLE closed_project (
    month TEXT NOT NULL REFERENCES closing (month),
    project BLOB NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (month, project)
) WITHOUT ROWID;
