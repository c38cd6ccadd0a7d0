# Resident memory of the workers over a million events and more. What counts is
# memory of their own (RssAnon); shared buffers that they touched are left out.

# Print the process ids of the workers.
worker_pids() {
	sql -c "SELECT pid FROM pg_stat_activity WHERE backend_type = 'evstore worker' ORDER BY pid"
}

# Have as many projections of a quiet table as there can be workers, so that all workers run and none ends.
keep_workers() {
	local i
	{
		echo "SELECT evstore.create_event_table('still');"
		for ((i = 1; i <= $(sql -c "SHOW evstore.workers"); i++)); do
			echo "SELECT evstore.create_projection('still_$i', 'SELECT type, count(*) AS n FROM still GROUP BY type');"
		done
	} | sql > /dev/null
}

# Replace the workers by new ones, so that nothing measured before counts.
fresh_workers() {
	local pid old tries
	old=$(worker_pids)
	for pid in $old; do
		sql -c "SELECT pg_terminate_backend($pid, 10000)" > /dev/null
	done
	for ((tries = 0; tries < 600; tries++)); do
		[ "$(sql -c "SELECT count(*) = current_setting('evstore.workers')::int FROM pg_stat_activity
			WHERE backend_type = 'evstore worker' AND pid NOT IN (0${old:+,}$(paste -sd, <<< "$old"))")" != t ] || return 0
		sleep 0.1
	done
	die "the evstore workers did not come up within a minute"
}

# Run both kinds of projections over all the events, one after the other, in batches of 1,000.
memory_load() {
	sql > /dev/null <<-EOF
	CREATE TABLE region_totals (region text PRIMARY KEY, orders numeric, amount numeric);
	SELECT evstore.create_projection('by_statement', statement => \$\$$region_statement\$\$, batch_size => 1000);
	EOF
	sql -c "CALL wait_applied('by_statement')"
	sql -c "SELECT evstore.create_projection('by_query', query => \$\$$by_region\$\$, batch_size => 1000)" > /dev/null
	sql -c "CALL wait_applied('by_query')"
	sql > /dev/null <<-EOF
	SELECT evstore.drop_projection('by_statement');
	SELECT evstore.drop_projection('by_query');
	DROP TABLE region_totals;
	EOF
}

# The section.
section_memory() {
	local round pids sampler
	row memory-before "worker, private memory: fresh" "MB"
	row memory-peak "worker, private memory: peak" "MB"
	row memory-once "worker, private memory: after the events twice" "MB"
	row memory-again "worker, private memory: after the events four times" "MB" memory-once "1.0 (flat)"
	load_events
	keep_workers
	for ((round = 1; round <= BENCH_ROUNDS; round++)); do
		fresh_workers
		pids=$(worker_pids)
		sample memory-before $round "$(scaled "$(private_kb $pids)" 1 1024)"
		private_kb_forever $pids > "$BENCH_DIR/memory" &
		sampler=$!
		memory_load
		sample memory-once $round "$(scaled "$(private_kb $pids)" 1 1024)"
		memory_load
		sample memory-again $round "$(scaled "$(private_kb $pids)" 1 1024)"
		kill $sampler
		wait $sampler 2> /dev/null || :
		sample memory-peak $round "$(scaled "$(sort -n "$BENCH_DIR/memory" | tail -1)" 1 1024)"
		[ "$pids" = "$(worker_pids)" ] || die "the workers changed while their memory was measured"
	done
}
