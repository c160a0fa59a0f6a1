/* Keys out of any bytes: what is derived from secrets and from points agrees, and a secret that is stored is found. */
#include "fuzz_source.h"
#include "toy_secp.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t len);

#define LAST ((1ull << 48) - 1)
#define SLOTS 49

static void next_secret(unsigned char *secret32, source *from) {
    memset(secret32, 0, 32);
    lnf_store_be64(secret32 + 24, 1 + next_number(from, 8) % (TOY_ORDER - 1));
}

/* A point and a secret that were derived in two ways: both there and equal, or both refused and zero. */
static void check_pair(int has_point, const unsigned char *point33, int has_secret, const unsigned char *secret32) {
    unsigned char expected33[33];
    CHECK(has_point == has_secret && is_zero(point33, 33) == !has_point && is_zero(secret32, 32) == !has_secret);
    if (has_secret) CHECK(lnf_pubkey_create(expected33, secret32) && memcmp(expected33, point33, 33) == 0);
}

static void arithmetic(source *from) {
    unsigned char a32[32], b32[32], a33[33], b33[33], out32[32], out33[33], other32[32];
    next_secret(a32, from);
    next_secret(b32, from);
    CHECK(lnf_seckey_valid(a32) && lnf_pubkey_create(a33, a32) && lnf_pubkey_create(b33, b32));
    int secret = lnf_seckey_add(out32, a32, b32);
    check_pair(lnf_pubkey_tweak_add(out33, a33, b32), out33, secret, out32);
    check_pair(lnf_pubkey_combine(out33, a33, b33), out33, secret, out32);
    secret = lnf_seckey_mul(out32, a32, b32);
    if (secret) check_pair(lnf_pubkey_tweak_mul(out33, a33, b32), out33, secret, out32);
    CHECK(lnf_ecdh(out32, a33, b32) && lnf_ecdh(other32, b33, a32) && memcmp(out32, other32, 32) == 0);
    /* An output may be its own input. */
    secret = lnf_seckey_add(out32, a32, b32);
    CHECK(lnf_seckey_add(a32, a32, b32) == secret && memcmp(a32, out32, 32) == 0);
    secret = lnf_pubkey_combine(out33, a33, b33);
    CHECK(lnf_pubkey_combine(a33, a33, b33) == secret && memcmp(a33, out33, 33) == 0);
}

static void derivations(source *from) {
    unsigned char base32[32], commitment32[32], base33[33], commitment33[33], point33[33], secret32[32];
    next_secret(base32, from);
    next_secret(commitment32, from);
    CHECK(lnf_pubkey_create(base33, base32) && lnf_pubkey_create(commitment33, commitment32));
    int good = lnf_derive_private_key(secret32, base32, commitment33);
    check_pair(lnf_derive_public_key(point33, base33, commitment33), point33, good, secret32);
    good = lnf_derive_revocation_private_key(secret32, base32, commitment32);
    check_pair(lnf_derive_revocation_public_key(point33, base33, commitment33), point33, good, secret32);
    memset(base32, 0, 32);
    memset(secret32, 1, 32);
    CHECK(!lnf_derive_private_key(secret32, base32, commitment33) && is_zero(secret32, 32));
    memset(secret32, 1, 32);
    CHECK(!lnf_derive_revocation_private_key(secret32, base32, commitment32) && is_zero(secret32, 32));
    memset(secret32, 1, 32);
    CHECK(!lnf_derive_revocation_private_key(secret32, commitment32, base32) && is_zero(secret32, 32));
}

/* Raw bytes as a point: every function refuses what is none, and leaves zeroes. */
static void strangers(source *from) {
    unsigned char raw33[33], good33[33], secret32[32], out33[33], out32[32], sig64[64];
    next_bytes(raw33, sizeof raw33, from);
    next_secret(secret32, from);
    CHECK(lnf_pubkey_create(good33, secret32));
    if (!lnf_pubkey_valid(raw33)) {
        memset(out33, 1, 33);
        CHECK(!lnf_pubkey_tweak_add(out33, raw33, secret32) && is_zero(out33, 33));
        CHECK(!lnf_pubkey_tweak_mul(out33, raw33, secret32) && is_zero(out33, 33));
        CHECK(!lnf_pubkey_combine(out33, raw33, good33) && !lnf_pubkey_combine(out33, good33, raw33));
        CHECK(!lnf_derive_public_key(out33, raw33, good33) && is_zero(out33, 33));
        memset(out33, 1, 33);
        CHECK(!lnf_derive_revocation_public_key(out33, raw33, good33) && is_zero(out33, 33));
        CHECK(!lnf_derive_revocation_public_key(out33, good33, raw33) && is_zero(out33, 33));
        memset(out32, 1, 32);
        CHECK(!lnf_ecdh(out32, raw33, secret32) && is_zero(out32, 32));
    }
    next_bytes(out32, sizeof out32, from);
    CHECK(lnf_ecdsa_sign(sig64, out32, secret32) && lnf_ecdsa_verify_var(sig64, out32, good33));
    sig64[next(from) % 64] ^= (unsigned char)(1u << next(from) % 8);
    CHECK(!lnf_ecdsa_verify_var(sig64, out32, good33));
}

/* BOLT 3, Efficient Per-commitment Secret Storage: what a peer reveals, from some index downwards. */
typedef struct {
    unsigned char secrets[SLOTS][32];
    uint64_t indexes[SLOTS];
    int used[SLOTS];
} store;

static unsigned slot_of(uint64_t index) { return index == 0 ? SLOTS - 1 : (unsigned)__builtin_ctzll(index); }

static int insert(store *kept, const unsigned char *secret32, uint64_t index) {
    const unsigned slot = slot_of(index);
    unsigned char out32[32];
    for (unsigned i = 0; i < slot; i++) {
        if (!kept->used[i]) continue;
        CHECK(lnf_shachain_derive(out32, secret32, index, kept->indexes[i]));
        if (memcmp(out32, kept->secrets[i], 32) != 0) return 0;
    }
    memcpy(kept->secrets[slot], secret32, 32);
    kept->indexes[slot] = index;
    kept->used[slot] = 1;
    return 1;
}

static int find(unsigned char *out32, const store *kept, uint64_t index) {
    for (unsigned i = 0; i < SLOTS; i++) {
        if (kept->used[i] && lnf_shachain_derive(out32, kept->secrets[i], kept->indexes[i], index)) return 1;
        if (kept->used[i]) CHECK(is_zero(out32, 32));
    }
    return 0;
}

static void storage(source *from) {
    static store kept;
    unsigned char seed32[32], secret32[32], found32[32];
    memset(&kept, 0, sizeof kept);
    /* From a little above an index of a high slot. */
    const unsigned count = 1 + next(from) % 70, bits = next(from) % 49, above = next(from) % 64;
    const uint64_t prefix = next_number(from, 6) >> bits << bits, wrong = next(from) % (count + 1);
    const uint64_t first = prefix > LAST - above ? LAST : prefix + above;
    next_bytes(seed32, sizeof seed32, from);
    const unsigned bit = next(from);
    uint64_t lowest = first;
    for (unsigned i = 0; i < count && i <= first; i++) {
        const uint64_t index = first - i;
        lnf_per_commitment_secret(secret32, seed32, index);
        if (i == wrong && slot_of(index) > 0 && i > 0) {
            secret32[bit / 8] ^= (unsigned char)(1u << bit % 8);
            CHECK(!insert(&kept, secret32, index));
            secret32[bit / 8] ^= (unsigned char)(1u << bit % 8);
        }
        CHECK(insert(&kept, secret32, index));
        lowest = index;
    }
    for (uint64_t index = lowest; index <= first; index++) {
        lnf_per_commitment_secret(secret32, seed32, index);
        CHECK(find(found32, &kept, index) && memcmp(found32, secret32, 32) == 0);
    }
    /* Nothing that was not revealed, and no index that there is not. */
    if (lowest > 0) CHECK(!find(found32, &kept, lowest - 1));
    CHECK(!find(found32, &kept, LAST + 1));
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t len) {
    source from = {data, len};
    toy_secp_install();
    next_level(&from);
    switch (next(&from) % 4) {
    case 0: arithmetic(&from); break;
    case 1: derivations(&from); break;
    case 2: strangers(&from); break;
    default: storage(&from);
    }
    return 0;
}
