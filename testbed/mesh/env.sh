#!/usr/bin/env bash
# Sets MESH, in addition to the variables of ../env.sh: the directory with the images, charts and definitions of Istio and
# cert-manager. Its name is a hash of the files that determine its content.
# Usage: . env.sh
mesh=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$mesh/../env.sh"
MESH=$CACHE/mesh/$(cat "$mesh"/{go.mod,go.sum,cert-manager/main.go,envoy-requirements.txt,build.sh,proxy-image.sh} \
  "$mesh/../images/binary.sh" | sha256sum | cut -c1-12)
export MESH
