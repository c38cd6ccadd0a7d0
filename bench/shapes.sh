# Event types and upcasters: what a check costs an append, and what an upcaster
# costs a fold and a catch-up. It has a database of its own.

. "$here/domain.sh"

# What is declared, by the names of the variants; each is undone before the next.
declare -A declared=(
	[none]=""
	[other-type]="SELECT evstore.create_event_type('Other', \"check\" => 'is_order_in_sql')"
	[in-sql]="SELECT evstore.create_event_type('OrderPlaced', \"check\" => 'is_order_in_sql')"
	[in-plpgsql]="SELECT evstore.create_event_type('OrderPlaced', \"check\" => 'is_order_in_plpgsql')"
	[by-type]="SELECT evstore.create_event_type('OrderPlaced', \"check\" => 'order_placed')"
	[up-other]="SELECT evstore.create_upcaster('Other', 1, 'newer_in_sql')"
	[up-sql]="SELECT evstore.create_upcaster('OrderPlaced', 1, 'newer_in_sql')"
	[up-plpgsql]="SELECT evstore.create_upcaster('OrderPlaced', 1, 'newer_in_plpgsql')"
	[up-event]="SELECT evstore.create_upcaster('OrderPlaced', 1, 'newer_event')")
declare -A title=(
	[none]="nothing declared"
	[other-type]="another type has a check"
	[in-sql]="checked by a function in SQL"
	[in-plpgsql]="checked by a function in plpgsql"
	[by-type]="checked by a composite type"
	[up-other]="upcaster of another type"
	[up-sql]="every event upcast, data, in SQL"
	[up-plpgsql]="every event upcast, data, in plpgsql"
	[up-event]="every event upcast, whole, in plpgsql")
checks="none other-type in-sql in-plpgsql by-type"
upcasters="none up-other up-sql up-plpgsql up-event"

# Declare one variant, and nothing else.
declare_variant() {
	sql -c "SELECT evstore.drop_event_type(type, schema_version) FROM evstore.event_types" \
		-c "SELECT evstore.drop_upcaster(type, from_version) FROM evstore.upcasters" > /dev/null
	[ -z "${declared[$1]}" ] || sql -c "${declared[$1]}" > /dev/null
}

# The row that a variant is measured by: nothing for the first.
base_of() {
	[ "$2" = none ] || echo "$1-none"
}

# Announce the rows.
shapes_rows() {
	local variant
	for variant in $checks; do
		row "check-$variant" "append, 1 client, async: ${title[$variant]}" "events/s" "$(base_of check "$variant")"
	done
	for variant in $upcasters; do
		row "upfold-$variant" "fold of 50,000 events, apply in SQL: ${title[$variant]}" ms "$(base_of upfold "$variant")"
	done
	for variant in $upcasters; do
		row "upcatch-$variant" "catch-up, 10 groups: ${title[$variant]}" "events/s" "$(base_of upcatch "$variant")"
	done
}

# Measure every variant once.
shapes_round() {
	local round=$1 variant events
	for variant in $checks; do
		declare_variant "$variant"
		sample_rate_of "check-$variant" "$round" append_account 1 off
	done
	events=$(sql -c "SELECT count(*) FROM events")
	for variant in $upcasters; do
		declare_variant "$variant"
		sample_fold "upfold-$variant" "$round" "evstore.load('fold-1')"
		sample_rate "upcatch-$variant" "$round" "$events" "$(seconds_of "
			SELECT evstore.create_projection('catchup', query => \$\$$by_region\$\$);
			SELECT evstore.wait_for('catchup', timeout => '10 min');")"
		sql -c "SELECT evstore.drop_projection('catchup')" > /dev/null
	done
}

# The functions, and the type.
shapes_functions() {
	sql <<-'EOF2'
	CREATE FUNCTION is_order_in_sql(data jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS
		$$SELECT (data->>'amount')::numeric >= 0 AND data->>'customer' IS NOT NULL$$;
	CREATE FUNCTION is_order_in_plpgsql(data jsonb) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
		$$BEGIN RETURN (data->>'amount')::numeric >= 0 AND data->>'customer' IS NOT NULL; END$$;
	CREATE TYPE line AS (sku text, qty integer, price numeric);
	CREATE TYPE order_placed AS ("order" integer, customer text, region text, amount numeric, currency text,
		lines public.line[], ship_to text);
	CREATE FUNCTION newer_in_sql(data jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
		$$SELECT data || '{"channel": "web"}'$$;
	CREATE FUNCTION newer_in_plpgsql(data jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS
		$$BEGIN RETURN data || '{"channel": "web"}'; END$$;
	CREATE FUNCTION newer_event(e evstore.event) RETURNS evstore.event LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS
		$$BEGIN e.data := e.data || '{"channel": "web"}'; RETURN e; END$$;
	SELECT redeclare('fold', 'fold_in_sql', '0');
	EOF2
}

# The section.
section_shapes() {
	local round
	shapes_rows
	sql -c "CREATE DATABASE shapes"
	local PGDATABASE=shapes
	export PGDATABASE
	sql -c "CREATE EXTENSION evstore"
	sql -v fold=$fold_events -v order="$order" -f "$here/sql/domain.sql"
	shapes_functions > /dev/null
	for ((round = 1; round <= BENCH_ROUNDS; round++)); do
		shapes_round $round
	done
	PGDATABASE=postgres sql -c "DROP DATABASE shapes WITH (FORCE)"
}
