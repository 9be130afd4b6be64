#!/usr/bin/env bash
# Builds the images of Dask, the controller and the example plugins, if their inputs have changed.
#
# With CLUSTER=current they are pushed to REGISTRY, unless PUSH=no (the nodes have them already). The controller's image is
# also pushed with the version as its tag, which the chart uses unless image.tag is set.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../env.sh"

say() { printf '== %s\n' "$*"; }
[[ $(id -u) -eq 0 ]] || { echo "images: building images needs root" >&2; exit 1; }
if [[ $CLUSTER == current && $REGISTRY == localhost && ${PUSH:-yes} != no ]]; then
  echo "images: with CLUSTER=current, set REGISTRY to a registry that the cluster's nodes can pull from" >&2
  exit 1
fi
mkdir -p "$IMAGES"

say "building the image of Dask"
"$here/images/dask.sh" "$IMAGES/dask.tar" "$CACHE/image-build"

say "building the images of the controller and the example plugins"
cd "$root"
plugins=({ingress,istio,networkpolicy,decorator}-plugin)
# Statically linked, so that each image contains a single file.
RUSTFLAGS="-C target-feature=+crt-static" \
  cargo build --locked --release --target "$RUST_TARGET" -p dask-operator "${plugins[@]/#/--package=}"
programs=$TARGET_DIR/$RUST_TARGET/release
for program in dask-operator "${plugins[@]}"; do
  stamp=$IMAGES/$program.sha256
  # The hash does not contain paths, because several checkouts share the cache.
  sum=$(cat "$root/Containerfile" "$here"/images/{operator.sh,check.py,binary.sh} "$programs/$program" | sha256sum)
  if [[ ! -f $IMAGES/$program.tar || ! -f $stamp || $sum != "$(cat "$stamp")" ]]; then
    build=binary.sh
    [[ $program != dask-operator ]] || build=operator.sh
    "$here/images/$build" "$IMAGES/$program.tar" "localhost/$program:test" "$programs/$program"
    printf '%s\n' "$sum" >"$stamp"
  fi
done

say "building the image for plugins in Python"
"$here/images/python-plugin.sh" "$IMAGES/dask-plugin-python.tar" "$IMAGES/dask.tar" "$root/python" "$CACHE/image-build"

if [[ $CLUSTER == current && ${PUSH:-yes} != no ]]; then
  for image in dask dask-operator "${plugins[@]}" dask-plugin-python; do
    say "pushing $REGISTRY/$image:test"
    buildah push "docker-archive:$IMAGES/$image.tar" "docker://$REGISTRY/$image:test"
  done
  version=$(sed -n 's/^appVersion: "\?\([^"]*\)"\?$/\1/p' charts/dask-operator/Chart.yaml)
  say "pushing $REGISTRY/dask-operator:$version"
  buildah push "docker-archive:$IMAGES/dask-operator.tar" "docker://$REGISTRY/dask-operator:${version:?Chart.yaml has no appVersion}"
fi
