/* replay.c - a main() for a fuzz target without libFuzzer: runs it on each file
 * that is named, with any compiler.
 */
#include "fuzz.h"

static void
file_run(const char *path)
{
    FILE *f = fopen(path, "rb");
    size_t size = 0, cap = 4096, n;
    uint8_t *bytes = fuzz_new(cap);

    MUST(f != NULL);
    while ((n = fread(bytes + size, 1, cap - size, f)) > 0) {
        size += n;
        if (size == cap) {
            cap *= 2;
            bytes = realloc(bytes, cap);
            MUST(bytes != NULL);
        }
    }
    fclose(f);
    LLVMFuzzerTestOneInput(bytes, size);
    free(bytes);
}

int
main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        file_run(argv[i]);
    }
    return 0;
}
