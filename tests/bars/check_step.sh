#!/bin/sh
# The training example of docs/abi.md is a program: taken out of the page, compiled as strict C99 and as C++, linked with a library, an
# object, and portable C; all learn the same.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$DLC" compile examples/xor.dl --train --no-fma -o "$dir/xor.so" || { echo "no library can be made here"; exit 77; }
sed -n '/^## A training step$/,/^## Threads$/p' docs/abi.md | sed -n '/^```c$/,/^```$/p' | sed '/^```/d' > "$dir/main.c"
cc -std=c99 -pedantic -Wall -Wextra -Werror -o "$dir/main" "$dir/main.c" "$dir/xor.so"
"$dir/main" > "$dir/linked"
if command -v c++ >/dev/null; then
    echo '#include "xor.h"' > "$dir/header.cc"
    c++ -std=c++11 -Wall -Wextra -Werror -fsyntax-only "$dir/header.cc"
fi
"$DLC" compile examples/xor.dl --train --no-fma -o "$dir/xor.o"
cc -std=c99 -o "$dir/main" "$dir/main.c" "$dir/xor.o"
"$dir/main" > "$dir/object"
cmp "$dir/linked" "$dir/object"
"$DLC" compile examples/xor.dl --train -o "$dir/xor.c"
cc -std=c99 -pedantic -Wall -Wextra -Werror -O1 -o "$dir/main" "$dir/main.c" "$dir/xor.c"
"$dir/main" > "$dir/portable"
cmp "$dir/linked" "$dir/portable"
grep -q '1.00 right, after 1001 steps' "$dir/linked"
# an ONNX model: as a library and as C, with the batch open
digits() { DLC_CACHE_DIR="$dir/cache" "$DLC" compile examples/digits/digits.onnx --train --loss=cross_entropy --optimizer='adam(1e-3)' "$@"; }
kept() { ls "$dir"/cache/*.library | wc -l; }
digits -o "$dir/digits.so"
test "$(kept)" = 1
digits --name=digits -o "$dir/again.so"                      # from the cache
test "$(kept)" = 1
cmp "$dir/digits.so" "$dir/again.so"
digits --dim N=1..64 -o "$dir/digits.so"                     # other sizes: another library
test "$(kept)" = 2
"$DLC" compile examples/digits/digits.onnx --train --loss=cross_entropy --optimizer='adam(1e-3)' --dim N=4 -o "$dir/digits.c"
cc -std=c99 -pedantic -Wall -Wextra -Werror -c -o "$dir/digits.o" "$dir/digits.c"
# what is wrong says what to do
fails() {
    if "$DLC" "$@" -o "$dir/none.so" 2> "$dir/error"; then echo "accepted: $*"; exit 1; fi
    test ! -e "$dir/none.so"
}
fails compile examples/digits/digits.onnx --train --loss=cross_entropy
grep -q -- "--optimizer is missing" "$dir/error"
fails compile examples/digits/digits.onnx --train --loss=cros --optimizer=adam
grep -q "takes one of mse, mae" "$dir/error"
fails compile examples/digits/digits.onnx --train --loss=mse --optimizer='adam(rate: 1)'
grep -q 'has no argument `rate`' "$dir/error"
fails compile examples/digits/digits.onnx --loss=mse
grep -q -- "--loss goes with --train" "$dir/error"
fails compile examples/xor.dl --train --loss=mse
grep -q "the program says" "$dir/error"
fails compile examples/xor.dl --train=nothing
grep -q 'no train block `nothing`' "$dir/error"
