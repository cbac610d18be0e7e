# shellcheck shell=bash
# Shared by scripts that run services of their own, which source it after common.sh: a folder `work`, processes that end with the
# script, and PostgreSQL. All services listen on free ports of the loopback address.

mkdir -p target/tmp
work=$(mktemp -d -p "$root/target/tmp")
pids=()
# Scripts may add to what is done at the end.
at_end=()

end_services() {
  local pid command
  for command in "${at_end[@]}"; do eval "$command" || true; done
  # At once: with SIGTERM, some wait for their clients, and uwsgi for workers that are still starting.
  for pid in "${pids[@]}"; do kill -INT "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap end_services EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# await WHAT LOG PID COMMAND...: repeats a command until it succeeds, for ten minutes: machines that run tests are busy.
await() {
  local what=$1 log=$2 pid=$3 end=$((SECONDS + 600))
  shift 3
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] && kill -0 "$pid" 2>/dev/null ||
      { tail -n 15 "$log" >&2; die "$what did not start"; }
    sleep 0.2
  done
}

# start_postgres NAME: starts PostgreSQL with a user and a database of this name; sets `database_port`, and `psql`, a command that
# takes a statement.
start_postgres() {
  local postgres as_user=()
  postgres=$(dirname "$(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | tail -n 1)")
  [ -x "$postgres/initdb" ] || die "PostgreSQL is missing; run: scripts/install oracles"
  # It refuses to run as root.
  if [ "$(id -u)" = 0 ]; then
    as_user=(setpriv --reuid=postgres --regid=postgres --clear-groups)
    chmod 755 "$work"
    install -d -o postgres -g postgres "$work/postgres"
  else
    mkdir "$work/postgres"
  fi
  database_port=$(free_port)
  (cd "$work/postgres" && "${as_user[@]}" "$postgres/initdb" -D "$work/postgres/data" -U "$1" -A trust -E UTF8 --locale=C.UTF-8) \
    > "$work/initdb.log"
  (cd "$work/postgres" && exec "${as_user[@]}" "$postgres/postgres" -D "$work/postgres/data" -p "$database_port" \
    -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off) > "$work/postgres.log" 2>&1 &
  pids+=($!)
  await PostgreSQL "$work/postgres.log" $! "$postgres/pg_isready" -h 127.0.0.1 -p "$database_port"
  "$postgres/createdb" -h 127.0.0.1 -p "$database_port" -U "$1" "$1"
  psql=("$postgres/psql" -h 127.0.0.1 -p "$database_port" -U "$1" -d "$1" -tAc)
}
