#!/usr/bin/env bash
# Builds an image that contains only statically linked programs, as /usr/local/bin/NAME. The first one is the entry point.
# It runs as user 65532.
# Usage: binary.sh OUT.tar REFERENCE BINARY...
set -euo pipefail

fail() { echo "binary.sh: $*" >&2; exit 1; }

[[ $# -ge 3 ]] || fail "usage: binary.sh OUT.tar REFERENCE BINARY..."
out=$(realpath -m "$1")
reference=$2
shift 2
command -v buildah >/dev/null || fail "missing: buildah; install with: apt-get install buildah"
command -v readelf >/dev/null || fail "missing: readelf; install with: apt-get install binutils"
mkdir -p "$(dirname "$out")"

work=$(mktemp -d)
export BUILDAH_ISOLATION=chroot TMPDIR=$work
store=(--storage-driver vfs --root "$work/storage" --runroot "$work/run")
clean_up() { rm -rf --one-file-system "$work"; }
trap clean_up EXIT

mkdir -p "$work/context/bin"
for binary in "$@"; do
  # The image has no loader for dynamically linked programs.
  headers=$(readelf --program-headers "$binary") || fail "$binary is not a program"
  [[ $headers != *INTERP* ]] || fail "$binary is not statically linked"
  install -m 0755 "$binary" "$work/context/bin/$(basename "$binary")"
done
cat >"$work/context/Containerfile" <<EOF
FROM scratch
COPY bin/ /usr/local/bin/
ENV PATH=/usr/local/bin
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/$(basename "$1")"]
EOF
buildah "${store[@]}" build --quiet --tag "$reference" "$work/context" >/dev/null
rm -f "$out.part"
buildah "${store[@]}" push --quiet "$reference" "docker-archive:$out.part:$reference"
mv "$out.part" "$out"
echo "$reference is in $out ($(du -h "$out" | cut -f1))"
