#!/usr/bin/env bash
# Builds the image of an Istio gateway: Istio's agent, Envoy with its libraries, and the template of Envoy's configuration.
# It runs as user 1337.
# Usage: proxy-image.sh OUT.tar REFERENCE PILOT_AGENT ENVOY BOOTSTRAP
set -euo pipefail

fail() { echo "proxy-image.sh: $*" >&2; exit 1; }

[[ $# -eq 5 ]] || fail "usage: proxy-image.sh OUT.tar REFERENCE PILOT_AGENT ENVOY BOOTSTRAP"
out=$(realpath -m "$1")
reference=$2
agent=$3
envoy=$4
bootstrap=$5
mkdir -p "$(dirname "$out")"

work=$(mktemp -d)
export BUILDAH_ISOLATION=chroot TMPDIR=$work
store=(--storage-driver vfs --root "$work/storage" --runroot "$work/run")
clean_up() { rm -rf --one-file-system "$work"; }
trap clean_up EXIT

root=$work/context/root
install -D -m 0755 "$agent" "$root/usr/local/bin/pilot-agent"
install -D -m 0755 "$envoy" "$root/usr/local/bin/envoy"
install -D -m 0644 "$bootstrap" "$root/var/lib/istio/envoy/envoy_bootstrap_tmpl.json"
# Envoy needs the C library of this machine. The paths are the third field of `libm.so.6 => /lib/libm.so.6 (0x…)`, or the
# first one of the loader.
libraries=$(ldd "$envoy") || fail "$envoy cannot be run here"
[[ $libraries != *"not found"* ]] || fail "missing libraries: $libraries"
awk '$2 == "=>" { print $3; next } /^[ \t]*\// { print $1 }' <<<"$libraries" | while read -r library; do
  install -D -m 0755 "$(realpath "$library")" "$root$library"
done
mkdir -p "$root/tmp"
chmod 1777 "$root/tmp"
cat >"$work/context/Containerfile" <<END
FROM scratch
COPY root/ /
ENV PATH=/usr/local/bin
USER 1337:1337
ENTRYPOINT ["/usr/local/bin/pilot-agent"]
END
buildah "${store[@]}" build --quiet --tag "$reference" "$work/context" >/dev/null
rm -f "$out.part"
buildah "${store[@]}" push --quiet "$reference" "docker-archive:$out.part:$reference"
mv "$out.part" "$out"
echo "$reference is in $out ($(du -h "$out" | cut -f1))"
