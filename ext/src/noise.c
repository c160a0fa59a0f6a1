/* BOLT 8: the Noise_XK handshake, and the frames of an established connection. */
#include <assert.h>

#include "bytes.h"
#include "chacha.h"
#include "ct.h"
#include "secp.h"

/* BOLT 8, Lightning Message Key Rotation: a key encrypts 1000 times, which is 500 messages. */
#define NONCES_PER_KEY 1000

static void encode_nonce(unsigned char *nonce12, uint64_t n) {
    memset(nonce12, 0, 4);
    lnf_store_le64(nonce12 + 4, n);
}

static void encrypt_with_ad(unsigned char *out, const unsigned char *key32, uint64_t n, const unsigned char *ad32,
                            const unsigned char *in, size_t len) {
    unsigned char nonce12[12];
    encode_nonce(nonce12, n);
    lnf_aead_encrypt(out, in, len, ad32, ad32 != NULL ? 32 : 0, key32, nonce12);
}

/* in has len + 16 bytes. */
static int decrypt_with_ad(unsigned char *out, const unsigned char *key32, uint64_t n, const unsigned char *ad32,
                           const unsigned char *in, size_t len) {
    unsigned char nonce12[12];
    encode_nonce(nonce12, n);
    return lnf_aead_decrypt(out, in, len, ad32, ad32 != NULL ? 32 : 0, key32, nonce12);
}

/* ---- handshake -------------------------------------------------------------------------------------------------- */

static int derive_public(unsigned char *point33, const unsigned char *secret32) {
    lnf_secp_pubkey point;
    return lnf_secp.ec_pubkey_create(lnf_secp_ctx, &point, secret32) && lnf_point_serialize(point33, &point);
}

static void mix_hash(lnf_noise_handshake *handshake, const unsigned char *data, size_t len) {
    lnf_sha256_ctx ctx;
    lnf_sha256_init(&ctx);
    lnf_sha256_update(&ctx, handshake->hash32, 32);
    lnf_sha256_update(&ctx, data, len);
    lnf_sha256_final(handshake->hash32, &ctx);
}

/* ck, temp_k = HKDF(ck, ECDH(secret, point)). Returns 0 if the point is not on the curve. */
static int mix_ecdh(lnf_noise_handshake *handshake, const unsigned char *secret32, const unsigned char *point33) {
    lnf_secp_pubkey point;
    unsigned char shared32[32], keys64[64];
    int ok = lnf_point_parse(&point, point33) && lnf_secp.ecdh(lnf_secp_ctx, shared32, &point, secret32, NULL, NULL);
    if (ok) {
        lnf_hkdf_sha256(keys64, handshake->chaining_key32, 32, shared32, 32);
        memcpy(handshake->chaining_key32, keys64, 32);
        memcpy(handshake->temporary_key32, keys64 + 32, 32);
    }
    lnf_wipe(shared32, sizeof shared32);
    lnf_wipe(keys64, sizeof keys64);
    return ok;
}

/* BOLT 8, Handshake State Initialization. */
static void initialize(lnf_noise_handshake *handshake, const unsigned char *ephemeral_secret32,
                       const unsigned char *static_secret32, const unsigned char *responder33) {
    static const char PROTOCOL[] = "Noise_XK_secp256k1_ChaChaPoly_SHA256", PROLOGUE[] = "lightning";
    memset(handshake, 0, sizeof *handshake);
    lnf_sha256(handshake->hash32, (const unsigned char *)PROTOCOL, sizeof PROTOCOL - 1);
    memcpy(handshake->chaining_key32, handshake->hash32, 32);
    mix_hash(handshake, (const unsigned char *)PROLOGUE, sizeof PROLOGUE - 1);
    mix_hash(handshake, responder33, 33);
    memcpy(handshake->ephemeral_secret32, ephemeral_secret32, 32);
    memcpy(handshake->static_secret32, static_secret32, 32);
}

/* Acts one and two are alike: an ephemeral key, then a tag under the key that its ECDH with point33 gives. */
static int write_ephemeral(unsigned char *act50, lnf_noise_handshake *handshake, const unsigned char *point33) {
    act50[0] = 0;
    if (!derive_public(act50 + 1, handshake->ephemeral_secret32)) return 0;
    mix_hash(handshake, act50 + 1, 33);
    if (!mix_ecdh(handshake, handshake->ephemeral_secret32, point33)) return 0;
    encrypt_with_ad(act50 + 34, handshake->temporary_key32, 0, handshake->hash32, NULL, 0);
    mix_hash(handshake, act50 + 34, 16);
    return 1;
}

static lnf_noise_error read_ephemeral(lnf_noise_handshake *handshake, const unsigned char *secret32,
                                      const unsigned char *act50) {
    if (act50[0] != 0) return LNF_NOISE_BAD_VERSION;
    mix_hash(handshake, act50 + 1, 33);
    if (!mix_ecdh(handshake, secret32, act50 + 1)) return LNF_NOISE_BAD_PUBKEY;
    if (!decrypt_with_ad(NULL, handshake->temporary_key32, 0, handshake->hash32, act50 + 34, 0))
        return LNF_NOISE_BAD_TAG;
    mix_hash(handshake, act50 + 34, 16);
    memcpy(handshake->their_ephemeral33, act50 + 1, 33);
    return LNF_NOISE_OK;
}

/* The initiator sends under the first of the two keys. */
static void split(lnf_noise_cipher *initiator, lnf_noise_cipher *responder, const lnf_noise_handshake *handshake) {
    unsigned char keys64[64];
    lnf_hkdf_sha256(keys64, handshake->chaining_key32, 32, NULL, 0);
    memcpy(initiator->key32, keys64, 32);
    memcpy(responder->key32, keys64 + 32, 32);
    memcpy(initiator->chaining_key32, handshake->chaining_key32, 32);
    memcpy(responder->chaining_key32, handshake->chaining_key32, 32);
    initiator->nonce = responder->nonce = 0;
    initiator->body_len = responder->body_len = -1;
    lnf_wipe(keys64, sizeof keys64);
}

int lnf_noise_initiate(lnf_noise_handshake *handshake, unsigned char *act_one50,
                       const unsigned char *ephemeral_secret32, const unsigned char *static_secret32,
                       const unsigned char *their_static33) {
    initialize(handshake, ephemeral_secret32, static_secret32, their_static33);
    if (lnf_secp.ec_seckey_verify(lnf_secp_ctx, static_secret32) &&
        write_ephemeral(act_one50, handshake, their_static33))
        return 1;
    memset(act_one50, 0, LNF_NOISE_ACT_ONE_BYTES);
    lnf_noise_wipe_handshake(handshake);
    return 0;
}

int lnf_noise_respond(lnf_noise_handshake *handshake, const unsigned char *ephemeral_secret32,
                      const unsigned char *static_secret32) {
    unsigned char static33[33];
    if (lnf_secp.ec_seckey_verify(lnf_secp_ctx, ephemeral_secret32) && derive_public(static33, static_secret32)) {
        initialize(handshake, ephemeral_secret32, static_secret32, static33);
        return 1;
    }
    lnf_noise_wipe_handshake(handshake);
    return 0;
}

int lnf_noise_act_two(unsigned char *act_two50, lnf_noise_error *error, lnf_noise_handshake *handshake,
                      const unsigned char *act_one50) {
    *error = read_ephemeral(handshake, handshake->static_secret32, act_one50);
    if (*error == LNF_NOISE_OK) {
        if (write_ephemeral(act_two50, handshake, handshake->their_ephemeral33)) return 1;
        *error = LNF_NOISE_BAD_PUBKEY;
    }
    memset(act_two50, 0, LNF_NOISE_ACT_TWO_BYTES);
    lnf_noise_wipe_handshake(handshake);
    return 0;
}

static int write_static(unsigned char *act_three66, lnf_noise_handshake *handshake) {
    unsigned char static33[33];
    act_three66[0] = 0;
    if (!derive_public(static33, handshake->static_secret32)) return 0;
    encrypt_with_ad(act_three66 + 1, handshake->temporary_key32, 1, handshake->hash32, static33, 33);
    mix_hash(handshake, act_three66 + 1, 49);
    if (!mix_ecdh(handshake, handshake->static_secret32, handshake->their_ephemeral33)) return 0;
    encrypt_with_ad(act_three66 + 50, handshake->temporary_key32, 0, handshake->hash32, NULL, 0);
    return 1;
}

int lnf_noise_act_three(unsigned char *act_three66, lnf_noise_cipher *send, lnf_noise_cipher *receive,
                        lnf_noise_error *error, lnf_noise_handshake *handshake, const unsigned char *act_two50) {
    *error = read_ephemeral(handshake, handshake->ephemeral_secret32, act_two50);
    if (*error == LNF_NOISE_OK && !write_static(act_three66, handshake)) *error = LNF_NOISE_BAD_PUBKEY;
    if (*error == LNF_NOISE_OK) {
        split(send, receive, handshake);
    } else {
        memset(act_three66, 0, LNF_NOISE_ACT_THREE_BYTES);
        lnf_noise_wipe_cipher(send);
        lnf_noise_wipe_cipher(receive);
    }
    lnf_noise_wipe_handshake(handshake);
    return *error == LNF_NOISE_OK;
}

static lnf_noise_error read_act_three(unsigned char *their_static33, lnf_noise_handshake *handshake,
                                      const unsigned char *act_three66) {
    if (act_three66[0] != 0) return LNF_NOISE_BAD_VERSION;
    if (!decrypt_with_ad(their_static33, handshake->temporary_key32, 1, handshake->hash32, act_three66 + 1, 33))
        return LNF_NOISE_BAD_CIPHERTEXT;
    mix_hash(handshake, act_three66 + 1, 49);
    if (!mix_ecdh(handshake, handshake->ephemeral_secret32, their_static33)) return LNF_NOISE_BAD_PUBKEY;
    if (!decrypt_with_ad(NULL, handshake->temporary_key32, 0, handshake->hash32, act_three66 + 50, 0))
        return LNF_NOISE_BAD_TAG;
    return LNF_NOISE_OK;
}

int lnf_noise_finish(unsigned char *their_static33, lnf_noise_cipher *send, lnf_noise_cipher *receive,
                     lnf_noise_error *error, lnf_noise_handshake *handshake, const unsigned char *act_three66) {
    *error = read_act_three(their_static33, handshake, act_three66);
    if (*error == LNF_NOISE_OK) {
        split(receive, send, handshake);
    } else {
        memset(their_static33, 0, 33);
        lnf_noise_wipe_cipher(send);
        lnf_noise_wipe_cipher(receive);
    }
    lnf_noise_wipe_handshake(handshake);
    return *error == LNF_NOISE_OK;
}

void lnf_noise_wipe_handshake(lnf_noise_handshake *handshake) { lnf_wipe(handshake, sizeof *handshake); }

void lnf_noise_wipe_cipher(lnf_noise_cipher *cipher) {
    lnf_wipe(cipher, sizeof *cipher);
    cipher->body_len = -1;
}

/* ---- transport -------------------------------------------------------------------------------------------------- */

/* A header takes two blocks of keystream: the one-time key's and the length's. */
#define HEADER_BLOCKS 2
/* Bodies above this have their keystream made in place; only their first block is worth a place in a batch. */
#define BATCHED_BODY_BYTES 512
/* A header and a body of 320 bytes: one vector of AVX2. What we expect before we have seen a header. */
#define EXPECTED_BODY_BYTES 320

/* The keystream of consecutive nonces of one key: many frames' short pieces fill the vectors that one alone would not. */
typedef struct {
    lnf_chacha_batch batch;
    size_t n_blocks, n_parts, blocks_used;
    uint64_t first_nonce;
    uint16_t first_block[LNF_CHACHA_BATCH], part_blocks[LNF_CHACHA_BATCH];
    unsigned char stream[64 * LNF_CHACHA_BATCH];
} keystream;

static size_t body_blocks(size_t len) { return len <= BATCHED_BODY_BYTES ? 1 + (len + 63) / 64 : 1; }

static void keystream_open(keystream *keys) {
    keys->n_blocks = keys->n_parts = keys->blocks_used = 0;
    keys->first_nonce = 0;
}

static void keystream_begin(keystream *keys, const lnf_noise_cipher *cipher) {
    unsigned char nonce12[12];
    encode_nonce(nonce12, 0);
    lnf_chacha20_state(keys->batch.state, cipher->key32, nonce12, 0);
    keys->n_blocks = keys->n_parts = 0;
    keys->first_nonce = cipher->nonce;
}

/* The next nonce gets n blocks. Returns 0 if there is no room for them, or the key is at its end. */
static int keystream_add(keystream *keys, size_t n) {
    uint64_t nonce = keys->first_nonce + keys->n_parts;
    if (nonce >= NONCES_PER_KEY || keys->n_blocks + n > LNF_CHACHA_BATCH) return 0;
    keys->first_block[keys->n_parts] = (uint16_t)keys->n_blocks;
    keys->part_blocks[keys->n_parts++] = (uint16_t)n;
    for (size_t i = 0; i < n; i++) {
        keys->batch.word12[keys->n_blocks] = (uint32_t)i;
        keys->batch.word14[keys->n_blocks++] = (uint32_t)nonce;
    }
    return 1;
}

static void keystream_make(keystream *keys) {
    /* The lanes that complete the last vector. */
    for (size_t i = keys->n_blocks; i % 16 != 0; i++) keys->batch.word12[i] = keys->batch.word14[i] = 0;
    lnf_chacha20_batch(keys->stream, &keys->batch, keys->n_blocks);
    if (keys->n_blocks > keys->blocks_used) keys->blocks_used = keys->n_blocks;
}

static void keystream_wipe(keystream *keys) {
    if (keys->blocks_used != 0) {
        lnf_wipe(keys->stream, (keys->blocks_used + 15) / 16 * 16 * 64);
        lnf_wipe(keys->batch.state, sizeof keys->batch.state);
    }
}

/* The cipher's next nonce: its keystream, and in batch.state the state of its block 0. */
static const unsigned char *keystream_part(keystream *keys, size_t *have, const lnf_noise_cipher *cipher) {
    size_t part = (size_t)(cipher->nonce - keys->first_nonce);
    assert(part < keys->n_parts);
    *have = 64u * keys->part_blocks[part];
    keys->batch.state[14] = (uint32_t)cipher->nonce;
    return keys->stream + 64u * keys->first_block[part];
}

/* Counts one use of the key, and rotates it after its last. Returns 1 if it did. */
static int advance(lnf_noise_cipher *cipher) {
    unsigned char keys64[64];
    if (++cipher->nonce < NONCES_PER_KEY) return 0;
    lnf_hkdf_sha256(keys64, cipher->chaining_key32, 32, cipher->key32, 32);
    memcpy(cipher->chaining_key32, keys64, 32);
    memcpy(cipher->key32, keys64 + 32, 32);
    cipher->nonce = 0;
    lnf_wipe(keys64, sizeof keys64);
    return 1;
}

static void seal_part(unsigned char *out, const unsigned char *in, size_t len, lnf_noise_cipher *send,
                      keystream *keys) {
    size_t have;
    const unsigned char *stream = keystream_part(keys, &have, send);
    lnf_aead_seal(out, in, len, stream, have, keys->batch.state);
    advance(send);
}

void lnf_noise_encrypt(unsigned char *out, lnf_noise_cipher *send, const unsigned char *const *messages,
                       const size_t *lens, size_t n) {
    keystream keys;
    size_t done = 0;
    keystream_open(&keys);
    while (done < n) {
        size_t end = done;
        keystream_begin(&keys, send);
        while (end < n && keystream_add(&keys, HEADER_BLOCKS) && keystream_add(&keys, body_blocks(lens[end]))) end++;
        keystream_make(&keys);
        for (; done < end; done++) {
            size_t len = lens[done];
            assert(len <= LNF_NOISE_MAX_MESSAGE_BYTES);
            unsigned char len2[2] = {(unsigned char)(len >> 8), (unsigned char)len};
            seal_part(out, len2, 2, send, &keys);
            seal_part(out + LNF_NOISE_HEADER_BYTES, messages[done], len, send, &keys);
            out += len + LNF_NOISE_OVERHEAD_BYTES;
        }
    }
    keystream_wipe(&keys);
}

/* The keystream from the cipher's nonce on, for as many frames as `remaining` bytes hold if their bodies are as long as
 * the expected one: a wrong guess costs time and nothing else. */
static void guess_keystream(keystream *keys, const lnf_noise_cipher *receive, size_t expected, size_t remaining) {
    size_t bytes = 0;
    int is_body = receive->body_len >= 0;
    keystream_begin(keys, receive);
    while (bytes < remaining) {
        size_t body_len = is_body && keys->n_parts == 0 ? (size_t)receive->body_len : expected;
        if (!keystream_add(keys, is_body ? body_blocks(body_len) : HEADER_BLOCKS)) break;
        bytes += is_body ? body_len + LNF_NOISE_TAG_BYTES : LNF_NOISE_HEADER_BYTES;
        is_body = !is_body;
    }
    keystream_make(keys);
}

/* Decrypts one header or one body. */
static int open_part(unsigned char *out, const unsigned char *in, size_t len, size_t expected, size_t remaining,
                     lnf_noise_cipher *receive, keystream *keys) {
    size_t have;
    if (receive->nonce - keys->first_nonce >= keys->n_parts) guess_keystream(keys, receive, expected, remaining);
    const unsigned char *stream = keystream_part(keys, &have, receive);
    if (!lnf_aead_open(out, in, len, stream, have, keys->batch.state)) return 0;
    if (advance(receive)) keys->n_parts = 0;
    return 1;
}

int lnf_noise_decrypt(unsigned char *out, size_t *lens, size_t *n, size_t *consumed, lnf_noise_cipher *receive,
                      const unsigned char *in, size_t len, size_t out_size, size_t max_messages) {
    size_t done = 0, room = out_size, count = 0, expected = EXPECTED_BODY_BYTES;
    int ok = 1;
    keystream keys;
    keystream_open(&keys);
    while (count < max_messages) {
        if (receive->body_len < 0) {
            unsigned char len2[2];
            if (len - done < LNF_NOISE_HEADER_BYTES) break;
            ok = open_part(len2, in + done, 2, expected, len - done, receive, &keys);
            if (!ok) break;
            /* Anyone who counts the bytes of the connection sees it. */
            lnf_declassify(len2, sizeof len2);
            receive->body_len = len2[0] << 8 | len2[1];
            done += LNF_NOISE_HEADER_BYTES;
        }
        size_t body_len = expected = (size_t)receive->body_len;
        if (len - done < body_len + LNF_NOISE_TAG_BYTES || body_len > room) break;
        ok = open_part(out, in + done, body_len, expected, len - done, receive, &keys);
        if (!ok) break;
        receive->body_len = -1;
        done += body_len + LNF_NOISE_TAG_BYTES;
        out += body_len;
        room -= body_len;
        lens[count++] = body_len;
    }
    keystream_wipe(&keys);
    if (!ok) lnf_noise_wipe_cipher(receive);
    *n = count;
    *consumed = done;
    return ok;
}
