#!/usr/bin/env bash
# Installs dask-kubernetes with all that it needs, at the versions of the Dask test image, into an environment of its
# own, and prints that folder. Nothing to do the second time.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

requirements=$here/images/dask-requirements.txt
folder=$CACHE/upstream/$(sha256sum "$requirements" | cut -c1-12)
if [[ ! -d $folder ]]; then
  echo "== installing dask-kubernetes from PyPI" >&2
  rm -rf "$CACHE/upstream"
  mkdir -p "$CACHE/upstream"
  # Scripts of an environment name its folder, so it is made where it stays, and marked when it is complete.
  trap 'rm -rf "$folder"' ERR
  python3 -m venv "$folder"
  "$folder/bin/pip" install --quiet --no-compile --no-deps --only-binary=:all: --requirement "$requirements" >&2
  "$folder/bin/python" -m compileall -q "$folder/lib" >&2 || true
fi
echo "$folder"
