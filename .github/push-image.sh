#!/usr/bin/env bash
# Pushes an image for several architectures, and writes its digest to the file `digest` beside the first archive.
# Usage: push-image.sh DESTINATION IMAGE.tar... (docker archives, one for each architecture)
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
  # The manifest includes the layers only if the image is in the store.
  image=$(buildah "${store[@]}" pull --quiet "docker-archive:$archive")
  buildah "${store[@]}" manifest add release "containers-storage:[vfs@$work/storage+$work/run]$image" >/dev/null
  # All archives have the same image name, so the image is referenced by its ID.
done
buildah "${store[@]}" manifest push --all --format oci --digestfile "$digest" release "$destination"
