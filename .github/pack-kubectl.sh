#!/usr/bin/env bash
# Packs kubectl-dask as users and krew unpack it: the program and the licence at the top of the archive.
# Usage: pack-kubectl.sh PROGRAM PLATFORM DIRECTORY. Writes DIRECTORY/kubectl-dask-PLATFORM.tar.gz.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

[[ $# -eq 3 ]] || { echo "usage: pack-kubectl.sh PROGRAM PLATFORM DIRECTORY" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
install -m 755 "$1" "$work/kubectl-dask"
install -m 644 "$root/LICENSE" "$work/LICENSE"
tar -C "$work" -czf "$3/kubectl-dask-$2.tar.gz" LICENSE kubectl-dask
