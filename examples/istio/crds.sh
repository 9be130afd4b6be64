#!/usr/bin/env bash
# Writes the CustomResourceDefinitions of the kinds that the plugin returns to OUT_DIR, one file each.
# Usage: testbed/env.sh examples/istio/crds.sh OUT_DIR
# They are taken from the projects' Go modules, whose checksums Go verifies.
set -euo pipefail

istio=istio.io/api@v1.31.4
cert_manager=github.com/cert-manager/cert-manager@v1.21.2

fail() { echo "crds.sh: $*" >&2; exit 1; }

[[ $# -eq 1 ]] || fail "usage: crds.sh OUT_DIR"
[[ -n ${TESTBED_BIN:-} ]] || fail "run it with testbed/env.sh, which sets Go's caches"
out=$1
mkdir -p "$out"

# Outside of the checkout, because these modules are not dependencies of the checkout's modules.
module_dir() { (cd / && go mod download -json "$1") | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p'; }

istio_dir=$(module_dir "$istio")
cert_manager_dir=$(module_dir "$cert_manager")
[[ -d $istio_dir && -d $cert_manager_dir ]] || fail "go mod download did not print the directories of the modules"

# document NAME: prints the document with this name from the file with all definitions.
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
