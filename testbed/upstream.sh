#!/usr/bin/env bash
# Installs dask-kubernetes with its dependencies into a Python environment, in the versions of the Dask test image, and
# prints its directory. Does nothing if the environment exists.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

requirements=$here/images/dask-requirements.txt
directory=$CACHE/upstream/$(sha256sum "$requirements" | cut -c1-12)
if [[ ! -d $directory ]]; then
  echo "== installing dask-kubernetes from PyPI" >&2
  rm -rf "$CACHE/upstream"
  mkdir -p "$CACHE/upstream"
  # The scripts of an environment contain its path, so it cannot be moved into place when it is complete.
  trap 'rm -rf "$directory"' ERR
  python3 -m venv "$directory"
  "$directory/bin/pip" install --quiet --no-compile --no-deps --only-binary=:all: --requirement "$requirements" >&2
  "$directory/bin/python" -m compileall -q "$directory/lib" >&2 || true
fi
echo "$directory"
