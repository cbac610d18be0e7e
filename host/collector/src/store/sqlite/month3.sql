-- What streams state and declare: all records but checkpoints, of which there is one with each batch. A
-- record is JSON text within JSON, so that its quotes are escaped. Queries repeat these conditions.

CREATE INDEX message_declared ON message (stream, sequence)
    WHERE stream IS NOT NULL AND record IS NOT NULL
    AND instr(record, '\"kind\":\"checkpoint\"') = 0;
