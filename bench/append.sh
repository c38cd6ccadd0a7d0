# Appends per second: one event a call and ten a call, each client count, with
# and without waiting for the disk, against a prepared bare INSERT. The disk's
# speed drifts from second to second, so a turn is one second and there are many.

# Measure one variant: script, synchronous_commit, clients, turn. One client's run is sampled by its CPU as well.
append_variant() {
	local script=$1 sync=$2 clients=$3 turn=$4 how=sample_rate_of
	[ "$sync-$clients" != off-1 ] || how=sample_rate_and_cpu_of
	$how "$script-$sync-$clients" "$turn" "$script" "$clients" "$sync"
}

# Measure one cell of the grid, all its variants in turn: synchronous_commit, clients.
append_cell() {
	local sync=$1 clients=$2 turn script
	local BENCH_SECONDS=1
	fresh_tables
	for ((turn = 1; turn <= BENCH_TURNS; turn++)); do
		for script in commit_only insert_new append_new insert_any append_any insert_events \
			insert_ten append_ten append_ten_rows; do
			append_variant $script "$sync" "$clients" $turn
		done
	done
}

# Announce the rows of one cell: synchronous_commit, clients, what to call the cell.
append_rows() {
	local cell="$1-$2" name=$3
	row "commit_only-$cell" "1 event, $name: commit with WAL, no table" "commits/s"
	row "insert_new-$cell" "1 event, $name: bare INSERT, new stream" "events/s"
	row "append_new-$cell" "1 event, $name: append, new stream, version 0" "events/s" "insert_new-$cell" ">= 1.0"
	row "insert_events-$cell" "1 event, $name: INSERT by the trigger, new stream" "events/s" "insert_new-$cell"
	row "insert_any-$cell" "1 event, $name: bare INSERT, 10,000 streams" "events/s"
	row "append_any-$cell" "1 event, $name: append, 10,000 streams, any version" "events/s" "insert_any-$cell" ">= 1.0"
	row "insert_ten-$cell" "10 events, $name: bare INSERT of ten rows" "events/s"
	row "append_ten-$cell" "10 events, $name: append of events(jsonb)" "events/s" "insert_ten-$cell"
	row "append_ten_rows-$cell" "10 events, $name: append of an array of rows" "events/s" "insert_ten-$cell"
}

# Announce the rows of CPU time, which a busy machine disturbs less than it does the rates.
append_cpu_rows() {
	local unit="us/event"
	row cpu-commit_only-off-1 "server CPU: commit with WAL, no table" "$unit"
	row cpu-insert_new-off-1 "server CPU, 1 event: bare INSERT, new stream" "$unit"
	row cpu-append_new-off-1 "server CPU, 1 event: append, new stream, version 0" "$unit" cpu-insert_new-off-1
	row cpu-insert_events-off-1 "server CPU, 1 event: INSERT by the trigger, new stream" "$unit" cpu-insert_new-off-1
	row cpu-insert_any-off-1 "server CPU, 1 event: bare INSERT, 10,000 streams" "$unit"
	row cpu-append_any-off-1 "server CPU, 1 event: append, 10,000 streams, any version" "$unit" cpu-insert_any-off-1
	row cpu-insert_ten-off-1 "server CPU, 10 events: bare INSERT of ten rows" "$unit"
	row cpu-append_ten-off-1 "server CPU, 10 events: append of events(jsonb)" "$unit" cpu-insert_ten-off-1
	row cpu-append_ten_rows-off-1 "server CPU, 10 events: append of an array of rows" "$unit" cpu-insert_ten-off-1
}

# The section.
section_append() {
	local sync clients name
	for sync in on off; do
		for clients in $BENCH_CLIENTS; do
			name=$(cell_name $sync "$clients")
			append_rows $sync "$clients" "$name"
			say " $name"
			append_cell $sync "$clients"
		done
	done
	append_cpu_rows
}
