/* Stands in for libFuzzer where there is only gcc: the same inputs in every run. */
#ifndef LNF_FUZZ_MAIN_H
#define LNF_FUZZ_MAIN_H

#include "check.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t len);

int main(int argc, char **argv) {
    unsigned runs = argc > 1 ? (unsigned)atoi(argv[1]) : 2000;
    for (uint32_t seed = 0; seed < runs; seed++) {
        unsigned char input[512];
        fill(input, sizeof input, seed * 2654435761u);
        /* Before the call, so that a crash names its seed. */
        if (argc > 2) fprintf(stderr, "seed %u\n", seed);
        unsigned char *copy = exact_copy(input, seed % (sizeof input + 1));
        LLVMFuzzerTestOneInput(copy, seed % (sizeof input + 1));
        free(copy);
    }
    return 0;
}

#endif
