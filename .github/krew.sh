#!/usr/bin/env bash
# Prints the krew manifest of kubectl-dask for archives that were built.
# Usage: krew.sh VERSION DIRECTORY. DIRECTORY has kubectl-dask-OS-ARCHITECTURE.tar.gz for each platform of the manifest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "krew.sh: $*" >&2; exit 1; }

[[ $# -eq 2 ]] || fail "usage: krew.sh VERSION DIRECTORY"
repository=$(sed -n 's/^repository = "\(.*\)"$/\1/p' Cargo.toml)
manifest=$(grep -v '^#' kubectl-dask/krew.yaml)
manifest=${manifest//@VERSION@/$1}
manifest=${manifest//@URL@/$repository/releases/download/v$1}
for platform in linux-amd64 linux-arm64 darwin-amd64 darwin-arm64; do
  archive=$2/kubectl-dask-$platform.tar.gz
  [[ -f $archive ]] || fail "$archive is missing"
  sum=$(sha256sum "$archive")
  manifest=${manifest//@$platform@/${sum%% *}}
done
[[ $manifest != *@* ]] || fail "the manifest has a placeholder that is not filled in: $(grep -m1 @ <<<"$manifest")"
printf '%s\n' "$manifest"
