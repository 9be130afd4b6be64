#!/usr/bin/env bash
# Writes the definitions of the kinds that the plugin answers with to OUT_DIR, one file each.
# Usage: testbed/env.sh examples/istio/crds.sh OUT_DIR
# They come from the projects' Go modules, whose sums Go checks, and are kept in the testbed's module cache.
set -euo pipefail

istio=istio.io/api@v1.31.4
cert_manager=github.com/cert-manager/cert-manager@v1.21.2

fail() { echo "crds.sh: $*" >&2; exit 1; }

[[ $# -eq 1 ]] || fail "usage: crds.sh OUT_DIR"
[[ -n ${TESTBED_BIN:-} ]] || fail "run it by testbed/env.sh, which sets Go's caches"
out=$1
mkdir -p "$out"

# Outside of the checkout's modules, for which these are no dependencies.
folder_of() { (cd / && go mod download -json "$1") | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p'; }

istio_dir=$(folder_of "$istio")
cert_manager_dir=$(folder_of "$cert_manager")
[[ -d $istio_dir && -d $cert_manager_dir ]] || fail "go mod download did not say where the modules are"

# One file of many documents: each that has one of the names, up to the next separator.
document() {
  awk -v name="  name: $1" '
    function flush() { if (found) printf "%s", text; text = ""; found = 0 }
    /^---/ { flush(); next }
    { text = text $0 "\n"; if ($0 == name) found = 1 }
    END { flush() }' "$istio_dir/kubernetes/customresourcedefinitions.gen.yaml"
}
for kind in gateways virtualservices; do
  document "$kind.networking.istio.io" >"$out/$kind.networking.istio.io.yaml"
  [[ -s $out/$kind.networking.istio.io.yaml ]] || fail "$istio has no definition of $kind"
done
install -m 0644 "$cert_manager_dir/deploy/crds/cert-manager.io_certificates.yaml" \
  "$out/certificates.cert-manager.io.yaml"
