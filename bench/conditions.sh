# What a condition costs in a small table and in one with ten million tagged
# events: append_if() with a tag of its own, append_if() with a tag that has
# events, and read_by() of such a tag. As in the section growth, the grown table
# has a database of its own.

# Make the database with the grown table.
grow_tagged() {
	local PGDATABASE=grown_tagged
	sql -c "CREATE EXTENSION evstore" -c "CREATE EXTENSION pg_prewarm"
	fresh_tables
	sql -v events="$BENCH_GROWTH" -f "$here/sql/tagged.sql"
	sql -c "SELECT sum(pg_prewarm(indexrelid)) FROM pg_index WHERE indrelid = 'events'::regclass" > /dev/null
}

# Announce the rows of one script: script, what it does.
condition_rows() {
	local script=$1 name=$2
	row "time-$script-small" "conditions: $name, 20,000 events" "us/call"
	row "time-$script-grown" "conditions: $name, $(thousands "$BENCH_GROWTH") events" "us/call" "time-$script-small"
}

# Measure one script on both tables: script, turn.
condition_turn() {
	local script=$1 turn=$2 size
	local BENCH_SECONDS=1
	for size in small grown; do
		PGDATABASE=$([ $size = small ] && echo "$PGDATABASE" || echo grown_tagged) \
			sample_rate_of "$script-$size" "$turn" "$script" 1 off
		sample "time-$script-$size" "$turn" "$(scaled 1e6 1 "$(sampled "$script-$size" "$turn")")"
	done
}

# The section.
section_conditions() {
	local turn script
	condition_rows append_new "append without tags or condition"
	condition_rows condition_new "append_if, a tag of its own"
	condition_rows condition_known "append_if, a tag with twenty events"
	condition_rows read_tag "read_by, a tag with twenty events"
	say " $BENCH_GROWTH events with two tags each"
	sql -c "CREATE DATABASE grown_tagged" -c CHECKPOINT
	grow_tagged
	for ((turn = 1; turn <= BENCH_TURNS; turn++)); do
		fresh_tables
		sql -v events=20000 -f "$here/sql/tagged.sql"
		for script in append_new condition_new condition_known read_tag; do
			condition_turn $script $turn
		done
	done
	sql -c "DROP DATABASE grown_tagged WITH (FORCE)"
}
