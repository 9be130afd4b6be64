#!/usr/bin/env bash
# Usage: slowest.sh COMMAND...
#
# Runs COMMAND, which runs tests, and prints a table of the slowest ones. Tests append their begin, end and name to the
# file TEST_TIMES; see support/test_run.rs. One test may do so several times, from its first begin to its last end.
set -euo pipefail

TEST_TIMES=$(mktemp)
export TEST_TIMES
trap 'rm -f "$TEST_TIMES"' EXIT
status=0
"$@" || status=$?
[[ ! -s $TEST_TIMES ]] || echo "the slowest tests, in seconds:"
awk -F'\t' '
  { if (!($3 in first) || $1 < first[$3]) first[$3] = $1; if ($2 > last[$3]) last[$3] = $2 }
  END { for (name in first) printf "%8.1f  %s\n", last[name] - first[name], name }
' "$TEST_TIMES" | sort -rn | sed -n 1,15p
exit "$status"
