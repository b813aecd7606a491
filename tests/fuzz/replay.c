/* replay: runs a fuzz target over files, for builds without a fuzzer
 *
 *     fuzz_NAME FILE...        each file is one input; a crash or a sanitizer's report is the finding
 *
 * With -DDLC_FUZZ=ON and clang the targets are libFuzzer programs instead, and this file is not used.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        FILE *f = fopen(argv[i], "rb");
        if (!f) continue;
        fseek(f, 0, SEEK_END);
        long n = ftell(f);
        rewind(f);
        uint8_t *p = n > 0 ? malloc((size_t)n) : NULL;       /* exactly as long: reading past it is seen */
        if (p && fread(p, 1, (size_t)n, f) == (size_t)n) LLVMFuzzerTestOneInput(p, (size_t)n);
        free(p);
        fclose(f);
    }
    return 0;
}
