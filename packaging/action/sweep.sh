#!/usr/bin/env bash
# The sweep of action.yml. Runs where bash is as old as 3.2 (macOS).
set -uo pipefail

results=$(mktemp -d "${RUNNER_TEMP:-/tmp}/capfind-results.XXXXXX")
args=(--yes --output-dir "$results")
if [ -n "${INPUT_REQUIRE_LIMIT:-}" ]; then
	args+=(--require-limit "$INPUT_REQUIRE_LIMIT")
fi
while IFS= read -r line || [ -n "$line" ]; do
	if [ -n "$line" ]; then args+=("$line"); fi
done <<<"${INPUT_ARGS:-}"

code=0
capfind sweep "${args[@]}" "$INPUT_CONFIG" || code=$?

# The directory was empty: what is in it now is this sweep's.
directory=
for d in "$results"/*/; do
	if [ -d "$d" ]; then directory=${d%/}; fi
done

value() { # of result.json; nothing where that, jq or the value is missing
	if [ -f "$directory/result.json" ] && command -v jq >/dev/null; then
		jq -r "$1 // empty" "$directory/result.json"
	fi
}

{
	echo "exit-code=$code"
	echo "result-directory=$directory"
	echo "verdict=$(value .verdict)"
	echo "limit=$(value .limit.concurrency)"
} >>"$GITHUB_OUTPUT"

# A summary page takes 1 MiB at most; more than that is refused as a whole.
if [ -f "$directory/report.md" ] && [ "$(wc -c <"$directory/report.md")" -lt 1000000 ]; then
	cat "$directory/report.md" >>"$GITHUB_STEP_SUMMARY"
elif [ -n "$directory" ]; then
	echo "The report is in the artifact (report.md, report.html)." >>"$GITHUB_STEP_SUMMARY"
else
	echo "capfind sweep ended with exit code $code before there was anything to report; see the log." >>"$GITHUB_STEP_SUMMARY"
fi
exit "$code"
