# Projections over events that are stored already, against the one-shot query.

# Two more queries, with the columns of one key, orders and amount.
by_customer="SELECT data->>'customer' AS customer, count(*) AS orders, sum((data->>'amount')::numeric) AS amount
	FROM events GROUP BY data->>'customer'"
by_country="SELECT data->>'country' AS country, count(*) AS orders, sum((data->>'qty')::int * (data->>'price')::numeric) AS amount
	FROM retail GROUP BY data->>'country'"

# Force the plan that is the limit: HashAggregate, without the time that JIT takes here; in one process, and in several.
hash_parallel="SET enable_sort = off; SET jit = off;"
hash_only="$hash_parallel SET max_parallel_workers_per_gather = 0;"

# Sample a one-shot query: key, round, events, query, settings before it.
one_shot() {
	sample_rate "$1" "$2" "$3" "$(seconds_of "$4;" "${5:-}")"
}

# Sample a query projection from its creation until it is up to date: key, round, events, key column, query, event table, batch size.
query_catchup() {
	sample_rate "$1" "$2" "$3" "$(seconds_of "
		SELECT evstore.create_projection('catchup', query => \$\$$5\$\$, event_table => '$6', batch_size => $7);
		CALL wait_applied('catchup');")"
	check_equal catchup "$4" "$5"
	sql -c "SELECT evstore.drop_projection('catchup')" > /dev/null
}

# Sample a statement projection the same way: round, batch size.
statement_catchup() {
	sql -c "CREATE TABLE region_totals (region text PRIMARY KEY, orders numeric, amount numeric)"
	sample_rate "statement-$2" "$1" "$BENCH_EVENTS" "$(seconds_of "
		SELECT evstore.create_projection('catchup', statement => \$\$$region_statement\$\$, batch_size => $2);
		CALL wait_applied('catchup');")"
	check_equal region_totals region "$by_region"
	sql -c "SELECT evstore.drop_projection('catchup')" -c "DROP TABLE region_totals" > /dev/null
}

# Announce the rows of the generated events.
catchup_rows() {
	local size
	row once-hash "catch-up, 10 groups: one-shot, HashAggregate" "events/s"
	row once-picked "catch-up, 10 groups: one-shot, plan as picked" "events/s" once-hash
	row once-parallel "catch-up, 10 groups: one-shot, parallel HashAggregate" "events/s" once-hash
	row once-table "catch-up, 10 groups: CREATE TABLE AS, HashAggregate" "events/s" once-hash
	for size in 1000000 10000 1000 100; do
		row query-$size "catch-up, 10 groups: query projection, batch_size $size" "events/s" once-hash \
			"$([ $size = 1000000 ] && echo '>= 0.9'; [ $size = 1000 ] && echo '>= 0.5')"
	done
	for size in 1000000 10000 1000 100; do
		row statement-$size "catch-up, 10 groups: statement projection, batch_size $size" "events/s" once-hash
	done
	row customers-hash "catch-up, $((BENCH_EVENTS / 20)) groups: one-shot, HashAggregate" "events/s"
	row customers-query "catch-up, $((BENCH_EVENTS / 20)) groups: query projection" "events/s" customers-hash
}

# Measure one round over the generated events: round.
catchup_round() {
	local round=$1 size
	one_shot once-hash "$round" "$BENCH_EVENTS" "$by_region" "$hash_only"
	one_shot once-picked "$round" "$BENCH_EVENTS" "$by_region"
	one_shot once-parallel "$round" "$BENCH_EVENTS" "$by_region" "$hash_parallel"
	one_shot once-table "$round" "$BENCH_EVENTS" "CREATE TABLE once AS $by_region" "$hash_only"
	sql -c "DROP TABLE once"
	for size in 1000000 10000 1000 100; do
		query_catchup query-$size "$round" "$BENCH_EVENTS" region "$by_region" events $size
		statement_catchup "$round" $size
	done
	one_shot customers-hash "$round" "$BENCH_EVENTS" "$by_customer" "$hash_only"
	query_catchup customers-query "$round" "$BENCH_EVENTS" customer "$by_customer" events 1000000
}

# Measure the real sales of the Online Retail set, where it is at hand.
catchup_retail() {
	local data="$here/../../shared/data/online_retail" events round truth
	if [ ! -f "$data/events.ndjson.gz" ]; then
		say " skipped: no Online Retail data in ../shared/data/online_retail"
		return
	fi
	say " loading the Online Retail events"
	sql -v file="zcat $data/events.ndjson.gz" -f "$here/sql/retail.sql"
	events=$(sql -c "SELECT count(*) FROM retail")
	truth=$(awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i } $1 == "TOTAL" { print $column["lines"] "|" $column["revenue"] }' "$data/truth_by_country.csv")
	[ "$(sql -c "SELECT sum(orders), trim_scale(sum(amount)) FROM ($by_country) c")" = "$truth" ] ||
		die "the Online Retail events as loaded do not add up to $truth"

	row retail-hash "catch-up, Online Retail: one-shot, HashAggregate" "events/s"
	row retail-query "catch-up, Online Retail: query projection" "events/s" retail-hash ">= 0.9"
	for ((round = 1; round <= BENCH_ROUNDS; round++)); do
		one_shot retail-hash $round "$events" "$by_country" "$hash_only"
		query_catchup retail-query $round "$events" country "$by_country" retail 1000000
	done
	sql -c "SET evstore.maintenance = on" -c "SELECT evstore.drop_event_table('retail')" > /dev/null
}

# The section.
section_catchup() {
	local round
	catchup_rows
	load_events
	for ((round = 1; round <= BENCH_ROUNDS; round++)); do
		catchup_round $round
	done
	catchup_retail
}
