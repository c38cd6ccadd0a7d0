# Loading in bulk: COPY and a thousand events a call, the bytes an event takes
# on disk and in the WAL.

# Load the file into a table: sample the speed, bytes on disk and bytes of WAL under the table's name: table, round.
bulk_copy() {
	local table=$1 round=$2 wal seconds
	wal=$(wal_bytes)
	seconds=$(seconds_of "\\copy $table (stream, version, type, data) FROM '$BENCH_DIR/events.copy'")
	sample "copy-$table" "$round" "$(scaled "$bulk_events" 1 "$seconds")"
	sample "wal-$table" "$round" "$(scaled $(($(wal_bytes) - wal)) 1 "$bulk_events")"
	sample "disk-$table" "$round" "$(scaled "$(sql -c "SELECT pg_total_relation_size('$table')")" 1 "$bulk_events")"
}

# The section.
section_bulk() {
	local round script
	bulk_events=$((BENCH_EVENTS / 5))
	row copy-bare "bulk: COPY into the bare table" "events/s"
	row copy-events "bulk: COPY into the event table" "events/s" copy-bare ">= 0.7"
	row disk-bare "bulk: bytes on disk, bare table" "bytes/event"
	row disk-events "bulk: bytes on disk, event table" "bytes/event" disk-bare "<= 1.0"
	row wal-bare "bulk: bytes of WAL, COPY into the bare table" "bytes/event"
	row wal-events "bulk: bytes of WAL, COPY into the event table" "bytes/event" wal-bare
	row insert_thousand "1,000 events, async, 1 client: bare INSERT from unnest" "events/s"
	row append_thousand "1,000 events, async, 1 client: append" "events/s" insert_thousand ">= 1.3"

	sql -v events="$bulk_events" -f "$here/sql/generated.sql"
	sql -c "\\copy generated (stream, version, type, data) TO '$BENCH_DIR/events.copy'"
	sql -c "DROP TABLE generated"
	for ((round = 1; round <= BENCH_ROUNDS; round++)); do
		fresh_tables
		sql -c CHECKPOINT
		bulk_copy bare $round
		bulk_copy events $round
	done
	rm "$BENCH_DIR/events.copy"

	fresh_tables
	for ((round = 1; round <= BENCH_ROUNDS; round++)); do
		for script in insert_thousand append_thousand; do
			sample $script $round "$(scaled "$(tps_of $script 1 off)" 1000)"
		done
	done
}
