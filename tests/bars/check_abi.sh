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

# The library brings the pool: a program that links it alone has threads, as many as DLC_NUM_THREADS says.
cat > "$dir/pool.c" <<'END'
#include "attention.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
    int64_t dims[2] = { 2, 5 }, ids[10] = { 3, 1, 4, 1, 5, 9, 2, 6, 5, 3 }, mask[10] = { 1, 1, 1, 1, 1, 1, 1, 1, 0, 0 };
    float y[2][2 * 5 * 24], pooled[2][2 * 24];
    char *block = malloc((size_t)attention_model.workspace(dims) + 64);
    dlc_pool *pool = dlc_pool_create(0);
    int threads = dlc_pool_threads(pool), i;
    for (i = 0; i < 2; i++) {
        dlc_run run = { { NULL, NULL }, NULL, NULL, NULL };
        run.workspace = block + (64 - (uintptr_t)block % 64);
        if (i) { run.hook.parallel = dlc_parallel; run.hook.pool = pool; }
        if (attention_infer(&run, dims[0], dims[1], ids, mask, y[i], pooled[i]) != DLC_RUN_OK) return 1;
    }
    dlc_pool_destroy(pool);
    free(block);
    printf("%d\n", threads);
    return memcmp(y[0], y[1], sizeof y[0]) != 0;
}
END
"$DLC" compile tests/models/attention.onnx -o "$dir/attention.so"
cc -std=c99 -pedantic -Wall -Wextra -Werror -o "$dir/main" "$dir/pool.c" "$dir/attention.so"
for n in 1 2 3; do test "$(DLC_NUM_THREADS=$n "$dir/main")" = $n; done

# What they need: objects and a library without the pool three functions at most, a library nothing but libc.
"$DLC" compile tests/models/attention.onnx -o "$dir/plain.so" --no-pool
if command -v nm readelf >/dev/null; then
    for file in attention.o plain.so; do
        if nm -u "$dir/$file" | grep -v -e 'mem\(cpy\|set\|move\)$' -e ':$'; then echo "$file needs more"; exit 1; fi
    done
    if readelf -d "$dir/attention.so" "$dir/plain.so" | grep NEEDED | grep -v libc.so; then exit 1; fi
fi
