# What the scripts share: one line a step, packages installed only if missing. Sourced by bash; sets $root, $log.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
mkdir -p build
log=$root/build/$(basename "$0").log
: > "$log"

# step TEXT COMMAND...: run quietly, one line with the time it took; on failure show the end of the log and stop
step() {
    local text=$1 from=$SECONDS
    shift
    printf '%-60s ' "$text"
    if "$@" >>"$log" 2>&1; then
        printf '%4d s\n' $((SECONDS - from))
    else
        printf 'FAILED\n\n'
        tail -40 "$log"
        printf '\nthe whole output: %s\n' "$log"
        exit 1
    fi
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

is_installed() {
    [ "$(dpkg-query -W -f '${Status}' "$1" 2>/dev/null)" = "install ok installed" ]
}

# need PACKAGE...: install those of them that are missing
need() {
    local missing=()
    for p in "$@"; do is_installed "$p" || missing+=("$p"); done
    [ ${#missing[@]} = 0 ] || step "install ${missing[*]}" apt_install "${missing[@]}"
}

# Set $llvm to the major version of an installed LLVM, else of the newest one that this Debian offers, 22 or 19.
choose_llvm() {
    for llvm in 22 21 20 19; do is_installed "llvm-$llvm-dev" && return; done
    apt-cache show llvm-22-dev >/dev/null 2>&1 || as_root apt-get update >>"$log" 2>&1
    for llvm in 22 19; do apt-cache show "llvm-$llvm-dev" >/dev/null 2>&1 && return; done
    echo "this system offers neither llvm-22-dev nor llvm-19-dev; -DDLC_LLVM=OFF builds without it"
    exit 1
}

need_to_build() {
    command -v apt-get >/dev/null || { echo "this script installs packages by apt (Debian 12); see HACKING.md"; exit 1; }
    choose_llvm
    need gcc libc6-dev cmake ninja-build pkg-config "llvm-$llvm-dev" "lld-$llvm" \
        libprotobuf-c-dev protobuf-c-compiler libpng-dev zlib1g-dev "$@"
}

# configure DIR OPTION...
configure() {
    local dir=$1
    shift
    command -v ccache >/dev/null && set -- "$@" -DCMAKE_C_COMPILER_LAUNCHER=ccache
    cmake -S . -B "$dir" -G Ninja "$@"
}
