#!/usr/bin/env bash
# Writes the CRDs of the children of the plugin to OUT_DIR, one file for each.
# Usage: testbed/env.sh examples/istio/crds.sh OUT_DIR
# The CRDs are in the Go modules of the projects. Go verifies their checksums, and caches them for the testbed.
set -euo pipefail

istio=istio.io/api@v1.31.4
cert_manager=github.com/cert-manager/cert-manager@v1.21.2

fail() { echo "crds.sh: $*" >&2; exit 1; }

[[ $# -eq 1 ]] || fail "usage: crds.sh OUT_DIR"
[[ -n ${TESTBED_BIN:-} ]] || fail "run it with testbed/env.sh, which sets the caches of Go"
out=$1
mkdir -p "$out"

# In a directory outside of the repository, whose modules do not depend on these.
folder_of() { (cd / && go mod download -json "$1") | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p'; }

istio_dir=$(folder_of "$istio")
cert_manager_dir=$(folder_of "$cert_manager")
[[ -d $istio_dir && -d $cert_manager_dir ]] || fail "go mod download did not print the directories of the modules"

# Prints the document with this name from a file with many documents.
document() {
  awk -v name="  name: $1" '
    function flush() { if (found) printf "%s", text; text = ""; found = 0 }
    /^---/ { flush(); next }
    { text = text $0 "\n"; if ($0 == name) found = 1 }
    END { flush() }' "$istio_dir/kubernetes/customresourcedefinitions.gen.yaml"
}
for kind in gateways virtualservices; do
  document "$kind.networking.istio.io" >"$out/$kind.networking.istio.io.yaml"
  [[ -s $out/$kind.networking.istio.io.yaml ]] || fail "$istio has no CRD of $kind"
done
install -m 0644 "$cert_manager_dir/deploy/crds/cert-manager.io_certificates.yaml" \
  "$out/certificates.cert-manager.io.yaml"
