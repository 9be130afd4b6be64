#!/usr/bin/env bash
# Pushes one image of several architectures. Its digest is written beside the first archive, as `digest`.
# Usage: push-image.sh DESTINATION IMAGE.tar... (docker-archives, each of one architecture)
set -euo pipefail

[[ $# -ge 2 ]] || { echo "usage: push-image.sh DESTINATION IMAGE.tar..." >&2; exit 2; }
destination=$1
shift
digest=$(dirname "$1")/digest

work=$(mktemp -d)
export BUILDAH_ISOLATION=chroot TMPDIR=$work
store=(--storage-driver vfs --root "$work/storage" --runroot "$work/run")
clean_up() { rm -rf --one-file-system "$work"; }
trap clean_up EXIT

buildah "${store[@]}" manifest create release >/dev/null
for archive in "$@"; do
  # The layers come along only if the image is in the store.
  image=$(buildah "${store[@]}" pull --quiet "docker-archive:$archive")
  buildah "${store[@]}" manifest add release "containers-storage:[vfs@$work/storage+$work/run]$image" >/dev/null
  # Both archives have one name, which belongs to the last.
done
buildah "${store[@]}" manifest push --all --format oci --digestfile "$digest" release "$destination"
