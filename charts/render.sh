#!/usr/bin/env bash
# Renders the chart for each file of values in golden/ into the file of manifests beside it; with
# --check, fails if one of them is not as committed. Needs helm.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

for values in golden/*.values.yaml; do
  golden=${values%.values.yaml}.yaml
  rendered=$(helm template dask-operator dask-operator --namespace dask-operator --values "$values")
  if [[ ${1:-} == --check ]]; then
    diff -u "$golden" <(printf '%s\n' "$rendered") || { echo "$golden is stale: run make generate" >&2; exit 1; }
  else
    printf '%s\n' "$rendered" >"$golden"
  fi
done
