# Loading in bulk: COPY, INSERT ... SELECT and a thousand events a call, the bytes
# an event takes on disk and in the WAL, and the memory the backend needs.

# Print every tenth of a second the private memory of the backend that is loading, until killed.
backend_kb_forever() {
	while :; do
		[ ! -s "$BENCH_DIR/backend" ] || private_kb "$(cat "$BENCH_DIR/backend")"
		sleep 0.1
	done
}

# Run a piece of SQL that loads, and reads rows in the order they are stored. Sample its
# events per second and the peak of its backend's memory: key, round, events, SQL.
bulk_load() {
	local key=$1 round=$2 events=$3 sampler seconds
	: > "$BENCH_DIR/backend"
	backend_kb_forever > "$BENCH_DIR/memory" &
	sampler=$!
	seconds=$(seconds_of "$4" "SET synchronize_seqscans = off;
		\\o '$BENCH_DIR/backend'
		SELECT pg_backend_pid();
		\\o")
	kill $sampler
	wait $sampler 2> /dev/null || :
	sample "$key" "$round" "$(scaled "$events" 1 "$seconds")"
	sample "memory-$key" "$round" "$(scaled "$(sort -n "$BENCH_DIR/memory" | tail -1)" 1 1024)"
}

# Load the file into a table, and sample the bytes on disk and in the WAL as well: table, round.
bulk_copy() {
	local table=$1 round=$2 wal
	wal=$(wal_bytes)
	bulk_load "copy-$table" "$round" "$BENCH_EVENTS" \
		"\\copy $table (stream, version, type, data) FROM '$BENCH_DIR/events.copy'"
	sample "wal-$table" "$round" "$(scaled $(($(wal_bytes) - wal)) 1 "$BENCH_EVENTS")"
	sample "disk-$table" "$round" "$(scaled "$(sql -c "SELECT pg_total_relation_size('$table')")" 1 "$BENCH_EVENTS")"
}

# Load the first of the generated events by INSERT ... SELECT into a table: key, table, round, events.
bulk_insert() {
	bulk_load "$1" "$3" "$4" "INSERT INTO $2 (stream, version, type, data)
		SELECT stream, version, type, data FROM generated LIMIT $4;"
}

# Announce the rows.
bulk_rows() {
	local fifth=$1
	row copy-bare "bulk: COPY into the bare table" "events/s"
	row copy-events "bulk: COPY into the event table" "events/s" copy-bare ">= 0.7"
	row select-bare "bulk: INSERT ... SELECT into the bare table" "events/s"
	row select-events "bulk: INSERT ... SELECT into the event table" "events/s" select-bare ">= 0.7"
	row memory-copy-bare "bulk, backend's peak memory: COPY, bare table" "MB"
	row memory-copy-events "bulk, backend's peak memory: COPY, event table" "MB" memory-copy-bare
	row memory-select-bare "bulk, backend's peak memory: INSERT ... SELECT, bare table" "MB"
	row memory-fifth-events "bulk, backend's peak memory: INSERT ... SELECT, event table, $(thousands "$fifth")" "MB"
	row memory-select-events "bulk, backend's peak memory: INSERT ... SELECT, event table, $(thousands "$BENCH_EVENTS")" "MB" \
		memory-fifth-events "1.0 (flat)"
	row disk-bare "bulk: bytes on disk, bare table" "bytes/event"
	row disk-events "bulk: bytes on disk, event table" "bytes/event" disk-bare "<= 1.0"
	row wal-bare "bulk: bytes of WAL, COPY into the bare table" "bytes/event"
	row wal-events "bulk: bytes of WAL, COPY into the event table" "bytes/event" wal-bare
	row insert_thousand "1,000 events, async, 1 client: bare INSERT from unnest" "events/s"
	row append_thousand "1,000 events, async, 1 client: append" "events/s" insert_thousand ">= 1.3"
}

# Measure one round of loads: round, a fifth of the events.
bulk_round() {
	local round=$1 fifth=$2
	fresh_tables
	sql -c CHECKPOINT
	bulk_copy bare "$round"
	bulk_copy events "$round"
	fresh_tables
	bulk_insert select-bare bare "$round" "$BENCH_EVENTS"
	bulk_insert select-events events "$round" "$BENCH_EVENTS"
	fresh_tables
	bulk_insert fifth-events events "$round" "$fifth"
}

# The section.
section_bulk() {
	local round script fifth=$((BENCH_EVENTS / 5))
	bulk_rows $fifth
	sql -v events="$BENCH_EVENTS" -f "$here/sql/generated.sql"
	sql -c "\\copy generated (stream, version, type, data) TO '$BENCH_DIR/events.copy'"
	for ((round = 1; round <= BENCH_ROUNDS; round++)); do
		bulk_round $round $fifth
	done
	rm "$BENCH_DIR/events.copy"
	sql -c "DROP TABLE generated"

	fresh_tables
	for ((round = 1; round <= BENCH_ROUNDS; round++)); do
		for script in insert_thousand append_thousand; do
			sample_rate_of $script $round $script 1 off
		done
	done
}
