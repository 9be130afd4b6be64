#!/usr/bin/env bash
# Checks the licences, sources, duplicates and layers of the crates that are shipped, see deny.toml.
# With --advisories, only checks for advisories, which need a download.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cache=${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dask-operator}
version=0.20.2
say() { printf '== %s\n' "$*"; }

deny=$cache/cargo-deny-$version/bin/cargo-deny
if [[ ! -x $deny ]]; then
  say "building cargo-deny"
  cargo install --quiet --locked --root "$cache/cargo-deny-$version" --version "$version" cargo-deny
fi
if [[ ${1:-} == --advisories ]]; then
  exec "$deny" --locked check advisories
fi
say "licences, sources, duplicates"
"$deny" --locked check bans licenses sources

say "the dependencies of the protocol"
# The protocol must not depend on a runtime, a client or a server, even indirectly. cargo-deny checks direct dependents
# only.
tree=$(cargo tree --locked --package dask-plugin-protocol --all-features --edges normal,build --prefix none --format '{p}')
while read -r crate _; do
  case $crate in
    tokio|futures|hyper|axum|reqwest|rustls|ring|kube*|k8s-openapi|clap|tracing*)
      echo "deny.sh: dask-plugin-protocol must not depend on $crate" >&2
      exit 1 ;;
  esac
done <<<"$tree"
