# Where the processor time goes: perf's samples of the backend of one client, in
# microseconds an event, for the bare INSERT and for append. Not part of a run
# without options.

# Sample the backend of one client, adding lines "microseconds an event, function" to the script's profile: script.
profile_of() {
	local script=$1 client pid events
	pgbench_log "$script" 1 off -T "$BENCH_SECONDS" > "$BENCH_DIR/pgbench.log" &
	client=$!
	wait_clients 1
	pid=$(sql -c "SELECT pid FROM pg_stat_activity WHERE application_name = 'pgbench'")
	# It ends with the backend.
	perf record -q -e cpu-clock -F 5000 -p "$pid" -o "$BENCH_DIR/perf.data" > /dev/null
	wait $client
	events=$(awk -v each="$(events_of "$script")" '/transactions actually processed/ { print $NF * each }' "$BENCH_DIR/pgbench.log")
	perf report -q -i "$BENCH_DIR/perf.data" --sort dso,symbol -F sample,dso,symbol -t '|' --stdio 2> /dev/null |
		awk -F ' *[|] *' -v each="$(scaled 200 1 $((events * BENCH_ROUNDS)))" '
			NF < 3 { next }
			{ name = $3 ~ /^\[k\]/ ? "kernel" : $3 ~ /0x/ ? "static functions, " $2 : substr($3, 5) }
			{ print $1 * each "\t" name; print $1 * each "\t(all)" }
			$2 ~ /^evstore/ { print $1 * each "\t(all of evstore.so)" }' >> "$BENCH_DIR/profile.$script"
}

# Print two profiles side by side, the sums first: title, scripts, awk expression of a line's rank.
profile_print() {
	echo
	echo "server CPU by function, us/event, $1: $2, $3, difference"
	awk -F '\t' 'FNR == NR { a[$2] += $1; all[$2]; next } { b[$2] += $1; all[$2] }
		END { for (s in all) printf "%7.2f %7.2f %+7.2f  %s\n", a[s], b[s], b[s] - a[s], s }' \
		"$BENCH_DIR/profile.$2" "$BENCH_DIR/profile.$3" |
		awk "{ print (\$4 ~ /^\\(/ ? 1e6 : $4) \"\\t\" \$0 }" | sort -rg | cut -f 2 | awk 'NR <= 25'
}

# The section.
section_profile() {
	command -v perf > /dev/null || { skip "profile: install perf (Debian: apt-get install linux-perf)"; return 0; }
	local round script
	fresh_tables
	for ((round = 1; round <= BENCH_ROUNDS; round++)); do
		for script in insert_new append_new insert_ten append_ten; do
			profile_of $script
		done
	done
	for script in "insert_new append_new" "insert_ten append_ten"; do
		profile_print "largest" $script '$2'
		profile_print "most different" $script '($3 < 0 ? -$3 : $3)'
	done > "$BENCH_DIR/profile"
}
