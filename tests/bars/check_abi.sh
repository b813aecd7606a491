#!/bin/sh
# The example of docs/abi.md is a program: taken out of the page, compiled as strict C99 and as C++, linked, run.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$DLC" compile tests/models/attention.onnx -o "$dir/attention.so" || { echo "no library can be made here"; exit 77; }
sed -n '/^## Example$/,$p' docs/abi.md | sed -n '/^```c$/,/^```$/p' | sed '/^```/d' > "$dir/main.c"
cc -std=c99 -pedantic -Wall -Wextra -Werror -o "$dir/main" "$dir/main.c" "$dir/attention.so"
"$dir/main" > "$dir/linked"
if command -v c++ >/dev/null; then
    echo '#include "attention.h"' > "$dir/header.cc"
    c++ -std=c++11 -Wall -Wextra -Werror -fsyntax-only "$dir/header.cc"
fi
"$DLC" compile tests/models/attention.onnx -o "$dir/attention.o"
cc -std=c99 -o "$dir/main" "$dir/main.c" "$dir/attention.o"
"$dir/main" > "$dir/object"
cmp "$dir/linked" "$dir/object"
