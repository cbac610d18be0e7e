"""Runs statements that the collector has sent to a server of 18.16 on chDB, which is the present ClickHouse in a process. The first
argument is a file with a JSON text a line. What an insert has in its body is left out: its columns are checked."""

import json
import re
import sys
import tempfile

import chdb.session

INSERT = re.compile(r"^INSERT INTO (\S+) \((.*)\) FORMAT RowBinary$", re.S)
# The log of the server has no values.
VALUES = re.compile(r"^INSERT INTO (\S+) VALUES\s*$")


def main():
    with open(sys.argv[1]) as file:
        statements = [json.loads(line) for line in file]
    # Databases and tables come first, whenever they were made, and views of tables after these.
    first = ("CREATE DATABASE", "CREATE TABLE", "CREATE")
    statements.sort(key=lambda text: next((at for at, start in enumerate(first) if text.startswith(start)), len(first)))
    failed = 0
    kinds = {}
    with tempfile.TemporaryDirectory() as folder:
        session = chdb.session.Session(folder)
        for statement in statements:
            binary = INSERT.match(statement)
            if binary:
                table, columns = binary.groups()
                statement = f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {table} LIMIT 0"
            elif without := VALUES.match(statement):
                table = without[1]
                statement = f"INSERT INTO {table} SELECT * FROM {table} LIMIT 0"
            try:
                session.query(statement)
            except Exception as error:
                failed += 1
                print(f"{error}\n  {statement[:2000]}", file=sys.stderr)
            kind = statement.split(" ", 1)[0]
            kinds[kind] = kinds.get(kind, 0) + 1
        version = str(session.query("SELECT version()", "TSV")).strip()
        session.close()
    counted = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    if failed:
        sys.exit(f"{failed} of {len(statements)} statements fail on {version}")
    print(f"ok: {len(statements)} statements on {version}: {counted}")


main()
