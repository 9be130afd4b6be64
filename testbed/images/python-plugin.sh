#!/usr/bin/env bash
# Builds localhost/dask-plugin-python:test: Python with the package in `python/`. The plugin's code is mounted at /plugin.
# Usage: python-plugin.sh OUT.tar DASK.tar SOURCE CACHE_DIR. Does nothing if OUT.tar was built from the same inputs.
set -euo pipefail

reference=localhost/dask-plugin-python:test

fail() { echo "python-plugin.sh: $*" >&2; exit 1; }

[[ $# -eq 4 ]] || fail "usage: python-plugin.sh OUT.tar DASK.tar SOURCE CACHE_DIR"
out=$(realpath -m "$1")
base=$(realpath "$2")
source=$(realpath "$3")
cache=$(realpath -m "$4")
mkdir -p "$cache/pip"

stamp=$cache/$(basename "$out").stamp
inputs=$({ sha256sum <"$base"; cat "${BASH_SOURCE[0]}" "$source/pyproject.toml"
  find "$source/src" -name '*.py' -print0 | LC_ALL=C sort -z | xargs -0 cat; } | sha256sum)
fingerprint() { echo "$inputs"; sha256sum <"$out"; }
if [[ -f $out && -f $stamp ]] && fingerprint | cmp -s - "$stamp"; then
  echo "$out is up to date"
  exit 0
fi

work=$(mktemp -d "$cache/work.XXXXXX")
export BUILDAH_ISOLATION=chroot TMPDIR=$work PIP_CACHE_DIR=$cache/pip PIP_ROOT_USER_ACTION=ignore
store=(--storage-driver vfs --root "$work/storage" --runroot "$work/run")
clean_up() {
  buildah "${store[@]}" umount --all >/dev/null 2>&1 || true
  rm -rf --one-file-system "$work"
}
trap clean_up EXIT

container=$(buildah "${store[@]}" from --quiet "docker-archive:$base")
root=$(buildah "${store[@]}" mount "$container")
python=$(chroot "$root" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
cp -r "$source" "$work/source"
python3 -m pip wheel --quiet --no-deps --wheel-dir "$work/wheel" "$work/source"
python3 -m pip install --quiet --no-compile --only-binary=:all: --implementation cp --python-version "$python" \
  --target "$root/opt/plugin" "$(echo "$work"/wheel/*.whl)[serve]"
# The launchers that pip writes contain the path of the Python that ran pip, which the image does not have.
rm -rf "$root/opt/plugin/bin"
# Plugins do not need Dask, which is two thirds of the size.
rm -rf "$root/opt/dask"
chroot "$root" python3 -m compileall -q -j 2 --invalidation-mode unchecked-hash /opt/plugin
buildah "${store[@]}" config --user 65532:65532 --workingdir /plugin --env PYTHONPATH=/opt/plugin:/plugin \
  --cmd "python3 plugin.py" "$container"
buildah "${store[@]}" run "$container" -- python3 -c 'import dask_operator_plugin.server' >/dev/null
buildah "${store[@]}" umount "$container" >/dev/null
buildah "${store[@]}" commit --quiet "$container" "$reference" >/dev/null
rm -f "$out.part"
buildah "${store[@]}" push --quiet "$reference" "docker-archive:$out.part:$reference"
mv "$out.part" "$out"
fingerprint >"$stamp"
echo "$reference is in $out ($(du -h "$out" | cut -f1))"
