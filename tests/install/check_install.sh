#!/usr/bin/env bash
# Install to another place, move that, and build a client against it by pkg-config and by find_package. $DLC_BUILD is
# the build folder.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$DLC_BUILD" --prefix "$work/first" >/dev/null
mv "$work/first" "$work/moved"
prefix=$work/moved
lib=$(dirname "$(find "$prefix" -name libdlc.so)")

echo "pkg-config"
export PKG_CONFIG_PATH=$lib/pkgconfig
cc "$here/client.c" -Wl,--no-as-needed $(pkg-config --cflags --libs dlc) -Wl,-rpath,"$lib" -o "$work/by_pkg_config"
"$work/by_pkg_config" "$prefix"

echo "find_package"
cmake -S "$here" -B "$work/build" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
ninja -C "$work/build" >/dev/null
"$work/build/client" "$prefix"

echo "only names that begin with dlc_ are visible"
if nm -D --defined-only "$lib/libdlc.so" | awk '{ print $3 }' | grep -v '^dlc_\|^DLC_'; then exit 1; fi

if [ -x "$prefix/bin/dlc" ]; then
    echo "the command starts from its new place"
    "$prefix/bin/dlc" --help >/dev/null
fi
