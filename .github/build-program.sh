#!/usr/bin/env bash
# Builds a program of the workspace for users' machines: on Linux without any shared library, so that it runs on each
# distribution of this architecture, also on those without glibc.
# Usage: build-program.sh PACKAGE FILE. The program has the name of its package.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
fail() { echo "build-program.sh: $*" >&2; exit 1; }

[[ $# -eq 2 ]] || fail "usage: build-program.sh PACKAGE FILE"
package=$1 file=$2
host=$(rustc -vV | sed -n 's/^host: //p')
targets=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")
flags=
[[ $host != *-linux-* ]] || flags="-C target-feature=+crt-static"
# With a target named, the flags are not those of build scripts and macros, which cannot be static.
RUSTFLAGS=$flags cargo build --locked --release --manifest-path "$root/Cargo.toml" --target "$host" --package "$package"
install -m 755 "$targets/$host/release/$package" "$file"
[[ $host != *-linux-* ]] || ! readelf --program-headers --wide "$file" | grep -q INTERP || fail "$file needs shared libraries"
