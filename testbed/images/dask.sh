#!/usr/bin/env bash
# Builds localhost/dask:test: the Debian release of this machine with Python, dask, distributed, bokeh and dask-kubernetes.
# Usage: dask.sh OUT.tar CACHE_DIR (as root). Does nothing if OUT.tar was built from the same inputs.
set -euo pipefail

reference=localhost/dask:test

fail() { echo "dask.sh: $*" >&2; exit 1; }
say() { printf '%4d s  %s\n' "$SECONDS" "$*"; }

[[ $# -eq 2 ]] || fail "usage: dask.sh OUT.tar CACHE_DIR"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(realpath -m "$1")
cache=$(realpath -m "$2")
requirements=$here/dask-requirements.txt
mkdir -p "$(dirname "$out")" "$cache/debs" "$cache/pip"

release=$(. /etc/os-release && echo "${VERSION_CODENAME:?/etc/os-release names no Debian release}")
stamp=$cache/$(basename "$out").stamp
inputs=$({ echo "$release $(uname -m)"; cat "$requirements" "${BASH_SOURCE[0]}"; } | sha256sum)
fingerprint() { echo "$inputs"; sha256sum <"$out"; }
if [[ -f $out && -f $stamp ]] && fingerprint | cmp -s - "$stamp"; then
  say "$out is up to date"
  exit 0
fi

[[ $(id -u) -eq 0 ]] || fail "debootstrap needs root"
missing=()
for program in buildah debootstrap python3; do
  command -v "$program" >/dev/null || missing+=("$program")
done
[[ ${#missing[@]} -eq 0 ]] || fail "missing: ${missing[*]}; install with: apt-get install ${missing[*]}"

# Use the same mirror as this machine.
mirror=$(apt-get indextargets --format '$(ORIGIN) $(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
  awk -v release="$release" '$1 == "Debian" && $2 == release && $3 == "main" { print $4; exit }')
[[ -n $mirror ]] || fail "apt has no package list of Debian $release; run: apt-get update"

work=$(mktemp -d "$cache/work.XXXXXX")
export BUILDAH_ISOLATION=chroot TMPDIR=$work
store=(--storage-driver vfs --root "$work/storage" --runroot "$work/run")
clean_up() {
  buildah "${store[@]}" umount --all >/dev/null 2>&1 || true
  rm -rf --one-file-system "$work"
}
trap clean_up EXIT

container=$(buildah "${store[@]}" from scratch)
root=$(buildah "${store[@]}" mount "$container")

say "installing Debian $release with Python"
debootstrap --variant=minbase --cache-dir="$cache/debs" --include=python3 "$release" "$root" "$mirror" \
  >"$work/debootstrap.log" || { tail -n 20 "$work/debootstrap.log" >&2; fail "debootstrap failed"; }

python=$(chroot "$root" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
say "installing dask, distributed, bokeh and dask-kubernetes for Python $python"
PIP_CACHE_DIR=$cache/pip PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --no-compile --no-deps \
  --only-binary=:all: --implementation cp --python-version "$python" \
  --target "$root/opt/dask" --requirement "$requirements"

say "adding commands and the user, removing unneeded files"
# The launchers that pip writes contain the path of the Python that ran pip, which the image does not have.
rm -rf "$root/opt/dask/bin"
launcher() {
  printf '#!/bin/sh\nexec /usr/bin/python3 -m %s "$@"\n' "$2" >"$root/usr/local/bin/$1"
  chmod 0755 "$root/usr/local/bin/$1"
}
launcher dask dask
launcher dask-scheduler distributed.cli.dask_scheduler
launcher dask-worker distributed.cli.dask_worker
launcher kopf kopf
ln -s python3 "$root/usr/bin/python"
echo 'dask:x:1000:1000::/home/dask:/bin/sh' >>"$root/etc/passwd"
echo 'dask:x:1000:' >>"$root/etc/group"
install -d -o 1000 -g 1000 "$root/home/dask"

rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/cache/debconf/* "$root"/var/log/* \
  "$root"/usr/share/{doc,man,info,locale,lintian,zoneinfo} "$root"/etc/resolv.conf "$root"/etc/hostname
find "$root/opt/dask" -depth -type d -name tests -exec rm -rf {} +
# Precompiled, because the user may not write here and each process would otherwise compile dask again, which takes 1.5 s.
# `unchecked-hash`, because the image may not preserve modification times. The Kubernetes clients are left out: kopf needs
# them installed, but their thousands of models are hardly ever loaded.
chroot "$root" python3 -m compileall -q -j 2 --invalidation-mode unchecked-hash -x '/kubernetes(_asyncio)?/' /opt/dask

buildah "${store[@]}" config --user 1000:1000 --workingdir /home/dask --cmd python \
  --env PYTHONPATH=/opt/dask --env HOME=/home/dask --env PYTHONUNBUFFERED=1 \
  --env PATH=/usr/local/bin:/usr/bin:/bin "$container"

say "testing the commands"
for command in "dask --version" "dask-scheduler --version" "dask-worker --version" "kopf --version" \
  "python -c 'import bokeh.server, dask_kubernetes.operator.controller'"; do
  buildah "${store[@]}" run "$container" -- sh -c "$command" >/dev/null
done
buildah "${store[@]}" umount "$container" >/dev/null

say "writing $(basename "$out")"
buildah "${store[@]}" commit --quiet "$container" "$reference" >/dev/null
# A docker-archive contains the full reference, and containerd imports the image under that name.
rm -f "$out.part"
buildah "${store[@]}" push --quiet "$reference" "docker-archive:$out.part:$reference"
mv "$out.part" "$out"
fingerprint >"$stamp"
say "$reference is in $out ($(du -h "$out" | cut -f1))"
