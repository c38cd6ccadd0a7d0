# What an append costs in an empty table and in one with ten million events: the
# indexes are deeper and bigger. Each grown table has a database of its own, so
# that it stands beside the empty one and both are measured in turn. The targets
# are narrow, so there are twice as many turns as elsewhere.

# Make a database with a grown table: verb (insert into the bare table, or append), kind of names (random or ordered).
grow() {
	local PGDATABASE=grown_$1
	sql -c "CREATE EXTENSION evstore"
	fresh_tables
	sql -v bare="$([ "$1" = insert ] && echo true || echo false)" -v events="$BENCH_GROWTH" \
		-v ordered="$([ "$2" = ordered ] && echo true || echo false)" -f "$here/sql/grown.sql"
}

# Grow both tables at the same time: kind of names.
grow_both() {
	local loader
	sql -c "CREATE DATABASE grown_insert" -c "CREATE DATABASE grown_append" -c CHECKPOINT
	grow insert "$1" &
	loader=$!
	grow append "$1"
	wait $loader
}

# Read a grown table's indexes into memory: verb.
grown_warm() {
	PGDATABASE=grown_$1 sql -c "CREATE EXTENSION pg_prewarm" -c "SELECT sum(pg_prewarm(indexrelid)) FROM pg_index
		WHERE indrelid = '$([ "$1" = insert ] && echo bare || echo events)'::regclass" > /dev/null
}

# Announce the rows of one kind of names and one cost: key, what they are called, target.
growth_rows() {
	local key=$1 name=$2 target=$3 full
	full="$(thousands "$BENCH_GROWTH") events"
	row "$key-insert-empty" "$name: bare INSERT, empty table" "us/event"
	row "$key-insert-grown" "$name: bare INSERT, $full" "us/event" "$key-insert-empty"
	row "$key-append-empty" "$name: append, empty table" "us/event"
	row "$key-append-grown" "$name: append, $full" "us/event" "$key-append-empty" "$target"
	row "$key-growth-insert" "$name: bare INSERT, grown / empty" "ratio"
	row "$key-growth-append" "$name: append, grown / empty" "ratio" "$key-growth-insert"
}

# Sample a cost's growth in a turn, so that the growths themselves can be compared: key, verb, turn.
growth_sample() {
	local key=$1 verb=$2 turn=$3
	sample "$key-growth-$verb" "$turn" "$(scaled "$(sampled "$key-$verb-grown" "$turn")" 1 "$(sampled "$key-$verb-empty" "$turn")")"
}

# Measure the empty and the grown table in turn: verb, kind of names, turn.
growth_turn() {
	local verb=$1 kind=$2 turn=$3 script size
	local BENCH_SECONDS=1
	script=${verb}_$([ "$kind" = random ] && echo new || echo ordered)
	fresh_tables
	for size in empty grown; do
		PGDATABASE=$([ $size = empty ] && echo "$PGDATABASE" || echo "grown_$verb") \
			sample_rate_and_cpu_of "$kind-$verb-$size" "$turn" "$script" 1 off
		sample "time-$kind-$verb-$size" "$turn" "$(scaled 1e6 1 "$(sampled "$kind-$verb-$size" "$turn")")"
	done
	growth_sample "time-$kind" "$verb" "$turn"
	growth_sample "cpu-$kind" "$verb" "$turn"
}

# The section.
section_growth() {
	local kind verb name target turn
	for kind in random ordered; do
		name="growth, $([ $kind = random ] && echo random || echo time-ordered) names"
		target="<= $([ $kind = random ] && echo 1.3 || echo 1.05)"
		growth_rows time-$kind "$name, time" "$target"
		growth_rows cpu-$kind "$name, server CPU" "$target"
		say " $name: $BENCH_GROWTH events into either table"
		grow_both $kind
		for verb in insert append; do
			grown_warm $verb
			for ((turn = 1; turn <= 2 * BENCH_TURNS; turn++)); do
				growth_turn $verb $kind $turn
			done
			sql -c "DROP DATABASE grown_$verb WITH (FORCE)"
		done
	done
}
