#!/usr/bin/env bash
# Renders the chart for each file of values in golden/ into the file of manifests beside it, and the table of its README;
# with --check, fails if one of them is not as committed, if Helm 3 renders something else, or if a value has no effect.
# Needs helm.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

render() { "$1" template dask-operator dask-operator --namespace dask-operator --values "$2"; }

if [[ ${1:-} != --check ]]; then
  python3 values.py readme
  for values in golden/*.values.yaml; do
    render helm "$values" >"${values%.values.yaml}.yaml"
  done
  exit
fi

python3 values.py readme --check
helm3=$(../testbed/helm3.sh)
for values in golden/*.values.yaml; do
  golden=${values%.values.yaml}.yaml
  diff -u "$golden" <(render helm "$values") || { echo "$golden is stale: run make generate" >&2; exit 1; }
  # Blank lines between documents aside.
  diff -uB "$golden" <(render "$helm3" "$values") || { echo "Helm 3 renders something else" >&2; exit 1; }
  for helm in helm "$helm3"; do
    "$helm" lint --strict --quiet dask-operator --values "$values"
  done
done
python3 values.py used
# What cannot work is refused in words.
refused=0
while IFS='|' read -r values message; do
  if output=$(helm template dask-operator dask-operator --set-json "$values" 2>&1); then
    echo "the chart renders with $values" >&2
    refused=1
  elif [[ $output != *"$message"* ]]; then
    echo "with $values the chart does not say: $message" >&2
    echo "$output" >&2
    refused=1
  fi
done <refused.txt
exit "$refused"
