#!/usr/bin/env bash
# Builds the testbed binary and the pause program for the image that testbed creates.
# Usage: build.sh BIN_DIR [go build flags, e.g. -p 1]
set -euo pipefail

[[ $# -ge 1 ]] || { echo "usage: build.sh BIN_DIR [go build flags]" >&2; exit 1; }
mkdir -p "$1"
bin=$(cd "$1" && pwd)
shift
cd "$(dirname "${BASH_SOURCE[0]}")"
say() { printf '%4d s  %s\n' "$SECONDS" "$*"; }

# Without a version, clients refuse to talk to the API server, and the components disagree about feature gates.
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
helm=$(go list -m -f '{{.Version}}' helm.sh/helm/v4)
IFS=. read -r major minor _ <<<"${version#v}"
base=k8s.io/component-base/version
flags="-s -w -X $base.gitVersion=$version -X $base.gitMajor=$major -X $base.gitMinor=$minor -X $base.gitTreeState=clean"
flags+=" -X helm.sh/helm/v4/internal/version.version=$helm"

say "building pause"
CGO_ENABLED=0 go build "$@" -ldflags "-s -w" -o "$bin/pause" ./pause
say "building testbed: Kubernetes $version, $(go list -m go.etcd.io/etcd/server/v3), $(go list -m github.com/coredns/coredns), Helm $helm"
say "(takes about 12 minutes on two cores the first time, and a minute after a change)"
go build "$@" -ldflags "$flags" -o "$bin/testbed" .
say "built $bin/testbed ($(du -h "$bin/testbed" | cut -f1))"
