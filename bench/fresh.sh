# Reading one's own writes: what evstore.read_your_writes costs a SELECT by the
# key of a read table, and an append followed by such a SELECT.

# Set evstore.read_your_writes for new sessions: on or off.
fresh_setting() {
	sql -c "ALTER DATABASE \"$PGDATABASE\" SET evstore.read_your_writes = $1"
}

# Measure one turn of the reads: turn.
fresh_reads() {
	local turn=$1
	fresh_setting off
	sample fresh-off "$turn" "$(tps_of read_key 1 off -D first=1)"
	fresh_setting on
	sample fresh-idle "$turn" "$(tps_of read_key 1 off -D first=0)"
	sample fresh-on "$turn" "$(tps_of read_key 1 off -D first=1)"
}

# Measure one turn of appends followed by reads: turn, clients.
fresh_appends() {
	local setting
	for setting in off on; do
		fresh_setting $setting
		sample "fresh-append-$2-$setting" "$1" "$(tps_of append_read "$2" on)"
	done
}

# The section.
section_fresh() {
	local turn clients
	row fresh-off "SELECT by key of a read table, read_your_writes off" "queries/s"
	row fresh-idle "the same, on, in a session that has appended nothing" "queries/s" fresh-off
	row fresh-on "the same, on, in a session that has appended" "queries/s" fresh-off
	for clients in 1 16; do
		row "fresh-append-$clients-off" "append, then SELECT by key, $clients client(s), fsync, off" "pairs/s"
		row "fresh-append-$clients-on" "the same, on: never stale" "pairs/s" "fresh-append-$clients-off"
	done
	fresh_tables
	sql -c "SELECT evstore.create_projection('orders_by_region', \$\$$by_region\$\$)" > /dev/null
	for ((turn = 1; turn <= BENCH_TURNS; turn++)); do
		fresh_reads $turn
		for clients in 1 16; do
			fresh_appends $turn $clients
		done
	done
	fresh_setting off
	sql -c "SELECT evstore.drop_projection('orders_by_region')" > /dev/null
}
