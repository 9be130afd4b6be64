#!/usr/bin/env bash
# Builds the controller's image from the Containerfile, and checks it with check.py.
# Usage: operator.sh OUT.tar REFERENCE BINARY (as root, because the check runs the program in the image's root directory).
# Environment: REVISION (the commit) and SOURCE_DATE_EPOCH (its time), for reproducible builds.
set -euo pipefail

fail() { echo "operator.sh: $*" >&2; exit 1; }

[[ $# -eq 3 ]] || fail "usage: operator.sh OUT.tar REFERENCE BINARY"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(realpath "$here/../..")
out=$(realpath -m "$1")
reference=$2
binary=$3
for program in buildah readelf python3; do
  command -v "$program" >/dev/null || fail "missing: $program; install with: apt-get install buildah binutils python3"
done
mkdir -p "$(dirname "$out")"

case $(LC_ALL=C readelf --file-header "$binary") in
  *X86-64*) architecture=amd64 ;;
  *AArch64*) architecture=arm64 ;;
  *) fail "$binary is not a program for amd64 or arm64" ;;
esac
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml")

work=$(mktemp -d)
export BUILDAH_ISOLATION=chroot TMPDIR=$work
store=(--storage-driver vfs --root "$work/storage" --runroot "$work/run")
clean_up() { rm -rf --one-file-system "$work"; }
trap clean_up EXIT

install -D -m 0755 "$binary" "$work/context/$architecture/dask-operator"
buildah "${store[@]}" build --quiet --file "$root/Containerfile" --platform "linux/$architecture" \
  --build-arg VERSION="$version" --build-arg REVISION="${REVISION:-}" --timestamp "${SOURCE_DATE_EPOCH:-0}" \
  --tag "$reference" "$work/context" >/dev/null
rm -f "$out.part"
buildah "${store[@]}" push --quiet "$reference" "docker-archive:$out.part:$reference"
"$here/check.py" "$out.part" "$architecture" "$version"
mv "$out.part" "$out"
echo "$reference is in $out ($(du -h "$out" | cut -f1))"
