#!/usr/bin/env bash
# Builds the wheel of dask-operator-plugin-tools from the programs in DIRECTORY, without compiling them. Prints its path.
# Usage: build.sh DIRECTORY OUT. PYTHON is the Python that has pip, by default python3.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
fail() { echo "build.sh: $*" >&2; exit 1; }

[[ $# -eq 2 ]] || fail "usage: build.sh DIRECTORY OUT"
directory=$1 out=$(realpath -m "$2")
for program in dask-operator dask-plugin-sanity; do
  [[ -x $directory/$program ]] ||
    fail "$directory has no $program; build it with: cargo build -p dask-operator -p dask-plugin-sanity"
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Symbols are four fifths of the size.
for program in dask-operator dask-plugin-sanity; do
  strip -o "$work/$program" "$directory/$program"
done
PROGRAMS=$work "${PYTHON:-python3}" -m pip wheel --quiet --no-deps --wheel-dir "$work/wheel" "$here"
mkdir -p "$out"
mv "$work"/wheel/*.whl "$out"
echo "$out"/dask_operator_plugin_tools-*.whl
