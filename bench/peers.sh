# Appends per second against other stores in the same server: message-db, PgQ,
# an append in plpgsql, and the bare INSERT. Then the bytes an event takes in the
# WAL and on disk. message-db gets a database of its own, from its own installer.

message_db_package="@eventide/message-db@1.3.1"

# Print what a variant is called: variant.
peer_name() {
	case $1 in
		bare) echo "bare INSERT" ;;
		append) echo "append, version 0" ;;
		append_id) echo "append, version 0, with an id" ;;
		plpgsql_stream) echo "plpgsql append, lock of the stream" ;;
		plpgsql_all) echo "plpgsql append, one lock for all" ;;
		message_db_1) echo "message-db, 1 category" ;;
		message_db_100) echo "message-db, 100 categories" ;;
		pgq) echo "PgQ (no versions)" ;;
	esac
}

# Print the pgbench script of a variant: variant, events a call (one or ten).
peer_script() {
	case $1-$2 in
		bare-one) echo insert_new ;;
		append-one) echo append_new ;;
		append_id-one) echo append_id ;;
		bare-ten) echo insert_ten ;;
		append-ten) echo append_ten ;;
		message_db_*) echo "message_db_$2" ;;
		plpgsql_*) echo "plpgsql_$2" ;;
		pgq-*) echo "pgq_$2" ;;
	esac
}

# Print the database of a variant: variant.
peer_database() {
	case $1 in
		message_db_*) echo message_store ;;
		*) echo "$PGDATABASE" ;;
	esac
}

# Print what tells a variant from its sister with the same script, for pgbench: variant.
peer_options() {
	case $1 in
		message_db_*) echo "-D categories=${1##*_}" ;;
		plpgsql_stream) echo "-D one_lock=false" ;;
		plpgsql_all) echo "-D one_lock=true" ;;
	esac
}

# Print the variants of a call: events a call (one or ten).
peer_variants() {
	local word
	for word in bare append append_id $peers; do
		[ "$word-$1" = append_id-ten ] || echo "$word"
	done
}

# Install message-db from its npm package into a database of its own, or say why not.
install_message_db() {
	local log
	command -v npm > /dev/null || { skip "message-db: install npm (Debian: apt-get install npm)"; return 0; }
	log=$(npm install --prefix "$BENCH_DIR/npm" --ignore-scripts --no-fund --no-audit "$message_db_package" 2>&1) || {
		echo "$log" >&2
		skip "message-db: npm could not install $message_db_package"
		return 0
	}
	DATABASE_NAME=message_store "$BENCH_DIR/npm/node_modules/@eventide/message-db/database/install.sh" > /dev/null
	sql -c "ALTER DATABASE message_store SET search_path = message_store, public"
	peers="$peers message_db_1 message_db_100"
}

# Install PgQ, or say why not.
install_pgq() {
	if [ "$(sql -c "SELECT count(*) FROM pg_available_extensions WHERE name = 'pgq'")" = 0 ]; then
		skip "PgQ: install postgresql-$BENCH_PG-pgq3"
		return 0
	fi
	sql -c "CREATE EXTENSION pgq" -c "SELECT pgq.create_queue('bench')" > /dev/null
	peers="$peers pgq"
}

# Make all tables new and empty, those of the peers too.
peer_fresh() {
	fresh_tables
	sql -c "TRUNCATE home_made"
	[[ $peers != *message_db* ]] || PGDATABASE=message_store sql -c "TRUNCATE messages"
	[[ $peers != *pgq* ]] || sql -c "SELECT pgq.drop_queue('bench', true)" -c "SELECT pgq.create_queue('bench')" > /dev/null
}

# Measure one cell of the grid, all variants in turn: synchronous_commit, clients.
peer_cell() {
	local sync=$1 clients=$2 turn call variant
	local BENCH_SECONDS=1
	peer_fresh
	for ((turn = 1; turn <= BENCH_TURNS; turn++)); do
		for call in one ten; do
			for variant in $(peer_variants $call); do
				PGDATABASE=$(peer_database "$variant") sample_rate_of "peer-$variant-$call-$sync-$clients" $turn \
					"$(peer_script "$variant" $call)" "$clients" "$sync" $(peer_options "$variant")
			done
		done
	done
}

# Print the fastest peer that keeps versions: events a call, synchronous_commit, clients.
best_peer() {
	local variant
	for variant in $peers; do
		[ "$variant" = pgq ] || echo "$(median_of "peer-$variant-$1-$2-$3") $variant"
	done | sort -g | awk 'END { print $2 }'
}

# Print the target of append against the best peer: events a call, synchronous_commit, clients.
best_target() {
	case $1-$2-$3 in
		one-on-16 | ten-on-*) echo ">= 1.5" ;;
		one-off-4 | one-off-16 | ten-off-*) echo ">= 2" ;;
	esac
}

# Announce the rows of one cell, once it is measured: synchronous_commit, clients.
peer_rows() {
	local cell="$1-$2" call variant name target
	for call in one ten; do
		name="peers, $([ $call = one ] && echo "1 event" || echo "10 events"), $(cell_name "$1" "$2")"
		row "peer-append-$call-$cell" "$name: append, version 0" "events/s"
		for variant in $(peer_variants $call); do
			target=""
			[ "$variant-$call-$2" != message_db_1-one-16 ] || target=">= 5"
			[ "$variant" = append ] ||
				row "peer-$variant-$call-$cell" "$name: $(peer_name "$variant")" "events/s" "/peer-append-$call-$cell" "$target"
		done
		row "peer-append-$call-$cell" "$name: append, the best peer with versions as base" "events/s" \
			"peer-$(best_peer $call "$1" "$2")-$call-$cell" "$(best_target $call "$1" "$2")"
	done
}

# Print the bytes on disk of a variant's table with its indexes: variant.
peer_disk() {
	case $1 in
		bare) sql -c "SELECT pg_total_relation_size('bare')" ;;
		append | append_id) sql -c "SELECT pg_total_relation_size('events')" ;;
		plpgsql_*) sql -c "SELECT pg_total_relation_size('home_made')" ;;
		message_db_*) PGDATABASE=message_store sql -c "SELECT pg_total_relation_size('messages')" ;;
		pgq) sql -c "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c, pgq.queue q
				WHERE q.queue_name = 'bench' AND c.relkind = 'r' AND starts_with(c.oid::regclass::text, q.queue_data_pfx)" ;;
	esac
}

# Sample the bytes an event takes in WAL and on disk: events a call, variant.
peer_bytes() {
	local call=$1 variant=$2 transactions=10000 events script wal disk
	script=$(peer_script "$variant" "$call")
	events=$((transactions * $(events_of "$script")))
	peer_fresh
	disk=$(peer_disk "$variant")
	wal=$(wal_bytes)
	PGDATABASE=$(peer_database "$variant") pgbench_log "$script" 1 off -t $transactions \
		$(peer_options "$variant") > /dev/null
	sample "peer-wal-$variant-$call" 1 "$(scaled $(($(wal_bytes) - wal)) 1 $events)"
	sample "peer-disk-$variant-$call" 1 "$(scaled $(($(peer_disk "$variant") - disk)) 1 $events)"
}

# Measure and announce the bytes, once: they do not vary.
peer_all_bytes() {
	local call kind variant name
	for call in one ten; do
		for variant in $(peer_variants $call); do
			peer_bytes $call "$variant"
		done
		for kind in wal disk; do
			name="peers, $([ $call = one ] && echo "1 event" || echo "10 events"), bytes $([ $kind = wal ] && echo "of WAL" || echo "on disk")"
			row "peer-$kind-append-$call" "$name: append, version 0" "bytes/event"
			for variant in $(peer_variants $call); do
				[ "$variant" = append ] ||
					row "peer-$kind-$variant-$call" "$name: $(peer_name "$variant")" "bytes/event" "/peer-$kind-append-$call" \
						"$([ "$kind-$variant" != disk-bare ] || echo "<= 1.0")"
			done
		done
	done
}

# The section.
section_peers() {
	local sync clients
	peers="plpgsql_stream plpgsql_all"
	sql -f "$here/sql/plpgsql.sql"
	install_message_db
	install_pgq
	for sync in on off; do
		for clients in $BENCH_CLIENTS; do
			say " $(cell_name $sync "$clients")"
			peer_cell $sync "$clients"
			peer_rows $sync "$clients"
		done
	done
	peer_all_bytes
}
