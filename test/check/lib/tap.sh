# The words that the checks speak. Source this file, call `rule` once for each
# rule, then `finish`. A check stands at the top of the source tree.
cd "$(dirname "$0")/../.." || exit 1

rules=0
broken=0

# rule NAME PROBLEMS: the rule holds when there is no problem to list.
rule()
{
	rules=$((rules + 1))
	if [ -z "$2" ]
	then
		echo "ok $rules - $1"
	else
		broken=$((broken + 1))
		echo "not ok $rules - $1"
		printf '%s\n' "$2" | sed 's/^/#   /'
	fi
}

# The plan comes last, when the rules have been counted.
finish()
{
	echo "1..$rules"
	exit "$broken"
}

# Every file of the source tree that somebody wrote, one a line.
sources()
{
	find . \( -name .git -o -name build -o -name tmp_check -o -name node_modules \) -prune \
		-o -type f ! -name '*.o' ! -name '*.bc' ! -name '*.so' ! -name '*.gz' ! -path './sql/evstore--*.sql' -print |
		sed 's,^\./,,' | sort
}

# The C files and headers, one a line.
c_sources()
{
	find src -name '*.[ch]' | sort
}
