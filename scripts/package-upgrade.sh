# shellcheck shell=bash
# The part of scripts/package-test that upgrades from an earlier version and goes back to it, with data in flight. It is sourced there,
# and uses its functions.

before=$root/target/before/debian
samples=$tree/var/lib/nephometer

# Copies a package of the earlier version into the container, with a version below that of the present one.
package_before() {
  local name=$1
  repack 0.1.0~before-1 "$(echo "$before/$name"_*.deb)" "$tree/packages/before-$name.deb"
  echo "/packages/before-$name.deb"
}

# Changed files of the configuration stay, as with apt's question.
install_over() { in_it dpkg -i --force-confold "$@"; }

# The ids of the samples of a file, sorted; twice what is there twice.
ids() {
  [ -f "$1" ] || return 0
  python3 -c 'import json, sys
for line in open(sys.argv[1]): print(json.loads(line)["id"])' "$1" | sort
}
# The store is the agent's; root is refused while it does not run.
as_agent() { in_it runuser -u nephometer -- nephometer "$@"; }
# The same of the envelopes that wait for the broker.
pending_ids() {
  local spool
  spool=$(as_agent spool ls --json | python3 -c 'import json, sys
print(next(one["spool"] for one in json.load(sys.stdin) if one["spool"].startswith("pending/")))')
  as_agent spool export "$spool" | python3 -c 'import json, sys
for line in sys.stdin:
    envelope = json.loads(line)
    if envelope["samples"]:
        message = json.loads(json.loads(envelope["body"])["oslo.message"])
        for sample in message["payload"]: print(sample["message_id"])' | sort
}
count_of() { [ -f "$1" ] && wc -l < "$1" || echo 0; }
more() {
  local file=$1 least=$2
  [ "$(count_of "$file")" -ge "$least" ]
}
# Waits for three more polling cycles of three machines.
three_cycles() { until_ok "three polling cycles" more "$samples/raw.ndjson" $(($(count_of "$samples/raw.ndjson") + 9)); }

configure_flight() {
  cat > "$tree/etc/nephometer/nephometer.yaml" <<'END'
libvirt: {uri: "sim://?domains=3&seed=1"}
amqp: {url: "amqp://guest:guest@127.0.0.1:1/%2F"}
shutdown_grace: 5s
END
  local rate='{parameters: {target: {name: rate, unit: "%", type: gauge, scale: "1"}}, name: '
  cat > "$tree/etc/nephometer/pipeline.yaml" <<END
sources:
    - {name: cpu, interval: 1, meters: [cpu], sinks: [raw, rates, pending]}
sinks:
    - {name: raw, publishers: ["file:///var/lib/nephometer/raw.ndjson?json"]}
    - {name: rates, transformers: [${rate}rate_of_change}], publishers: ["file:///var/lib/nephometer/rates.ndjson?json"]}
    - {name: pending, publishers: ["notifier://"]}
END
  printf 'api: {listen: "127.0.0.1:8777", access: loopback}\nbrokers: []\n' > "$tree/etc/nephometer/collector.yaml"
  in_it systemctl restart nephometer
}

# All samples that were polled are in the file, once in the spool, and are the input of each rate. After the kill the file may have
# a batch twice, with the same ids.
check_flight() {
  local when=$1 raw
  in_it systemctl stop nephometer
  raw=$(ids "$samples/raw.ndjson" | uniq)
  check "$when: at most the batch of the kill is twice in the file" [ "$(ids "$samples/raw.ndjson" | uniq -d | wc -l)" -le 3 ]
  check "$when: the spool has the same $(wc -l <<< "$raw") samples, each once" [ "$(pending_ids)" = "$raw" ]
  # All but the first of each machine have a rate: the state of the component was taken up.
  check "$when: no rate is missing or there twice" [ "$(ids "$samples/rates.ndjson" | uniq | wc -l)" = $(($(wc -l <<< "$raw") - 3)) ]
  in_it systemctl start nephometer
}

collect() { in_it runuser -u nephometer-collector -- nephometer-collector "$@"; }
stored() { collect status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["samples"])'; }
stores() { [ "$(stored 2>/dev/null)" = "$1" ]; }
import() {
  install -m 644 "$samples/raw.ndjson" "$tree/srv/raw.ndjson"
  collect import --unsigned /srv/raw.ndjson >/dev/null
}
schemas() {
  python3 -c 'import glob, sqlite3, sys
print(*sorted({sqlite3.connect(file).execute("PRAGMA user_version").fetchone()[0] for file in glob.glob(sys.argv[1] + "/*.default.db")}))' \
    "$tree/var/lib/nephometer-collector"
}

upgrade_agent_in_flight() {
  local waiting
  waiting=$(pending_ids)
  check "the earlier version has pending envelopes" [ -n "$waiting" ]
  # Killed, so that batches are in its journal, or half done.
  in_it systemctl kill -s KILL nephometer
  check "the upgrade is installed" install_over "$(package nephometer)"
  three_cycles
  check "all that was pending still is" [ -z "$(comm -23 <(echo "$waiting") <(pending_ids))" ]
  check_flight "after the upgrade"
  three_cycles
  check "the earlier version is installed again" install_over "$(package_before nephometer)"
  three_cycles
  check_flight "after going back"
  check "the upgrade is installed once more" install_over "$(package nephometer)"
  three_cycles
  check_flight "after the second upgrade"
}

upgrade_collector() {
  local first second
  # What is imported has to stay the same.
  in_it systemctl stop nephometer
  in_it systemctl start nephometer-collector
  import
  first=$(stored)
  check "the earlier collector stores $first samples" [ "$first" -gt 9 ]
  check "in files of the first schema" [ "$(schemas)" = 1 ]
  collect backup /tmp/backup >/dev/null
  check "the upgrade of the collector is installed" install_over "$(package nephometer-collector)"
  until_ok "the collector is active" has nephometer-collector ActiveState active
  check "its files are migrated" [ "$(schemas)" = 5 ]
  check "nothing is lost" stores "$first"
  import
  check "what comes again is stored once" stores "$first"
  in_it systemctl start nephometer
  three_cycles
  in_it systemctl stop nephometer
  import
  second=$(stored)
  check "more samples are stored: $second" [ "$second" -gt "$first" ]

  check "the earlier collector is installed again" install_over "$(package_before nephometer-collector)"
  until_ok "it refuses files of a later schema by name" \
    in_it sh -c 'journalctl -b -u nephometer-collector | grep -q "has schema 3, and this version knows schema 1"'
  in_it systemctl stop nephometer-collector
  in_it mv /var/lib/nephometer-collector /srv/later
  in_it install -d -m 700 -o nephometer-collector -g nephometer-collector /var/lib/nephometer-collector
  collect restore /tmp/backup >/dev/null
  in_it systemctl start nephometer-collector
  check "with the backup it has what was stored then" stores "$first"
  import
  check "and takes what has come since from the files" stores "$second"
  check "the upgrade of the collector is installed once more" install_over "$(package nephometer-collector)"
  until_ok "the collector is active" has nephometer-collector ActiveState active
  check "nothing is lost" stores "$second"
  printf 'store: {path: /srv/later}\n' > "$tree/etc/nephometer/later.yaml"
  check "the folder that was moved away answers queries" \
    [ "$(collect query samples --limit 100000 --format csv --config /etc/nephometer/later.yaml | grep -c cpu)" = "$second" ]
  rm "$tree/etc/nephometer/later.yaml"
}

# From the earlier version to this one, back, and here again.
upgrade_in_flight() {
  check "the earlier version is installed" in_it dpkg -i "$(package_before nephometer)" "$(package_before nephometer-collector)"
  configure_flight
  three_cycles
  upgrade_agent_in_flight
  upgrade_collector
}
