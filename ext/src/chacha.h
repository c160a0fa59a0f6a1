/* The inside of ChaCha20: many blocks at once, and the AEAD with a keystream that is there already. */
#ifndef LNF_CHACHA_H
#define LNF_CHACHA_H

#include "cpu.h"

/* Blocks of 64 bytes in the largest batch. Every buffer of a batch has room for this many. */
#define LNF_CHACHA_BATCH 64

/* The state of RFC 8439, 2.3, whose words 12 and 14 differ from block to block. In BOLT 8 a nonce is below 2^32 and
 * word 14 is all of it. */
typedef struct {
    uint32_t state[16];
    uint32_t word12[LNF_CHACHA_BATCH], word14[LNF_CHACHA_BATCH];
} lnf_chacha_batch;

/* n blocks of keystream. Writes whole vectors of 8 or 16 blocks, so the lanes after n hold anything. */
void lnf_chacha20_batch(unsigned char *out, const lnf_chacha_batch *batch, size_t n);

void lnf_chacha20_state(uint32_t state[16], const unsigned char *key32, const unsigned char *nonce12, uint32_t counter);

/* The AEAD without associated data, in BOLT 8's use. stream is the keystream from block 0 on and has `have` bytes: at
 * least 64, a multiple of 64; what is missing is made here from `state`, the state of the block 0. */
void lnf_aead_seal(unsigned char *out, const unsigned char *in, size_t len, const unsigned char *stream, size_t have,
                   const uint32_t state[16]);
int lnf_aead_open(unsigned char *out, const unsigned char *in, size_t len, const unsigned char *stream, size_t have,
                  const uint32_t state[16]);

#ifdef LNF_X86
/* out = in XOR 8 or 16 blocks; in may be out, or NULL for the bare keystream. */
void lnf_chacha20_8_avx2(unsigned char *out, const unsigned char *in, const uint32_t state[16], const uint32_t *word12,
                         const uint32_t *word14);
void lnf_chacha20_16_avx512(unsigned char *out, const unsigned char *in, const uint32_t state[16],
                            const uint32_t *word12, const uint32_t *word14);
#endif

#endif
