#!/usr/bin/env bash
# Checks the lines of dask-operator/README.md for charts that have this one as a dependency with the name of dask-kubernetes'.
# Usage: umbrella.sh HELM
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
helm=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "umbrella.sh: $*" >&2; exit 1; }

{
  printf '%s\n' 'apiVersion: v2' 'name: platform' 'version: 1.0.0'
  sed -n '/^```yaml$/,/^```$/{/^```/d;p}' dask-operator/README.md | sed -n '/^dependencies:/,/^  repository:/p' |
    sed "s|repository: .*|repository: file://$PWD/dask-operator|; s|^  version:.*|&\\n  condition: dask-kubernetes-operator.enabled|"
} >"$work/Chart.yaml"
grep -q '^  alias: dask-kubernetes-operator$' "$work/Chart.yaml" || fail "README.md has no lines with the alias"
# Every value of dask-kubernetes' chart, below its name.
{ echo "dask-kubernetes-operator:"; sed '/OverRide/Id; s/^/  /' golden/upstream.values.yaml; } >"$work/values.yaml"
"$helm" dependency update "$work" >"$work/out" 2>&1 || fail "$(cat "$work/out")"

render() { "$helm" template platform "$work" --namespace dask "$@"; }
rendered=$(render) || fail "the chart cannot be rendered"
for expected in 'name: platform-dask-kubernetes-operator' 'app.kubernetes.io/name: dask-kubernetes-operator' \
  'image: "registry.example.org/dask-operator:2025.7"' 'serviceAccountName: dask' '- --verbose'; do
  [[ $rendered == *"$expected"* ]] || fail "there is no $expected"
done
[[ -z $(render --set dask-kubernetes-operator.enabled=false) ]] || fail "the condition has no effect"
if output=$(render --set dask-kubernetes-operator.replicas=many 2>&1); then fail "a value of a wrong type is accepted"; fi
[[ $output == *replicas* ]] || fail "$output"
