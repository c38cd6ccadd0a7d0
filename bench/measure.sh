# What every section uses: running SQL and pgbench, keeping samples, the table.
#
# A sample is one line "key round value" in $samples; a row of the table is one
# line "key|label|unit|base|target" in $rows. A row whose base is another key
# gets a ratio: the median over the rounds of value/base value, each pair from
# the same round. A base "/key" turns the ratio round: base value/value.

samples=$BENCH_DIR/samples
rows=$BENCH_DIR/rows
notes=$BENCH_DIR/notes
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: > "$samples"
: > "$rows"
: > "$notes"

# About 250 bytes as jsonb, the same for everyone who stores it.
order='{"order": 10248, "customer": "VINET", "region": "west", "amount": 440.25, "currency": "EUR", "lines": [{"sku": "queso-cabrales", "qty": 12, "price": 14.0}, {"sku": "mee-hokkien", "qty": 10, "price": 9.8}], "ship_to": "59 rue de l Abbaye, Reims"}'
ten="[$(for _ in 1 2 3 4 5 6 7 8 9 10; do printf '%s{"type": "OrderPlaced", "data": %s}' "${comma:-}" "$order"; comma=,; done)]"

# The query that is measured everywhere.
by_region="SELECT data->>'region' AS region, count(*) AS orders, sum((data->>'amount')::numeric) AS amount
	FROM events GROUP BY data->>'region'"

# The same as a statement over the batch view, for a table region_totals.
region_statement="INSERT INTO region_totals AS t (region, orders, amount)
	SELECT data->>'region', count(*), sum((data->>'amount')::numeric) FROM new_events GROUP BY data->>'region'
	ON CONFLICT (region) DO UPDATE SET orders = t.orders + excluded.orders, amount = t.amount + excluded.amount"

# Tell the person at the terminal what is going on.
say() {
	printf '%(%H:%M:%S)T %s\n' -1 "$*" >&2
}

# Run SQL and print bare values.
sql() {
	PGOPTIONS="-c client_min_messages=warning" psql -XqAt -v ON_ERROR_STOP=1 "$@"
}

# Print how many seconds a piece of SQL takes, seen from a connected client: SQL, settings before it.
seconds_of() {
	sql <<-EOF
	${2:-}
	SELECT extract(epoch FROM clock_timestamp()) AS start \gset
	\o /dev/null
	$1
	\o
	SELECT extract(epoch FROM clock_timestamp()) - :start;
	EOF
}

# Print what a cell of the grid is called: synchronous_commit, clients.
cell_name() {
	echo "$([ "$1" = on ] && echo fsync || echo async), $2 client$([ "$2" = 1 ] || echo s)"
}

# Run a pgbench script and print what pgbench says: script, clients, synchronous_commit, more pgbench arguments.
pgbench_log() {
	local script=$1 clients=$2 sync=$3 log
	shift 3
	log=$(PGOPTIONS="-c synchronous_commit=$sync" pgbench -n -M prepared -c "$clients" \
		-j $((clients < 2 ? 1 : 2)) -f "$here/sql/$script.sql" \
		-D data="$order" -D ten="$ten" -D n="$(next_run)" "$@" 2>&1) || {
		echo "$log" >&2
		return 1
	}
	echo "$log"
}

# Print transactions per second of a pgbench script: as pgbench_log.
tps_of() {
	pgbench_log "$@" -T "$BENCH_SECONDS" | awk '/^tps = / { print $3 }'
}

# Print how many events a transaction of a script appends.
events_of() {
	case $1 in
		*thousand*) echo 1000 ;;
		*ten*) echo 10 ;;
		*) echo 1 ;;
	esac
}

# Sample a script's events per second: key, turn, then as tps_of.
sample_rate_of() {
	local key=$1 turn=$2
	shift 2
	sample "$key" "$turn" "$(scaled "$(tps_of "$@")" "$(events_of "$1")")"
}

# Sample a script's events per second and, under cpu-key, the microseconds of server CPU an event takes: as sample_rate_of.
sample_rate_and_cpu_of() {
	local before
	wait_backends
	before=$(backend_cpu)
	sample_rate_of "$@"
	wait_backends
	sample "cpu-$1" "$2" "$(awk -v before="$before" -v after="$(backend_cpu)" -v events="$(scaled "$(sampled "$1" "$2")" "$BENCH_SECONDS")" \
		'BEGIN { printf "%.6g", (after - before) * 1e6 / events }')"
}

# Wait until as many pgbench clients are connected as said, or stop.
wait_clients() {
	local tries
	for ((tries = 0; tries < 200; tries++)); do
		[ "$(sql -c "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'")" != "$1" ] || return 0
		sleep 0.05
	done
	die "there are not $1 pgbench clients after 10 seconds"
}

# Wait until every client's backend has ended and the postmaster has counted its CPU time, or stop.
wait_backends() {
	local tries left
	for ((tries = 0; tries < 500; tries++)); do
		left=$(ps --ppid "$postmaster" -o stat=,args= | awk '/^Z|\[(local|postgres)\]/')
		[ -n "$left" ] || return 0
		sleep 0.02
	done
	die "there are clients' backends after 10 seconds"
}

# Print the seconds of CPU that the server's finished backends have used.
backend_cpu() {
	awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($14 + $15) / hz }' "/proc/$postmaster/stat"
}

# Print the largest private memory of the given processes, in kB.
private_kb() {
	local pid
	for pid in "$@"; do
		awk '/^RssAnon:/ { print $2 }' "/proc/$pid/status" 2> /dev/null || :
	done | sort -n | tail -1
}

# Print every tenth of a second what private_kb says, until killed.
private_kb_forever() {
	while :; do
		private_kb "$@"
		sleep 0.1
	done
}

# Print the WAL position, in bytes.
wal_bytes() {
	sql -c "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"
}

# Print a number that is far above that of the run before: where a run's own counters start.
next_run() {
	local run
	run=$(($(cat "$BENCH_DIR/run" 2> /dev/null || echo 0) + 1))
	echo $run > "$BENCH_DIR/run"
	echo $((run * 1000000000))
}

# Keep a sample: key, round, value. What failed to measure has no number, and ends the run here.
sample() {
	[[ $3 =~ ^[0-9.]+(e[-+]?[0-9]+)?$ ]] || die "no measurement for $1 in round $2: \"$3\""
	echo "$1 $2 $3" >> "$samples"
	say "  round $2  $1: $3"
}

# Print a sample that was kept: key, round.
sampled() {
	awk -v key="$1" -v round="$2" '$1 == key && $2 == round { print $3 }' "$samples"
}

# Print the median of a key's samples: key.
median_of() {
	awk -v key="$1" '$1 == key { print $3 }' "$samples" | quantile 0.5
}

# Announce a row of the table: key, label, unit, key of the base ("" for none, /key for base/value), target ("" for none).
row() {
	echo "$1|$2|$3|${4:-}|${5:-}" >> "$rows"
}

# Say what was left out and why, here and above the table.
skip() {
	say "skipped: $*"
	echo "skipped: $*" >> "$notes"
}

# Print value * factor / divisor, or nothing if the value is none.
scaled() {
	[ -z "$1" ] || awk -v v="$1" -v f="$2" -v d="${3:-1}" 'BEGIN { if (d > 0) printf "%.6g\n", v * f / d }'
}

# Print a whole number with commas.
thousands() {
	sed -E ':a; s/([0-9])([0-9]{3})(,|$)/\1,\2\3/; ta' <<< "$1"
}

# Print the given quantile (0..1) of the numbers on stdin.
quantile() {
	sort -g | awk -v q="$1" '{ v[NR] = $1 } END { if (NR == 0) exit 1; i = int(q * NR + 0.999999); if (i < 1) i = 1; print v[i] }'
}

# Make fresh, empty event and bare tables, the bare one with the same columns, collation and indexes.
fresh_tables() {
	events_loaded=no
	sql -f "$here/sql/fresh.sql"
}

# Sample events per second: key, round, events, seconds.
sample_rate() {
	sample "$1" "$2" "$(scaled "$3" 1 "$4")"
}

# Have the generated events in the event table, vacuumed and analyzed.
load_events() {
	[ "${events_loaded:-no}" = no ] || return 0
	say " loading $BENCH_EVENTS events"
	fresh_tables
	sql -v events="$BENCH_EVENTS" -f "$here/sql/generated.sql"
	sql -c "INSERT INTO events (stream, type, data) SELECT stream, type, data FROM generated" \
		-c "DROP TABLE generated" -c "VACUUM ANALYZE events" -c CHECKPOINT
	events_loaded=yes
}

# Stop if a read table differs from its query, both with one key, orders and amount: read table, key column, query.
check_equal() {
	local read="SELECT $2, orders, amount FROM $1" differences
	differences=$(sql -c "SELECT count(*) FROM (($read EXCEPT ALL ($3)) UNION ALL (($3) EXCEPT ALL $read)) d")
	[ "$differences" = 0 ] || die "read table $1 differs from its query in $differences rows"
}

# Print the table of all rows that have samples.
table() {
	awk -f "$here/table.awk" "$samples" "$rows"
}
