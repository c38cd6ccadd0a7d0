# Turns samples and rows (see measure.sh) into one aligned table.

# The median of v[1..n]; sorts v.
function median(v, n,    i, j, t) {
	for (i = 2; i <= n; i++) {
		t = v[i]
		for (j = i - 1; j >= 1 && v[j] > t; j--)
			v[j + 1] = v[j]
		v[j + 1] = t
	}
	return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}

# A number with about four digits.
function show(x,    s, out) {
	if (x < 10)
		return sprintf("%.3f", x)
	if (x < 100)
		return sprintf("%.1f", x)
	s = sprintf("%.0f", x)
	while (length(s) > 3) {
		out = "," substr(s, length(s) - 2) out
		s = substr(s, 1, length(s) - 3)
	}
	return s out
}

# Remember a cell and the width its column needs.
function put(line, column, text) {
	cell[line, column] = text
	if (length(text) > width[column])
		width[column] = length(text)
}

BEGIN {
	columns = split("what|unit|median|min..max|ratio|min..max|of|target", head, "|")
	for (c = 1; c <= columns; c++)
		put(0, c, head[c])
}

FNR == NR { value[$1, $2] = $3; if ($2 > rounds) rounds = $2; next }

{
	split($0, f, "|")
	turned = sub(/^\//, "", f[4])
	n = m = 0
	for (r = 1; r <= rounds; r++) {
		if (!((f[1], r) in value))
			continue
		v[++n] = value[f[1], r]
		if (f[4] != "" && (f[4], r) in value && value[f[4], r] > 0 && v[n] > 0)
			q[++m] = turned ? value[f[4], r] / v[n] : v[n] / value[f[4], r]
	}
	label[f[1]] = f[2]
	if (n == 0)
		next
	put(++lines, 1, f[2])
	put(lines, 2, f[3])
	put(lines, 3, show(median(v, n)))
	put(lines, 4, show(v[1]) ".." show(v[n]))
	if (m > 0) {
		put(lines, 5, sprintf("%.2f", median(q, m)))
		put(lines, 6, sprintf("%.2f..%.2f", q[1], q[m]))
		of = label[f[4]]
		sub(/.*: /, "", of)
		put(lines, 7, turned ? of " / this" : of)
	}
	put(lines, 8, f[5])
}

END {
	for (l = 0; l <= lines; l++) {
		text = ""
		for (c = 1; c <= columns; c++)
			text = text sprintf(c == 1 || c == 2 || c >= 7 ? "%-*s  " : "%*s  ", width[c], cell[l, c])
		sub(/ +$/, "", text)
		print text
	}
}
