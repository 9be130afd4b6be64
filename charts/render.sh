#!/usr/bin/env bash
# Renders the chart with each golden/*.values.yaml into golden/*.yaml, and writes what is generated from values.yaml. Needs
# helm.
# Usage: render.sh [--check]: fails if a file is stale, if Helm 3 renders something else, or if a value has no effect, is
# ignored without a warning, or is accepted with a wrong type.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# The definitions are generated and checked elsewhere, and they are large: of them, only the metadata is kept.
without_definitions() {
  awk '/^---/ {skip = 0; crd = 0} /^# Source: .*\/crds.yaml/ {crd = 1} crd && /^spec:/ {skip = 1} !skip'
}

render() { "$1" template dask-operator dask-operator --namespace dask-operator --values "$2" | without_definitions; }

if [[ ${1:-} != --check ]]; then
  python3 values.py write
  for values in golden/*.values.yaml; do
    render helm "$values" >"${values%.values.yaml}.yaml"
  done
  exit
fi

python3 values.py write --check
helm3=$(../testbed/helm3.sh)
for values in golden/*.values.yaml; do
  golden=${values%.values.yaml}.yaml
  diff -u "$golden" <(render helm "$values") || { echo "$golden is stale: run make generate" >&2; exit 1; }
  # Helm 3 has other blank lines between documents.
  diff -uB "$golden" <(render "$helm3" "$values") || { echo "Helm 3 renders something else than $golden" >&2; exit 1; }
  for helm in helm "$helm3"; do
    "$helm" lint --strict --quiet dask-operator --values "$values"
  done
done
python3 values.py used
python3 values.py types
# Helm 3 needs a cluster for this, so that install-check.sh does the same.
KUBECONFIG=/dev/null ./ignored.sh helm
./umbrella.sh helm
./umbrella.sh "$helm3"
# Invalid values are rejected with a message.
refused=0
while IFS='|' read -r values message; do
  if output=$(helm template dask-operator dask-operator --set-json "$values" 2>&1); then
    echo "the chart does not reject $values" >&2
    refused=1
  elif [[ $output != *"$message"* ]]; then
    echo "the error for $values does not contain: $message" >&2
    echo "$output" >&2
    refused=1
  fi
done <refused.txt
exit "$refused"
