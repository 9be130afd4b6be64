#!/usr/bin/env bash
# Builds kwok, whose nodes run pods without running anything, and prints its path. Nothing to do the second time.
# Usage: kwok.sh [go install flags, e.g. -p 1]
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

version=v0.8.0
program=$CACHE/kwok/$version/kwok
if [[ ! -x $program ]]; then
  echo "== building kwok $version from source" >&2
  mkdir -p "$(dirname "$program")"
  GOBIN=$(dirname "$program") CGO_ENABLED=0 go install "$@" -ldflags "-s -w" "sigs.k8s.io/kwok/cmd/kwok@$version" >&2
fi
echo "$program"
