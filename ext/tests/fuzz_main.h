/* Stands in for libFuzzer where there is only gcc: the same inputs in every run, and then the files that are named. */
#ifndef LNF_FUZZ_MAIN_H
#define LNF_FUZZ_MAIN_H

#include "check.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t len);

static void run_file(const char *path) {
    static unsigned char data[1 << 20];
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL);
    size_t len = fread(data, 1, sizeof data, file);
    fclose(file);
    unsigned char *copy = exact_copy(data, len);
    LLVMFuzzerTestOneInput(copy, len);
    free(copy);
}

/* LNF_FUZZ_SEEDS in the environment: each seed is named before its call, so that a crash can be told. */
int main(int argc, char **argv) {
    const int named = getenv("LNF_FUZZ_SEEDS") != NULL;
    for (uint32_t seed = 0; seed < 2000; seed++) {
        unsigned char input[512];
        fill(input, sizeof input, seed * 2654435761u);
        if (named) fprintf(stderr, "seed %u\n", seed);
        unsigned char *copy = exact_copy(input, seed % (sizeof input + 1));
        LLVMFuzzerTestOneInput(copy, seed % (sizeof input + 1));
        free(copy);
    }
    for (int i = 1; i < argc; i++) run_file(argv[i]);
    return 0;
}

#endif
