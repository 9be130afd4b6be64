#!/usr/bin/env bash
# Checks that the notes of an installation name the values that the chart ignores, as in ignored.txt, and no known ones.
# Usage: ignored.sh HELM
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
helm=$1

# check WHAT EXPECTED OPTION...
check() {
  local actual
  # Only an installation renders the notes.
  actual=$("$helm" install dask-operator dask-operator --namespace dask-operator --dry-run=client "${@:3}" |
    sed -n '/^WARNING: the chart does not know/,/^$/s/^  //p' | paste -sd ' ')
  [[ $actual == "$2" ]] || { echo "of $1 the notes name '$actual' as ignored, and should '$2'" >&2; exit 1; }
}

while IFS='|' read -r values ignored; do
  check "$values" "$ignored" --set-json "$values"
done <ignored.txt
for values in golden/*.values.yaml; do
  check "$values" "" --values "$values"
done
