/* What the tests of onions share: a packet of our own making, and the memory to peel it in. */
#ifndef LNF_ONION_TOOLS_H
#define LNF_ONION_TOOLS_H

#include "toy_secp.h"

/* What a caller allocates for one packet, to the byte. */
static inline int peel(lnf_onion_peeled *out, const unsigned char *packet, size_t len, const unsigned char *data,
                       size_t data_len, const unsigned char *path_key33, const unsigned char *node32) {
    lnf_onion_sealed in = {packet, len, data, data_len, path_key33};
    memset(out, 0xee, sizeof *out);
    out->unwrapped = len < LNF_ONION_OVERHEAD_BYTES ? NULL : exact(2 * (len - LNF_ONION_OVERHEAD_BYTES));
    out->next_packet = exact(len);
    return lnf_onion_peel(out, &in, node32);
}

static inline void done(lnf_onion_peeled *out) {
    free(out->unwrapped);
    free(out->next_packet);
}

/* A packet with a valid HMAC whose hop sees this field. */
static inline void seal(unsigned char *packet, const unsigned char *field, size_t field_len,
                        const unsigned char *node32) {
    static const unsigned char NONCE[12];
    unsigned char secret32[32], key32[32];
    lnf_secp_pubkey point;
    packet[0] = 0;
    toy_encode(packet + 1, 9);
    CHECK(lnf_point_parse(&point, packet + 1) && toy_ecdh(NULL, secret32, &point, node32, NULL, NULL));
    lnf_hmac_sha256(key32, (const unsigned char *)"rho", 3, secret32, 32);
    lnf_chacha20_xor(packet + 34, field, field_len, key32, NONCE, 0);
    lnf_hmac_sha256(key32, (const unsigned char *)"mu", 2, secret32, 32);
    lnf_hmac_sha256(packet + 34 + field_len, key32, 32, packet + 34, field_len);
}

#endif
