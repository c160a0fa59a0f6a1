/* Onion routing of BOLT 4: packets there, failures back. hops: the field hop_payloads, packet_len - 66 bytes. */
#include <string.h>

#include "bytes.h"
#include "secp.h"

#define VERSION 0
#define HMAC_BYTES 32
#define HEADER_BYTES 34
#define OVERHEAD_BYTES (HEADER_BYTES + HMAC_BYTES)
#define BLOCK_BYTES 64
/* BOLT 4, Origin node: as many rounds as a route can have hops, whoever failed it. */
#define UNWRAP_ROUNDS 27
#define FAILURE_OVERHEAD_BYTES (HMAC_BYTES + 4)
#define FAILURE_MIN_BYTES 256

static const unsigned char ZERO[32];

/* BOLT 4, Key Generation: the type of the key is the HMAC's key. */
static void make_key(unsigned char *key32, const char *type, const unsigned char *secret32) {
    lnf_hmac_sha256(key32, (const unsigned char *)type, strlen(type), secret32, 32);
}

/* HMAC-SHA256 of two strings one after the other. */
static void hmac_both(unsigned char *out32, const unsigned char *key32, const unsigned char *first, size_t first_len,
                      const unsigned char *second, size_t second_len) {
    unsigned char pad[BLOCK_BYTES];
    lnf_sha256_ctx ctx;
    int i;
    memset(pad, 0x36, sizeof pad);
    for (i = 0; i < 32; i++) pad[i] ^= key32[i];
    lnf_sha256_init(&ctx);
    lnf_sha256_update(&ctx, pad, sizeof pad);
    lnf_sha256_update(&ctx, first, first_len);
    if (second_len != 0) lnf_sha256_update(&ctx, second, second_len);
    lnf_sha256_final(out32, &ctx);
    for (i = 0; i < BLOCK_BYTES; i++) pad[i] ^= 0x36 ^ 0x5c;
    lnf_sha256_init(&ctx);
    lnf_sha256_update(&ctx, pad, sizeof pad);
    lnf_sha256_update(&ctx, out32, 32);
    lnf_sha256_final(out32, &ctx);
    lnf_wipe(pad, sizeof pad);
    lnf_wipe(&ctx, sizeof ctx);
}

static int equal32(const unsigned char *a, const unsigned char *b) {
    unsigned char different = 0;
    int i;
    for (i = 0; i < 32; i++) different |= a[i] ^ b[i];
    return different == 0;
}

/* BOLT 4, Pseudo Random Byte Stream: data ^= stream[offset .. offset + len). */
static void xor_stream(unsigned char *data, size_t len, const unsigned char *key32, size_t offset) {
    size_t inside = offset % BLOCK_BYTES;
    if (inside != 0 && len != 0) {
        unsigned char block[BLOCK_BYTES];
        size_t i, n = BLOCK_BYTES - inside < len ? BLOCK_BYTES - inside : len;
        lnf_chacha20_xor(block, NULL, BLOCK_BYTES, key32, ZERO, (uint32_t)(offset / BLOCK_BYTES));
        for (i = 0; i < n; i++) data[i] ^= block[inside + i];
        lnf_wipe(block, sizeof block);
        data += n;
        len -= n;
        offset += n;
    }
    if (len != 0) lnf_chacha20_xor(data, data, len, key32, ZERO, (uint32_t)(offset / BLOCK_BYTES));
}

/* ---- build ------------------------------------------------------------------------------------------------------ */

static size_t prefix_bytes(size_t payload_len) { return payload_len < 0xfd ? 1 : 3; }

static size_t shift_of(const lnf_onion_hop *hop) {
    return prefix_bytes(hop->payload_len) + hop->payload_len + HMAC_BYTES;
}

/* What the hop will find in front: bigsize length, payload, the HMAC of the packet after it. */
static void write_hop(unsigned char *out, const lnf_onion_hop *hop, const unsigned char *next_hmac32) {
    size_t prefix = prefix_bytes(hop->payload_len);
    if (prefix == 1) {
        out[0] = (unsigned char)hop->payload_len;
    } else {
        out[0] = 0xfd;
        out[1] = (unsigned char)(hop->payload_len >> 8);
        out[2] = (unsigned char)hop->payload_len;
    }
    memcpy(out + prefix, hop->payload, hop->payload_len);
    memcpy(out + prefix + hop->payload_len, next_hmac32, HMAC_BYTES);
}

/* BOLT 4, Shared Secret: one for each hop; the session key is blinded from hop to hop. */
static int make_shared_secrets(unsigned char *secrets, const unsigned char *session_key32, const lnf_onion_hop *hops,
                               size_t n) {
    unsigned char key32[32], both[65], factor32[32];
    lnf_secp_pubkey node, ephemeral;
    size_t i;
    int ok = 1;
    memcpy(key32, session_key32, 32);
    for (i = 0; ok && i < n; i++) {
        ok = lnf_point_parse(&node, hops[i].node_id33) &&
             lnf_secp.ecdh(lnf_secp_ctx, secrets + 32 * i, &node, key32, NULL, NULL);
        if (ok && i + 1 < n) {
            ok = lnf_secp.ec_pubkey_create(lnf_secp_ctx, &ephemeral, key32) && lnf_point_serialize(both, &ephemeral);
            memcpy(both + 33, secrets + 32 * i, 32);
            lnf_sha256(factor32, both, sizeof both);
            ok = ok && lnf_secp.ec_seckey_tweak_mul(lnf_secp_ctx, key32, factor32);
        }
    }
    lnf_wipe(key32, sizeof key32);
    lnf_wipe(both, sizeof both);
    lnf_wipe(factor32, sizeof factor32);
    return ok;
}

/* BOLT 4, Filler Generation: what the zeros that the hops before the last append have become when it sees them, written
 * at the end of the field. Returns its length. */
static size_t make_filler(unsigned char *field, size_t field_len, const unsigned char *secrets,
                          const lnf_onion_hop *hops, size_t n) {
    unsigned char rho32[32];
    size_t i, filled = 0;
    for (i = 0; i + 1 < n; i++) {
        size_t shift = shift_of(&hops[i]);
        unsigned char *start = field + field_len - filled - shift;
        memmove(start, start + shift, filled);
        memset(start + filled, 0, shift);
        make_key(rho32, "rho", secrets + 32 * i);
        xor_stream(start, filled + shift, rho32, field_len - filled);
        filled += shift;
    }
    lnf_wipe(rho32, sizeof rho32);
    return filled;
}

int lnf_onion_build(unsigned char *packet, unsigned char *shared_secrets, size_t packet_len,
                    const unsigned char *session_key32, const lnf_onion_hop *hops, size_t n_hops,
                    const unsigned char *associated_data, size_t associated_data_len) {
    unsigned char key32[32], hmac32[32] = {0};
    unsigned char *field = packet + HEADER_BYTES;
    size_t field_len = packet_len - OVERHEAD_BYTES, total = 0, i, seen, filled;
    int ok = n_hops > 0 && packet_len > OVERHEAD_BYTES;
    for (i = 0; ok && i < n_hops; i++) {
        total += shift_of(&hops[i]);
        ok = hops[i].payload_len >= 2 && hops[i].payload_len <= 0xffff && total <= field_len;
    }
    ok = ok && lnf_pubkey_create(packet + 1, session_key32) &&
         make_shared_secrets(shared_secrets, session_key32, hops, n_hops);
    if (!ok) {
        memset(packet, 0, packet_len);
        memset(shared_secrets, 0, 32 * n_hops);
        return 0;
    }
    packet[0] = VERSION;
    filled = make_filler(field, field_len, shared_secrets, hops, n_hops);
    make_key(key32, "pad", session_key32);
    seen = shift_of(&hops[n_hops - 1]);
    memset(field + seen, 0, field_len - filled - seen);
    xor_stream(field + seen, field_len - filled - seen, key32, 0);
    for (i = n_hops; i-- > 0;) {
        int last = i + 1 == n_hops;
        size_t shift = shift_of(&hops[i]);
        if (!last) memmove(field + shift, field, field_len - shift);
        write_hop(field, &hops[i], hmac32);
        make_key(key32, "rho", shared_secrets + 32 * i);
        /* The filler is as the last hop sees it: its stream does not touch it. */
        xor_stream(field, last ? field_len - filled : field_len, key32, 0);
        make_key(key32, "mu", shared_secrets + 32 * i);
        hmac_both(hmac32, key32, field, field_len, associated_data, associated_data_len);
    }
    memcpy(field + field_len, hmac32, HMAC_BYTES);
    lnf_wipe(key32, sizeof key32);
    return 1;
}

/* ---- peel ------------------------------------------------------------------------------------------------------- */

/* BOLT 4, Route Blinding: the private key of our blinded node id. */
static int blind_node_secret(unsigned char *out32, unsigned char *path_secret32, const unsigned char *path_key33,
                             const unsigned char *node_secret32) {
    unsigned char tweak32[32];
    int ok = lnf_ecdh(path_secret32, path_key33, node_secret32);
    make_key(tweak32, "blinded_node_id", path_secret32);
    ok = ok && lnf_seckey_mul(out32, node_secret32, tweak32);
    lnf_wipe(tweak32, sizeof tweak32);
    return ok;
}

/* Reads the hop's part from the front of the unwrapped field. Returns the shift, or 0 if it does not fit. */
static size_t read_hop(lnf_onion_peeled *out, const unsigned char *unwrapped, size_t field_len) {
    size_t prefix = 1, len;
    if (field_len < 3) return 0;
    len = unwrapped[0];
    if (len == 0xfd) {
        prefix = 3;
        len = (size_t)unwrapped[1] << 8 | unwrapped[2];
        if (len < 0xfd) return 0; /* BOLT 1: a bigsize is minimal */
    }
    /* 0xfe and 0xff begin lengths above 65535, longer than any packet. */
    if (unwrapped[0] > 0xfd || len < 2 || len > field_len || prefix + len + HMAC_BYTES > field_len) return 0;
    out->payload_offset = prefix;
    out->payload_len = len;
    return prefix + len + HMAC_BYTES;
}

/* The packet for the next hop: the ephemeral key blinded, the field moved up. */
static int write_next(unsigned char *next_packet, lnf_secp_pubkey *ephemeral, const lnf_onion_sealed *in,
                      const unsigned char *shared_secret32, const unsigned char *unwrapped, size_t shift) {
    unsigned char both[65], factor32[32];
    size_t field_len = in->packet_len - OVERHEAD_BYTES;
    int ok;
    memcpy(both, in->packet + 1, 33);
    memcpy(both + 33, shared_secret32, 32);
    lnf_sha256(factor32, both, sizeof both);
    next_packet[0] = VERSION;
    ok = lnf_secp.ec_pubkey_tweak_mul(lnf_secp_ctx, ephemeral, factor32) &&
         lnf_point_serialize(next_packet + 1, ephemeral);
    memcpy(next_packet + HEADER_BYTES, unwrapped + shift, field_len);
    memcpy(next_packet + HEADER_BYTES + field_len, unwrapped + shift - HMAC_BYTES, HMAC_BYTES);
    lnf_wipe(both, sizeof both);
    lnf_wipe(factor32, sizeof factor32);
    return ok;
}

static lnf_onion_error peel(lnf_onion_peeled *out, const lnf_onion_sealed *in, const unsigned char *node_secret32) {
    unsigned char key32[32], hmac32[32];
    size_t field_len, shift;
    lnf_secp_pubkey ephemeral;
    if (in->packet_len < OVERHEAD_BYTES) return LNF_ONION_BAD_HMAC;
    field_len = in->packet_len - OVERHEAD_BYTES;
    if (in->packet[0] != VERSION) return LNF_ONION_BAD_VERSION;
    if (!lnf_point_parse(&ephemeral, in->packet + 1)) return LNF_ONION_BAD_KEY;
    if (!lnf_secp.ecdh(lnf_secp_ctx, out->shared_secret32, &ephemeral, node_secret32, NULL, NULL))
        return LNF_ONION_BAD_KEY;
    make_key(key32, "mu", out->shared_secret32);
    hmac_both(hmac32, key32, in->packet + HEADER_BYTES, field_len, in->associated_data, in->associated_data_len);
    if (!equal32(hmac32, in->packet + HEADER_BYTES + field_len)) return LNF_ONION_BAD_HMAC;

    make_key(key32, "rho", out->shared_secret32);
    lnf_copy(out->unwrapped, in->packet + HEADER_BYTES, field_len);
    xor_stream(out->unwrapped, field_len, key32, 0);
    shift = read_hop(out, out->unwrapped, field_len);
    if (shift != 0) {
        out->is_final = equal32(out->unwrapped + shift - HMAC_BYTES, ZERO);
        if (!out->is_final) {
            memset(out->unwrapped + field_len, 0, shift);
            xor_stream(out->unwrapped + field_len, shift, key32, field_len);
        }
    }
    lnf_wipe(key32, sizeof key32);
    if (shift == 0) return LNF_ONION_BAD_PAYLOAD;
    if (!out->is_final && !write_next(out->next_packet, &ephemeral, in, out->shared_secret32, out->unwrapped, shift))
        return LNF_ONION_BAD_KEY;
    return LNF_ONION_OK;
}

int lnf_onion_peel(lnf_onion_peeled *out, const lnf_onion_sealed *in, const unsigned char *node_secret32) {
    unsigned char blinded32[32];
    out->payload_offset = out->payload_len = 0;
    out->is_final = 0;
    memset(out->shared_secret32, 0, 32);
    memset(out->path_secret32, 0, 32);
    memset(out->sha256_of_onion32, 0, 32);
    if (in->path_key33 == NULL) {
        out->error = peel(out, in, node_secret32);
    } else {
        out->error = LNF_ONION_BAD_KEY;
        if (blind_node_secret(blinded32, out->path_secret32, in->path_key33, node_secret32))
            out->error = peel(out, in, blinded32);
        lnf_wipe(blinded32, sizeof blinded32);
    }
    if (out->error == LNF_ONION_OK) return 1;
    out->payload_offset = out->payload_len = 0;
    out->is_final = 0;
    lnf_sha256(out->sha256_of_onion32, in->packet, in->packet_len);
    if (out->error != LNF_ONION_BAD_PAYLOAD) memset(out->shared_secret32, 0, 32);
    return 0;
}

size_t lnf_onion_peel_batch(lnf_onion_peeled *outs, const lnf_onion_sealed *ins, size_t n,
                            const unsigned char *node_secret32) {
    size_t i, peeled = 0;
    for (i = 0; i < n; i++) peeled += (size_t)lnf_onion_peel(&outs[i], &ins[i], node_secret32);
    return peeled;
}

/* ---- failures --------------------------------------------------------------------------------------------------- */

size_t lnf_failure_packet_bytes(size_t message_len) {
    return FAILURE_OVERHEAD_BYTES + (message_len < FAILURE_MIN_BYTES ? FAILURE_MIN_BYTES : message_len);
}

static void store_be16(unsigned char *p, size_t v) {
    p[0] = (unsigned char)(v >> 8);
    p[1] = (unsigned char)v;
}

void lnf_failure_packet_wrap(unsigned char *packet, size_t packet_len, const unsigned char *shared_secret32) {
    unsigned char ammag32[32];
    make_key(ammag32, "ammag", shared_secret32);
    xor_stream(packet, packet_len, ammag32, 0);
    lnf_wipe(ammag32, sizeof ammag32);
}

void lnf_failure_packet_create(unsigned char *packet, const unsigned char *message, size_t message_len,
                               const unsigned char *shared_secret32) {
    unsigned char um32[32];
    size_t packet_len = lnf_failure_packet_bytes(message_len);
    size_t pad_len = packet_len - FAILURE_OVERHEAD_BYTES - message_len;
    store_be16(packet + HMAC_BYTES, message_len);
    lnf_copy(packet + HMAC_BYTES + 2, message, message_len);
    store_be16(packet + HMAC_BYTES + 2 + message_len, pad_len);
    memset(packet + FAILURE_OVERHEAD_BYTES + message_len, 0, pad_len);
    make_key(um32, "um", shared_secret32);
    lnf_hmac_sha256(packet, um32, 32, packet + HMAC_BYTES, packet_len - HMAC_BYTES);
    lnf_wipe(um32, sizeof um32);
    lnf_failure_packet_wrap(packet, packet_len, shared_secret32);
}

int lnf_failure_packet_unwrap(unsigned char *message, size_t *message_len, size_t *hop, const unsigned char *packet,
                              size_t packet_len, const unsigned char *shared_secrets, size_t n_hops) {
    unsigned char um32[32], hmac32[32];
    unsigned char *layer;
    size_t i, rounds = n_hops > UNWRAP_ROUNDS ? n_hops : UNWRAP_ROUNDS, len;
    int found = 0;
    *message_len = *hop = 0;
    if (packet_len != 0) memset(message, 0, packet_len);
    if (packet_len < FAILURE_OVERHEAD_BYTES) return 0;
    layer = message + packet_len;
    memcpy(layer, packet, packet_len);
    for (i = 0; i < rounds; i++) {
        const unsigned char *secret32 = i < n_hops ? shared_secrets + 32 * i : ZERO;
        lnf_failure_packet_wrap(layer, packet_len, secret32);
        make_key(um32, "um", secret32);
        lnf_hmac_sha256(hmac32, um32, 32, layer + HMAC_BYTES, packet_len - HMAC_BYTES);
        if ((int)equal32(hmac32, layer) & (i < n_hops) & !found) {
            found = 1;
            *hop = i;
            memcpy(message, layer, packet_len);
        }
    }
    lnf_wipe(um32, sizeof um32);
    if (!found) return 0;
    len = (size_t)message[HMAC_BYTES] << 8 | message[HMAC_BYTES + 1];
    *message_len = len <= packet_len - FAILURE_OVERHEAD_BYTES ? len : 0;
    memmove(message, message + HMAC_BYTES + 2, *message_len);
    return 1;
}
