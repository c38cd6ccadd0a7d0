# The kinds of projections beside each other: a handler against a loop in
# PL/pgSQL, what a projection costs those who append (workers, inline, a
# trigger of one's own), one to fifty projections over the same events, and one
# handler that several workers apply, in shards.

# What is kept in every variant: orders and amount of a region, in a table of this name.
kinds_upsert() {
	echo "INSERT INTO $1 AS t (region, orders, amount) VALUES ($2->>'region', 1, ($2->>'amount')::numeric)
		ON CONFLICT (region) DO UPDATE SET orders = t.orders + 1, amount = t.amount + excluded.amount;"
}

# Make an empty read table.
kinds_table() {
	sql -c "CREATE TABLE $1 (region text PRIMARY KEY, orders numeric, amount numeric) WITH (fillfactor = 50)"
}

# Make the functions that are compared.
kinds_functions() {
	sql <<-EOF
	CREATE FUNCTION on_event(e evstore.event) RETURNS void LANGUAGE plpgsql AS
		\$\$BEGIN $(kinds_upsert by_handler e.data) END\$\$;
	CREATE FUNCTION on_stream_event(e evstore.event) RETURNS void LANGUAGE plpgsql AS
		\$\$BEGIN INSERT INTO by_shards AS t VALUES (e.stream, 1, (e.data->>'amount')::numeric)
			ON CONFLICT (stream) DO UPDATE SET orders = t.orders + 1, amount = t.amount + excluded.amount; END\$\$;
	CREATE FUNCTION on_row() RETURNS trigger LANGUAGE plpgsql AS
		\$\$BEGIN $(kinds_upsert by_trigger NEW.data) RETURN NULL; END\$\$;
	CREATE PROCEDURE row_by_row(a_commit integer) LANGUAGE plpgsql AS \$\$
	DECLARE
		e record;
		n integer := 0;
	BEGIN
		FOR e IN SELECT data FROM events ORDER BY "position" LOOP
			$(kinds_upsert by_loop e.data)
			n := n + 1;
			IF n % a_commit = 0 THEN COMMIT; END IF;
		END LOOP;
	END \$\$;
	EOF
}

# Print how many seconds pass from a declaration of the projection "kinds" to its last batch. Nobody waits in the
# server: what waits there keeps its snapshot, and so the dead rows of a hot read table.
kinds_seconds() {
	local start
	start=$(sql -c "SELECT clock_timestamp()" -c "$1" | head -1)
	until [ "$(sql -c "SELECT evstore.wait_for('kinds', timeout => '0')")" = t ]; do
		sleep 0.1
	done
	sql -c "SELECT extract(epoch FROM applied_at - '$start') FROM evstore.projections WHERE name = 'kinds'"
}

# Measure one round of a handler against the loop: round, events.
kinds_handler_round() {
	kinds_table by_loop
	sample_rate kinds-loop "$1" "$2" "$(seconds_of "CALL row_by_row(1000);" "SET synchronous_commit = off;")"
	check_equal by_loop region "$by_region"
	kinds_table by_handler
	sample_rate kinds-handler "$1" "$2" "$(kinds_seconds \
		"SELECT evstore.create_projection('kinds', handler => 'on_event')")"
	check_equal by_handler region "$by_region"
	sql -c "SELECT evstore.drop_projection('kinds')" -c "DROP TABLE by_loop, by_handler" > /dev/null
}

# Sample what is left of the append rate of 16 clients: key, round.
kinds_append() {
	sample "kinds-$1" "$2" "$(tps_of append_regions 16 on)"
}

# Measure one round of appends with one way to keep the read table each: round.
kinds_cost_round() {
	local i
	kinds_append none "$1"
	sql -c "SELECT evstore.create_projection('kinds', query => \$\$$by_region\$\$, read_table => 'by_query', mode => 'inline')" > /dev/null
	kinds_append inline "$1"
	check_equal by_query region "$by_region"
	sql -c "SELECT evstore.drop_projection('kinds')" > /dev/null
	kinds_table by_trigger
	sql -c "INSERT INTO by_trigger $by_region" \
		-c "CREATE TRIGGER on_row AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION on_row()"
	kinds_append trigger "$1"
	check_equal by_trigger region "$by_region"
	sql -c "DROP TRIGGER on_row ON events" -c "DROP TABLE by_trigger"
	for ((i = 1; i <= 10; i++)); do
		echo "SELECT evstore.create_projection('kinds_$i', query => \$\$$by_region\$\$);"
	done | sql > /dev/null
	sql -c "CALL wait_applied('kinds_10')"
	kinds_append ten "$1"
	for ((i = 1; i <= 10; i++)); do
		echo "SELECT evstore.drop_projection('kinds_$i');"
	done | sql > /dev/null
}

# Sample how many events a second so many projections apply together: round, events, projections.
kinds_many() {
	local i
	sample_rate "kinds-many-$3" "$1" $(($2 * $3)) "$(seconds_of "
		SELECT evstore.create_projection('kinds_' || n, query => \$\$$by_region\$\$) FROM generate_series(1, $3) n;
		SELECT evstore.wait_for_all(timeout => '10 minutes');")"
	for ((i = 1; i <= $3; i++)); do
		check_equal "kinds_$i" region "$by_region"
		echo "SELECT evstore.drop_projection('kinds_$i');" | sql > /dev/null
	done
}

# Sample how many events a second a handler with so many shards applies, a row a stream: round, events, shards.
kinds_shards() {
	sql -c "CREATE TABLE by_shards (stream text PRIMARY KEY, orders numeric, amount numeric) WITH (fillfactor = 50)"
	sample_rate "kinds-shards-$3" "$1" "$2" "$(kinds_seconds \
		"SELECT evstore.create_projection('kinds', handler => 'on_stream_event', shards => $3)")"
	check_equal by_shards stream "SELECT stream, count(*)::numeric AS orders, sum((data->>'amount')::numeric) AS amount FROM events GROUP BY stream"
	sql -c "SELECT evstore.drop_projection('kinds')" -c "DROP TABLE by_shards" > /dev/null
}

# Announce the rows.
kinds_rows() {
	local count
	row kinds-loop "kinds: loop in PL/pgSQL, a commit per 1,000" "events/s"
	row kinds-handler "kinds: handler in PL/pgSQL" "events/s" kinds-loop ">= 1.5"
	for count in 1 10 50; do
		row "kinds-many-$count" "kinds: $count query projections together" "events/s" $([ $count = 1 ] || echo kinds-many-1)
	done
	for count in 1 2 4; do
		row "kinds-shards-$count" "kinds: handler with shards => $count" "events/s" $([ $count = 1 ] || echo kinds-shards-1)
	done
	row kinds-none "kinds, 16 clients, fsync: append, no projection" "events/s"
	row kinds-inline "kinds, 16 clients, fsync: append, one inline query" "events/s" kinds-none
	row kinds-trigger "kinds, 16 clients, fsync: append, a row trigger in PL/pgSQL" "events/s" kinds-none
	row kinds-ten "kinds, 16 clients, fsync: append, ten async projections" "events/s" kinds-none
}

# The section. Hot read tables are vacuumed, as they would be at a user's.
section_kinds() {
	local round count events all=$BENCH_EVENTS
	kinds_rows
	# A fifth of the events that catching up takes, if they are not there already: loops are slow.
	BENCH_EVENTS=$((all / 5))
	load_events
	BENCH_EVENTS=$all
	events=$(sql -c "SELECT count(*) FROM events")
	kinds_functions
	for ((round = 1; round <= BENCH_ROUNDS; round++)); do
		kinds_handler_round $round $events
		for count in 1 10 50; do
			kinds_many $round $events $count
		done
	done
	sql -c "ALTER SYSTEM SET evstore.workers = 4" -c "SELECT pg_reload_conf()" > /dev/null
	for ((round = 1; round <= BENCH_ROUNDS; round++)); do
		for count in 1 2 4; do
			kinds_shards $round $events $count
		done
	done
	sql -c "ALTER SYSTEM RESET evstore.workers" -c "SELECT pg_reload_conf()" > /dev/null
	fresh_tables
	sql -c "ALTER SYSTEM SET autovacuum = on" -c "SELECT pg_reload_conf()" > /dev/null
	for ((round = 1; round <= BENCH_ROUNDS; round++)); do
		kinds_cost_round $round
	done
	sql -c "ALTER SYSTEM RESET autovacuum" -c "SELECT pg_reload_conf()" > /dev/null
}
