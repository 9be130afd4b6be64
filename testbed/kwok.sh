#!/usr/bin/env bash
# Builds kwok, whose nodes run pods without running anything, and prints its path; beside it is what it says of nodes and
# pods, `stages.yaml`. Nothing to do the second time.
# Usage: kwok.sh [go install flags, e.g. -p 1]
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

module=sigs.k8s.io/kwok@v0.8.0
folder=$CACHE/kwok/${module#*@}
if [[ ! -x $folder/kwok ]]; then
  echo "== building $module from source" >&2
  mkdir -p "$folder"
  GOBIN=$folder CGO_ENABLED=0 go install "$@" -ldflags "-s -w" "${module%@*}/cmd/kwok@${module#*@}" >&2
fi
if [[ ! -s $folder/stages.yaml ]]; then
  source=$(go mod download -json "$module" | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p')
  stages=$source/kustomize/stage
  for stage in "$stages"/node/fast/node-initialize.yaml "$stages"/node/heartbeat-with-lease/node-*.yaml \
    "$stages"/pod/fast/pod-{ready,delete}.yaml; do
    echo ---
    cat "$stage"
  done >"$folder/stages.part"
  mv "$folder/stages.part" "$folder/stages.yaml"
fi
echo "$folder/kwok"
