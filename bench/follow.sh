# Read tables that follow: from commit to read table at 5,000 appends a second,
# and how much of the append rate is kept with a projection.

# Sample the quantiles of one method out of the probe's output: name of the load, round, method, column, key.
latency_quantiles() {
	local load=$1 round=$2 method=$3 column=$4 key=$5 q
	for q in 50 99; do
		sample "latency-$load-$key-p$q" "$round" \
			"$(awk -v m="$method" -v c="$column" '$1 == m { print $c }' "$BENCH_DIR/probes" | quantile 0.$q)"
	done
}

# Probe for a while, with 5,000 appends a second beside it or without: name of the load, round.
latency_run() {
	local load=$1 round=$2 length=$((BENCH_SECONDS * 4)) appender=""
	if [ "$load" = loaded ]; then
		BENCH_SECONDS=$((length + 2)) tps_of append_regions 16 on -R 5000 > "$BENCH_DIR/rate" &
		appender=$!
		wait_clients 16
	fi
	"$BENCH_DIR/latency" "$length" > "$BENCH_DIR/probes"
	if [ -n "$appender" ]; then
		wait $appender
		sample latency-rate "$round" "$(cat "$BENCH_DIR/rate")"
	fi
	latency_quantiles "$load" "$round" poll 2 poll
	latency_quantiles "$load" "$round" wait 2 wait
	latency_quantiles "$load" "$round" poll 4 read
}

# Announce the latency rows of one load: its name, what to call it, targets of p50 and p99.
latency_rows() {
	local load=$1 name=$2 q target
	for q in 50 99; do
		target=$([ $q = 50 ] && echo "${3:-}" || echo "${4:-}")
		row "latency-$load-poll-p$q" "$name: commit to read table, polled, p$q" ms "" "$target"
		row "latency-$load-wait-p$q" "$name: commit to end of wait_for, p$q" ms
		row "latency-$load-read-p$q" "$name: one poll (part of the polled latency), p$q" ms
	done
}

# Measure the latency, idle and loaded in turn.
follow_latency() {
	local round
	row latency-rate "5,000 appends/s wanted, fsync, 16 clients: reached" "events/s"
	latency_rows idle "idle server"
	latency_rows loaded "5,000 appends/s" "<= 0.3" "<= 3"
	fresh_tables
	sql -c "SELECT evstore.create_projection('orders_by_region', \$\$$by_region\$\$)" > /dev/null
	for ((round = 1; round <= BENCH_ROUNDS; round++)); do
		latency_run idle $round
		latency_run loaded $round
	done
	sql -c "SELECT evstore.drop_projection('orders_by_region')" > /dev/null
}

# Sample the append rate of 16 clients under a key: key, round, synchronous_commit.
kept_run() {
	sample "$1-$3" "$2" "$(tps_of append_regions 16 "$3")"
}

# Measure one round of appends without a projection, with one, and with ten that have nothing to do: round, synchronous_commit.
kept_round() {
	local round=$1 sync=$2 i
	kept_run kept-none "$round" "$sync"

	sql -c "SELECT evstore.create_projection('orders_by_region', \$\$$by_region\$\$)" > /dev/null
	sql -c "CALL wait_applied('orders_by_region')"
	kept_run kept-one "$round" "$sync"
	sample "kept-lag-$sync" "$round" "$(seconds_of "CALL wait_applied('orders_by_region');")"
	check_equal orders_by_region region "$by_region"
	sql -c "SELECT evstore.drop_projection('orders_by_region')" > /dev/null

	for i in 1 2 3 4 5 6 7 8 9 10; do
		echo "SELECT evstore.create_projection('quiet_$i', 'SELECT type, count(*) AS n FROM quiet GROUP BY type');"
	done | sql > /dev/null
	kept_run kept-idle "$round" "$sync"
	for i in 1 2 3 4 5 6 7 8 9 10; do
		echo "SELECT evstore.drop_projection('quiet_$i');"
	done | sql > /dev/null
}

# Measure the share of the append rate that is kept.
follow_kept() {
	local round sync name
	for sync in on off; do
		name="16 clients, $([ $sync = on ] && echo fsync || echo async)"
		row "kept-none-$sync" "$name: append, no projection" "events/s"
		row "kept-one-$sync" "$name: append, one projection follows" "events/s" "kept-none-$sync" "$([ $sync = on ] && echo '>= 0.85')"
		row "kept-lag-$sync" "$name: until it has caught up, after the load" "s"
		row "kept-idle-$sync" "$name: append, ten projections of a quiet table" "events/s" "kept-none-$sync"
	done
	fresh_tables
	sql -c "SELECT evstore.create_event_table('quiet')" > /dev/null
	for ((round = 1; round <= BENCH_ROUNDS; round++)); do
		for sync in on off; do
			kept_round $round $sync
		done
	done
}

# The section. Vacuum runs as it would at a user's, since read tables are updated all the time.
section_follow() {
	sql -c "ALTER SYSTEM SET autovacuum = on" -c "SELECT pg_reload_conf()" > /dev/null
	follow_latency
	follow_kept
	sql -c "ALTER SYSTEM RESET autovacuum" -c "SELECT pg_reload_conf()" > /dev/null
}
