#!/usr/bin/env bash
# Builds kwok, which simulates nodes and their pods, and prints its path. Writes `stages.yaml`, which configures how nodes
# and pods change, to the same directory. Does nothing if both exist.
# Usage: kwok.sh [go install flags, e.g. -p 1]
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

module=sigs.k8s.io/kwok@v0.8.0
directory=$CACHE/kwok/${module#*@}
if [[ ! -x $directory/kwok ]]; then
  echo "== building $module from source" >&2
  mkdir -p "$directory"
  GOBIN=$directory CGO_ENABLED=0 go install "$@" -ldflags "-s -w" "${module%@*}/cmd/kwok@${module#*@}" >&2
fi
if [[ ! -s $directory/stages.yaml ]]; then
  source=$(go mod download -json "$module" | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p')
  stages=$source/kustomize/stage
  for stage in "$stages"/node/fast/node-initialize.yaml "$stages"/node/heartbeat-with-lease/node-*.yaml \
    "$stages"/pod/fast/pod-{ready,delete}.yaml; do
    echo ---
    cat "$stage"
  done >"$directory/stages.part"
  mv "$directory/stages.part" "$directory/stages.yaml"
fi
echo "$directory/kwok"
