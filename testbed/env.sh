#!/usr/bin/env bash
# Sets the environment of the project's scripts: the paths of its files, and PATH with testbed, kubectl and helm.
# Usage: . env.sh, or env.sh COMMAND...
#
#   TESTBED_BIN   directory of testbed, kubectl and helm; its name is a hash of their sources, so they are never outdated
#   STATE         clusters of this checkout
#   IMAGES        image archives
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
: "${CACHE:=${XDG_CACHE_HOME:-$HOME/.cache}/dask-operator}"
: "${CLUSTER:=testbed}" "${REGISTRY:=localhost}"

sources=$(cd "$here" && find . -path ./mesh -prune -o \( -name '*.go' -o -name 'go.*' -o -path './config/files/*' -o -name build.sh \) -type f -print0 |
  LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-12)
TESTBED_BIN=$CACHE/bin/$sources
STATE=$root/.cache/clusters
IMAGES=$CACHE/images
# Go's default caches would survive `make clean`.
export GOCACHE=$CACHE/go-build GOMODCACHE=$CACHE/go-mod GOFLAGS="${GOFLAGS:-} -modcacherw"
export PATH=$TESTBED_BIN:$PATH CACHE CLUSTER REGISTRY TESTBED_BIN STATE IMAGES

if [[ ${BASH_SOURCE[0]} == "$0" && $# -gt 0 ]]; then
  exec "$@"
fi
