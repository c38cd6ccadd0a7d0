# Aggregates and commands: what folding a stream costs, with functions of several
# kinds and in other places; loading with a snapshot; executing commands. It has a
# database of its own.

# Events of the stream that is folded, and how often a sample folds it.
fold_events=50000
folds=5

# Compile the apply function in C, as a user's extension would bring it; print its path.
compile_fold() {
	local object=$BENCH_DIR/fold.so
	gcc -O2 -fPIC -shared -I"$("$BENCH_BIN/pg_config" --includedir-server)" -o "$object" "$here/fold.c"
	# The server runs as another user than this.
	chmod a+rx "$BENCH_DIR" "$object"
	echo "$object"
}

# Sample the milliseconds that a statement takes which folds once: key, round, statement, SQL before it.
sample_fold() {
	local all
	# The first one reads definitions and prepares, and is not counted.
	all=$(seconds_of "DO \$do\$ BEGIN FOR i IN 1 .. $folds LOOP PERFORM $3; END LOOP; END \$do\$;" \
		"\\o /dev/null
		${4:-};
		DO \$do\$ BEGIN PERFORM $3; END \$do\$;
		\\o")
	sample "$1" "$2" "$(scaled "$all" 1000 $folds)"
}

# Announce the rows of the folds.
fold_rows() {
	row fold-scan "fold of 50,000 events: bare scan, data touched" ms
	row fold-sum "fold of 50,000 events: sum() in SQL" ms fold-scan
	row fold-c "fold of 50,000 events: load, apply in C" ms fold-scan "<= 1.3"
	row fold-plpgsql "fold of 50,000 events: load, apply in plpgsql, jsonb" ms fold-scan "<= 2.0"
	row fold-row "fold of 50,000 events: load, apply in plpgsql, a row" ms fold-scan
	row fold-sql "fold of 50,000 events: load, apply in SQL, numeric" ms fold-scan
	row fold-loop "fold of 50,000 events: loop in plpgsql, jsonb" ms fold-scan
	row fold-node "fold of 50,000 events: in a node client" ms fold-scan
}

# Measure every way to fold once.
fold_round() {
	local round=$1 rows="FROM (SELECT data FROM events WHERE stream = 'fold-1' ORDER BY version OFFSET 0) e"
	# Through the index that load() reads by, without a sort and in one process.
	local plan="SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off; SET max_parallel_workers_per_gather = 0; SET jit = off;"
	local load="evstore.load('fold-1')" jsonb='{"orders": 0, "amount": 0}'
	sample_fold fold-scan "$round" "count(data->>'amount') $rows" "$plan"
	sample_fold fold-c "$round" "$load" "SELECT redeclare('fold', 'fold_in_c', '0')"
	sample_fold fold-sum "$round" "sum((data->>'amount')::numeric) $rows" "$plan"
	sample_fold fold-plpgsql "$round" "$load" "SELECT redeclare('fold', 'fold_in_plpgsql', '$jsonb')"
	sample_fold fold-row "$round" "$load" "SELECT redeclare('fold', 'fold_to_row', '(0,0)')"
	sample_fold fold-sql "$round" "$load" "SELECT redeclare('fold', 'fold_in_sql', '0')"
	sample_fold fold-loop "$round" "loop_in_plpgsql('fold-1')" "$plan"
	[ -z "$has_node" ] || sample fold-node "$round" "$(scaled "$(NODE_PATH=$BENCH_DIR/npm/node_modules node "$here/fold.js" fold-1 $folds)" 1000)"
}

# Have node-postgres at hand, or say why not.
install_node_postgres() {
	has_node=""
	command -v npm > /dev/null || { skip "the fold in a node client: install npm (Debian: apt-get install npm)"; return 0; }
	npm install --silent --prefix "$BENCH_DIR/npm" --ignore-scripts --no-fund --no-audit pg@8 > /dev/null 2>&1 ||
		{ skip "the fold in a node client: npm could not install pg"; return 0; }
	has_node=yes
}

# Measure loading from a snapshot: streams of three lengths, ten events after the snapshot.
snapshot_rows() {
	local length
	for length in 100 5000 50000; do
		row "load-$length" "load with a snapshot: stream of $(thousands $length) events" "us/call" \
			"$([ $length = 100 ] || echo load-100)" "$([ $length = 100 ] || echo "~ 1")"
	done
}

# One round of it.
snapshot_round() {
	local length
	for length in 100 5000 50000; do
		sample "load-$length" "$1" "$(scaled 1e6 1 "$(tps_of load_snapshot 1 off -D length=$length)")"
	done
}

# Announce the rows of the commands.
execute_rows() {
	local clients
	for clients in $BENCH_CLIENTS; do
		row "append-account-$clients" "commands, $(cell_name on "$clients"): append, 10,000 streams" "events/s"
		row "execute-many-$clients" "commands, $(cell_name on "$clients"): execute, 10,000 streams" "events/s" "append-account-$clients"
		row "execute-one-$clients" "commands, $(cell_name on "$clients"): execute, one stream" "events/s" "execute-many-$clients"
	done
}

# One round of them.
execute_round() {
	local clients
	for clients in $BENCH_CLIENTS; do
		sample_rate_of "append-account-$clients" "$1" append_account "$clients" on
		sample_rate_of "execute-many-$clients" "$1" execute_many "$clients" on
		sample_rate_of "execute-one-$clients" "$1" execute_one "$clients" on
	done
}

# The section.
section_domain() {
	local round object has_node
	fold_rows
	snapshot_rows
	execute_rows
	object=$(compile_fold)
	install_node_postgres
	sql -c "CREATE DATABASE domain"
	local PGDATABASE=domain
	export PGDATABASE
	sql -c "CREATE EXTENSION evstore"
	sql -v fold=$fold_events -v order="$order" -f "$here/sql/domain.sql"
	sql -c "CREATE FUNCTION fold_in_c(numeric, evstore.event) RETURNS numeric LANGUAGE c IMMUTABLE AS '$object'"
	for ((round = 1; round <= BENCH_ROUNDS; round++)); do
		fold_round $round
		snapshot_round $round
		execute_round $round
	done
	PGDATABASE=postgres sql -c "DROP DATABASE domain WITH (FORCE)"
}
