# Reads what `go test -json` prints (for one major, in test-matrix): shows each
# package's result and the output of what failed, and appends to the files that the
# variables table and skips name. Each line is one flat object; the values looked for
# here hold no quotes, but for the output, which comes last.

function value(key,    at, rest) {
	at = index($0, "\"" key "\":\"")
	if (!at) return ""
	rest = substr($0, at + length(key) + 4)
	return substr(rest, 1, index(rest, "\"") - 1)
}

function output(    at, s) {
	at = index($0, "\"Output\":\"")
	s = substr($0, at + 10)
	sub(/"[^"]*}$/, "", s)
	gsub(/\\n/, "\n", s); gsub(/\\t/, "\t", s); gsub(/\\"/, "\"", s)
	gsub(/\\u003c/, "<", s); gsub(/\\u003e/, ">", s); gsub(/\\u0026/, "\\&", s); gsub(/\\\\/, "\\", s)
	return s
}

{
	action = value("Action"); package = value("Package"); test = value("Test")
	if (!package) package = value("ImportPath") # of a build that failed
	sub(/^.*failback-hook\/failback-hook\//, "", package)
	name = package " " test
}

action == "output" || action == "build-output" { said[name] = said[name] output(); next }
test && action == "pass" { passed[package]++; total["passed"]++; delete said[name] }
test && action == "fail" { failed[package]++; total["failed"]++ }
test && action == "skip" {
	skipped[package]++; total["skipped"]++
	reason = said[name]
	sub(/^.*\.go:[0-9]+: /, "", reason); sub(/\n.*$/, "", reason)
	if (reason == "" || reason ~ /^=== /) reason = "(no reason given)"
	print name ": " reason >> skips
	delete said[name]
}
action == "fail" || action == "build-fail" { printf "%s", said[name]; broken = broken " " (test ? test : package) }
!test && (action == "pass" || action == "fail") {
	if (passed[package] + failed[package] + skipped[package] || action == "fail") {
		order[++n] = package; verdict[package] = action == "pass" ? "ok" : "FAILED"
		seconds[package] = $0; sub(/^.*"Elapsed":/, "", seconds[package]); sub(/[,}].*/, "", seconds[package])
		printf "%-6s %-28s %s s\n", verdict[package], package, seconds[package]
	}
}

END {
	split(title, t, "\t")
	if ((getline line < table) <= 0)
		print "major\tversion\tstock pg_rewind\tpackage\tpassed\tskipped\tfailed\tseconds" >> table
	for (i = 1; i <= n; i++) {
		p = order[i]
		print title "\t" p "\t" passed[p] + 0 "\t" skipped[p] + 0 "\t" failed[p] + 0 "\t" seconds[p] >> table
	}
	print title "\tall\t" total["passed"] + 0 "\t" total["skipped"] + 0 "\t" total["failed"] + 0 "\t" >> table
	if (broken) print "failed:" broken
}
