#include <assert.h>
#include <string.h>

#include "bytes.h"
#include "script.h"
#include "secp.h"
#include "tx.h"

#define ANCHOR_SAT 330u
#define HTLC_TX_VERSION 2u
#define SIGHASH_ALL ((uint32_t)LNF_SIGHASH_ALL)
#define SIGHASH_SINGLE_ANYONECANPAY ((uint32_t)(LNF_SIGHASH_SINGLE | LNF_SIGHASH_ANYONECANPAY))

/* Offsets of the five points in points165. */
enum { FUNDING = 0, REVOCATION = 33, PAYMENT = 66, DELAYED = 99, HTLC = 132 };

/* ---- fees and trimming (BOLT 3, Fee Calculation and Trimmed Outputs) -------------------------------------------- */

uint64_t lnf_commitment_fee_sat(uint32_t feerate_per_kw, size_t untrimmed_htlcs, int anchors) {
    return (uint64_t)feerate_per_kw * ((anchors ? 1124u : 724u) + 172u * (uint64_t)untrimmed_htlcs) / 1000;
}

uint64_t lnf_htlc_tx_fee_sat(uint32_t feerate_per_kw, int offered, int anchors) {
    return anchors ? 0 : (uint64_t)feerate_per_kw * (offered ? 663u : 703u) / 1000;
}

static int is_trimmed(const lnf_commitment_side *side, const lnf_commitment_htlc *htlc, uint32_t feerate_per_kw) {
    const uint64_t fee_sat = lnf_htlc_tx_fee_sat(feerate_per_kw, htlc->offered != 0, side->anchors);
    return htlc->amount_msat / 1000 < side->dust_limit_sat + fee_sat;
}

/* ---- keys (BOLT 3, Key Derivation) ------------------------------------------------------------------------------ */

static void tweak_of(unsigned char *out32, const unsigned char *first33, const unsigned char *second33) {
    unsigned char both[66];
    memcpy(both, first33, 33);
    memcpy(both + 33, second33, 33);
    lnf_sha256(out32, both, sizeof both);
}

/* basepoint + SHA256(per_commitment_point || basepoint) * G */
static int derive(lnf_secp_pubkey *derived, unsigned char *derived33, const unsigned char *per_commitment33,
                  const lnf_secp_pubkey *base, const unsigned char *base33) {
    unsigned char tweak32[32];
    tweak_of(tweak32, per_commitment33, base33);
    *derived = *base;
    return lnf_secp.ec_pubkey_tweak_add(lnf_secp_ctx, derived, tweak32) && lnf_point_serialize(derived33, derived);
}

static int derive_revocation(unsigned char *derived33, const lnf_commitment_side *side,
                             const unsigned char *per_commitment33) {
    const unsigned char *base33 = side->countersignatory165 + REVOCATION;
    unsigned char tweak32[32];
    lnf_secp_pubkey base = side->revocation_basepoint, point, sum;
    const lnf_secp_pubkey *pair[2] = {&base, &point};
    if (!lnf_point_parse(&point, per_commitment33)) return 0;
    tweak_of(tweak32, base33, per_commitment33);
    if (!lnf_secp.ec_pubkey_tweak_mul(lnf_secp_ctx, &base, tweak32)) return 0;
    tweak_of(tweak32, per_commitment33, base33);
    if (!lnf_secp.ec_pubkey_tweak_mul(lnf_secp_ctx, &point, tweak32)) return 0;
    return lnf_secp.ec_pubkey_combine(lnf_secp_ctx, &sum, pair, 2) && lnf_point_serialize(derived33, &sum);
}

static int derive_htlc_keys(lnf_commitment_keys *keys, const lnf_commitment_side *side, const unsigned char *point33) {
    lnf_secp_pubkey unused;
    return derive(&unused, keys->broadcaster_htlc33, point33, &side->broadcaster_htlc_basepoint,
                  side->broadcaster165 + HTLC) &&
           derive(&keys->countersignatory_htlc, keys->countersignatory_htlc33, point33,
                  &side->countersignatory_htlc_basepoint, side->countersignatory165 + HTLC);
}

static int derive_to_local_keys(lnf_commitment_keys *keys, const lnf_commitment_side *side,
                                const unsigned char *point33) {
    lnf_secp_pubkey unused;
    return derive_revocation(keys->revocation33, side, point33) &&
           derive(&unused, keys->delayed33, point33, &side->delayed_basepoint, side->broadcaster165 + DELAYED);
}

int lnf_commitment_derive_keys(lnf_commitment_keys *keys, const lnf_commitment_side *side,
                               const unsigned char *per_commitment_point33) {
    memset(keys, 0, sizeof *keys);
    if (derive_to_local_keys(keys, side, per_commitment_point33) &&
        derive_htlc_keys(keys, side, per_commitment_point33))
        return 1;
    memset(keys, 0, sizeof *keys);
    return 0;
}

/* ---- one side of a channel -------------------------------------------------------------------------------------- */

static int all_points_valid(const unsigned char *points165) {
    lnf_secp_pubkey unused;
    for (size_t i = 0; i < 165; i += 33) {
        if (!lnf_point_parse(&unused, points165 + i)) return 0;
    }
    return 1;
}

static uint64_t obscure_factor(const lnf_commitment_side *side) {
    const unsigned char *broadcaster = side->broadcaster165 + PAYMENT,
                        *countersignatory = side->countersignatory165 + PAYMENT;
    unsigned char digest32[32];
    tweak_of(digest32, side->broadcaster_is_opener ? broadcaster : countersignatory,
             side->broadcaster_is_opener ? countersignatory : broadcaster);
    return (uint64_t)(digest32[26] << 8 | digest32[27]) << 32 | lnf_load_be32(digest32 + 28);
}

static void p2wsh_anchor(unsigned char *program34, const unsigned char *funding33) {
    unsigned char script[40];
    lnf_script_anchor(script, funding33);
    lnf_script_p2wsh(program34, script, sizeof script);
}

int lnf_commitment_side_init(lnf_commitment_side *side, const unsigned char *funding_txid32, uint32_t funding_vout,
                             uint64_t channel_value_sat, const unsigned char *broadcaster_points165,
                             const unsigned char *countersignatory_points165, uint64_t dust_limit_sat,
                             uint32_t to_self_delay, int broadcaster_is_opener, int anchors) {
    const unsigned char *payment33 = countersignatory_points165 + PAYMENT;
    memset(side, 0, sizeof *side);
    if (!all_points_valid(broadcaster_points165) || !all_points_valid(countersignatory_points165)) return 0;
    memcpy(side->funding_outpoint36, funding_txid32, 32);
    lnf_store_le32(side->funding_outpoint36 + 32, funding_vout);
    memcpy(side->broadcaster165, broadcaster_points165, 165);
    memcpy(side->countersignatory165, countersignatory_points165, 165);
    side->channel_value_sat = channel_value_sat;
    side->dust_limit_sat = dust_limit_sat;
    side->to_self_delay = to_self_delay;
    side->broadcaster_is_opener = broadcaster_is_opener != 0;
    side->anchors = anchors != 0;
    side->obscure_factor = obscure_factor(side);

    lnf_script_funding(side->funding_script71, broadcaster_points165 + FUNDING, countersignatory_points165 + FUNDING);
    p2wsh_anchor(side->broadcaster_anchor34, broadcaster_points165 + FUNDING);
    p2wsh_anchor(side->countersignatory_anchor34, countersignatory_points165 + FUNDING);
    if (anchors) {
        unsigned char script[37];
        lnf_script_to_remote(script, payment33);
        lnf_script_p2wsh(side->to_remote, script, sizeof script);
        side->to_remote_len = 34;
    } else {
        lnf_script_p2wpkh(side->to_remote, payment33);
        side->to_remote_len = 22;
    }
    return lnf_point_parse(&side->revocation_basepoint, countersignatory_points165 + REVOCATION) &&
           lnf_point_parse(&side->delayed_basepoint, broadcaster_points165 + DELAYED) &&
           lnf_point_parse(&side->broadcaster_htlc_basepoint, broadcaster_points165 + HTLC) &&
           lnf_point_parse(&side->countersignatory_htlc_basepoint, countersignatory_points165 + HTLC) &&
           lnf_point_parse(&side->countersignatory_funding, countersignatory_points165 + FUNDING);
}

/* ---- outputs ---------------------------------------------------------------------------------------------------- */

static int compare(const lnf_commitment_output *a, const lnf_commitment_output *b) {
    const size_t common = a->script_len < b->script_len ? a->script_len : b->script_len;
    int order;
    if (a->value_sat != b->value_sat) return a->value_sat < b->value_sat ? -1 : 1;
    order = memcmp(a->script, b->script, common);
    if (order != 0) return order;
    if (a->script_len != b->script_len) return a->script_len < b->script_len ? -1 : 1;
    if (a->cltv_expiry != b->cltv_expiry) return a->cltv_expiry < b->cltv_expiry ? -1 : 1;
    return 0;
}

#define OUTPUTS_MAX (LNF_COMMITMENT_HTLCS_MAX + LNF_COMMITMENT_OTHER_OUTPUTS)

/* Stable (a merge sort), so that outputs which nothing distinguishes stay in the caller's order on both sides. */
static void sort_outputs(lnf_commitment_output *outputs, size_t count) {
    uint16_t first[OUTPUTS_MAX], second[OUTPUTS_MAX], *from = first, *to = second;
    for (size_t i = 0; i < count; i++) from[i] = (uint16_t)i;
    for (size_t width = 1; width < count; width *= 2) {
        uint16_t *swap = from;
        for (size_t start = 0; start < count; start += 2 * width) {
            const size_t middle = start + width < count ? start + width : count;
            const size_t end = middle + width < count ? middle + width : count;
            size_t left = start, right = middle;
            for (size_t i = start; i < end; i++) {
                const int take_left =
                    left < middle && (right == end || compare(&outputs[from[left]], &outputs[from[right]]) <= 0);
                to[i] = from[take_left ? left++ : right++];
            }
        }
        from = to;
        to = swap;
    }
    /* from[i] says which output belongs at i: follow each cycle once. */
    for (size_t i = 0; i < count; i++) {
        size_t hole = i;
        lnf_commitment_output displaced;
        if (from[i] == i) continue;
        displaced = outputs[i];
        while (from[hole] != i) {
            const size_t source = from[hole];
            outputs[hole] = outputs[source];
            from[hole] = (uint16_t)hole;
            hole = source;
        }
        outputs[hole] = displaced;
        from[hole] = (uint16_t)hole;
    }
}

static lnf_commitment_output *add_output(lnf_built_commitment *built, int32_t kind, uint64_t value_sat,
                                         const unsigned char *script, size_t len) {
    lnf_commitment_output *output = &built->outputs[built->output_count++];
    output->value_sat = value_sat;
    output->cltv_expiry = 0;
    output->kind = kind;
    output->script_len = (uint8_t)len;
    memcpy(output->script, script, len);
    return output;
}

static void add_htlcs(lnf_built_commitment *built, const lnf_commitment_side *side, const lnf_commitment *commitment) {
    lnf_htlc_scripts_init(&built->scripts, built->keys.revocation33, built->keys.broadcaster_htlc33,
                          built->keys.countersignatory_htlc33, side->anchors);
    for (size_t i = 0; i < commitment->htlc_count; i++) {
        const lnf_commitment_htlc *htlc = &commitment->htlcs[i];
        unsigned char script[LNF_SCRIPT_MAX], program34[34], hash20[20];
        lnf_commitment_output *output;
        size_t len;
        if (is_trimmed(side, htlc, commitment->feerate_per_kw)) continue;
        lnf_ripemd160(hash20, htlc->payment_hash32, 32);
        len = lnf_htlc_script(script, &built->scripts, htlc->offered != 0, hash20, htlc->cltv_expiry);
        lnf_htlc_program(program34, &built->scripts, script, len);
        output = add_output(built, (int32_t)i, htlc->amount_msat / 1000, program34, 34);
        output->cltv_expiry = htlc->cltv_expiry;
        output->offered = htlc->offered != 0;
        memcpy(output->payment_hash160, hash20, 20);
    }
}

/* What the two parties get in satoshi: the opener pays the fee and both anchors, as far as its balance reaches. */
static void settle(uint64_t *to_local_sat, uint64_t *to_remote_sat, const lnf_commitment_side *side,
                   const lnf_commitment *commitment, size_t untrimmed) {
    const uint64_t cost_sat = lnf_commitment_fee_sat(commitment->feerate_per_kw, untrimmed, side->anchors) +
                              (side->anchors ? 2 * ANCHOR_SAT : 0);
    uint64_t *payer = side->broadcaster_is_opener ? to_local_sat : to_remote_sat;
    *to_local_sat = commitment->to_broadcaster_msat / 1000;
    *to_remote_sat = commitment->to_countersignatory_msat / 1000;
    *payer -= cost_sat < *payer ? cost_sat : *payer;
}

/* Nothing may be created or forgotten: the amounts are the channel's, to the msat. */
static int is_balanced(const lnf_commitment_side *side, const lnf_commitment *commitment) {
    const uint64_t total_msat = side->channel_value_sat * 1000;
    uint64_t rest_msat = total_msat;
    if (commitment->to_broadcaster_msat > rest_msat) return 0;
    rest_msat -= commitment->to_broadcaster_msat;
    if (commitment->to_countersignatory_msat > rest_msat) return 0;
    rest_msat -= commitment->to_countersignatory_msat;
    for (size_t i = 0; i < commitment->htlc_count; i++) {
        if (commitment->htlcs[i].amount_msat > rest_msat) return 0;
        rest_msat -= commitment->htlcs[i].amount_msat;
    }
    return rest_msat == 0;
}

static int add_outputs(lnf_built_commitment *built, const lnf_commitment_side *side, const lnf_commitment *commitment) {
    const unsigned char *point33 = commitment->per_commitment_point33;
    uint64_t to_local_sat, to_remote_sat;
    int has_local, has_remote;
    size_t untrimmed = 0;

    for (size_t i = 0; i < commitment->htlc_count; i++)
        untrimmed += !is_trimmed(side, &commitment->htlcs[i], commitment->feerate_per_kw);
    settle(&to_local_sat, &to_remote_sat, side, commitment, untrimmed);
    /* BOLT 2 forbids a dust limit of 0, which would make outputs of 0. */
    has_local = to_local_sat >= side->dust_limit_sat && to_local_sat != 0;
    has_remote = to_remote_sat >= side->dust_limit_sat && to_remote_sat != 0;

    if ((has_local || untrimmed) && !derive_to_local_keys(&built->keys, side, point33)) return 0;
    if (untrimmed && !derive_htlc_keys(&built->keys, side, point33)) return 0;
    built->htlc_count = untrimmed;

    if (has_local || untrimmed) {
        unsigned char script[LNF_SCRIPT_MAX];
        const size_t len =
            lnf_script_to_local(script, built->keys.revocation33, side->to_self_delay, built->keys.delayed33);
        lnf_script_p2wsh(built->to_local34, script, len);
    }
    if (untrimmed) add_htlcs(built, side, commitment);
    if (has_local) add_output(built, LNF_OUTPUT_TO_LOCAL, to_local_sat, built->to_local34, 34);
    if (has_remote) add_output(built, LNF_OUTPUT_TO_REMOTE, to_remote_sat, side->to_remote, side->to_remote_len);
    if (side->anchors) {
        if (has_local || untrimmed)
            add_output(built, LNF_OUTPUT_TO_LOCAL_ANCHOR, ANCHOR_SAT, side->broadcaster_anchor34, 34);
        if (has_remote || untrimmed)
            add_output(built, LNF_OUTPUT_TO_REMOTE_ANCHOR, ANCHOR_SAT, side->countersignatory_anchor34, 34);
    }
    return 1;
}

/* ---- the transaction -------------------------------------------------------------------------------------------- */

static int write_transaction(lnf_built_commitment *built, const lnf_commitment_side *side, uint64_t number) {
    const uint64_t obscured = number ^ side->obscure_factor;
    unsigned char *p = built->raw;
    uint64_t total_sat = 0;
    lnf_store_le32(p, 2);
    p[4] = 1;
    memcpy(p + 5, side->funding_outpoint36, 36);
    p[41] = 0;
    lnf_store_le32(p + 42, 0x80000000u | (uint32_t)(obscured >> 24));
    p = lnf_put_compact_size(p + 46, built->output_count);
    built->outputs_at = (size_t)(p - built->raw);
    for (size_t i = 0; i < built->output_count; i++) {
        const lnf_commitment_output *output = &built->outputs[i];
        total_sat += output->value_sat;
        p = lnf_put_output(p, output->value_sat, output->script, output->script_len);
    }
    lnf_store_le32(p, 0x20000000u | (uint32_t)(obscured & 0xffffff));
    built->raw_len = (size_t)(p + 4 - built->raw);
    if (total_sat > side->channel_value_sat) return 0;
    built->fee_sat = side->channel_value_sat - total_sat;
    lnf_sha256d(built->txid32, built->raw, built->raw_len);
    return 1;
}

static void reset(lnf_built_commitment *built) {
    unsigned char *raw = built->raw;
    lnf_commitment_output *outputs = built->outputs;
    memset(built, 0, sizeof *built);
    built->raw = raw;
    built->outputs = outputs;
}

static int fail(lnf_built_commitment *built, lnf_commitment_fault fault, size_t index) {
    reset(built);
    built->fault = fault;
    built->fault_index = index;
    return 0;
}

int lnf_commitment_build(lnf_built_commitment *built, const lnf_commitment_side *side,
                         const lnf_commitment *commitment) {
    reset(built);
    assert(commitment->htlc_count <= LNF_COMMITMENT_HTLCS_MAX);
    assert(commitment->number >> 48 == 0);
    if (!is_balanced(side, commitment)) return fail(built, LNF_FAULT_BALANCE, 0);
    if (!add_outputs(built, side, commitment)) return fail(built, LNF_FAULT_POINT, 0);
    sort_outputs(built->outputs, built->output_count);
    return write_transaction(built, side, commitment->number) || fail(built, LNF_FAULT_OVERSPENT, 0);
}

void lnf_commitment_sighash(unsigned char *out32, const lnf_built_commitment *built, const lnf_commitment_side *side) {
    unsigned char prevouts32[32], sequences32[32], outputs32[32];
    const unsigned char *raw = built->raw;
    lnf_sighash_parts parts = {2,           lnf_load_le32(raw + 42),  lnf_load_le32(raw + built->raw_len - 4),
                               SIGHASH_ALL, side->channel_value_sat,  prevouts32,
                               sequences32, side->funding_outpoint36, outputs32};
    lnf_sha256d(prevouts32, side->funding_outpoint36, 36);
    lnf_sha256d(sequences32, raw + 42, 4);
    lnf_sha256d(outputs32, raw + built->outputs_at, built->raw_len - 4 - built->outputs_at);
    lnf_sighash_from_parts(out32, &parts, side->funding_script71, sizeof side->funding_script71);
}

/* ---- HTLC transactions ------------------------------------------------------------------------------------------ */

/* What one commitment's HTLC transactions share. */
typedef struct {
    const lnf_built_commitment *built;
    uint32_t feerate_per_kw, sequence;
    int anchors;
    unsigned char sequences32[32];
} htlc_hasher;

static void hasher_init(htlc_hasher *hasher, const lnf_built_commitment *built, const lnf_commitment_side *side,
                        uint32_t feerate_per_kw) {
    unsigned char sequence[4] = {0};
    *hasher = (htlc_hasher){built, feerate_per_kw, side->anchors ? 1 : 0, side->anchors, {0}};
    /* With anchors the signature is SINGLE|ANYONECANPAY, which leaves the hashes of outpoints and sequences zero. */
    if (!side->anchors) lnf_sha256d(hasher->sequences32, sequence, sizeof sequence);
}

static void htlc_sighash(unsigned char *out32, const htlc_hasher *hasher, size_t output_index) {
    const lnf_commitment_output *output = &hasher->built->outputs[output_index];
    const uint64_t fee_sat = lnf_htlc_tx_fee_sat(hasher->feerate_per_kw, output->offered, hasher->anchors);
    unsigned char script[LNF_SCRIPT_MAX], outpoint36[36], prevouts32[32] = {0}, outputs32[32], htlc_output[43];
    const size_t len =
        lnf_htlc_script(script, &hasher->built->scripts, output->offered, output->payment_hash160, output->cltv_expiry);
    lnf_sighash_parts parts = {HTLC_TX_VERSION,
                               hasher->sequence,
                               output->offered ? output->cltv_expiry : 0,
                               hasher->anchors ? SIGHASH_SINGLE_ANYONECANPAY : SIGHASH_ALL,
                               output->value_sat,
                               prevouts32,
                               hasher->sequences32,
                               outpoint36,
                               outputs32};
    memcpy(outpoint36, hasher->built->txid32, 32);
    lnf_store_le32(outpoint36 + 32, (uint32_t)output_index);
    if (!hasher->anchors) lnf_sha256d(prevouts32, outpoint36, sizeof outpoint36);
    lnf_put_output(htlc_output, output->value_sat - fee_sat, hasher->built->to_local34, 34);
    lnf_sha256d(outputs32, htlc_output, sizeof htlc_output);
    lnf_sighash_from_parts(out32, &parts, script, len);
}

/* ---- signatures ------------------------------------------------------------------------------------------------- */

static int verify_compact(const unsigned char *signature64, const unsigned char *message32,
                          const lnf_secp_pubkey *key) {
    lnf_secp_signature signature;
    return lnf_secp.ecdsa_signature_parse_compact(lnf_secp_ctx, &signature, signature64) &&
           lnf_secp.ecdsa_verify(lnf_secp_ctx, &signature, message32, key);
}

static int sign_compact(unsigned char *signature64, const unsigned char *message32, const unsigned char *key32) {
    lnf_secp_signature signature;
    return lnf_secp.ecdsa_sign(lnf_secp_ctx, &signature, message32, key32, NULL, NULL) &&
           lnf_secp.ecdsa_signature_serialize_compact(lnf_secp_ctx, signature64, &signature);
}

int lnf_commitment_verify(lnf_built_commitment *built, const lnf_commitment_side *side,
                          const lnf_commitment *commitment, const unsigned char *signature64,
                          const unsigned char *htlc_signatures64, size_t htlc_signature_count) {
    unsigned char sighash32[32];
    htlc_hasher hasher;
    size_t n = 0;
    if (!lnf_commitment_build(built, side, commitment)) return 0;
    if (htlc_signature_count != built->htlc_count)
        return fail(built, LNF_FAULT_HTLC_SIGNATURE_COUNT, built->htlc_count);
    lnf_commitment_sighash(sighash32, built, side);
    if (!verify_compact(signature64, sighash32, &side->countersignatory_funding))
        return fail(built, LNF_FAULT_SIGNATURE, 0);
    hasher_init(&hasher, built, side, commitment->feerate_per_kw);
    for (size_t i = 0; i < built->output_count; i++) {
        if (built->outputs[i].kind < 0) continue;
        htlc_sighash(sighash32, &hasher, i);
        if (!verify_compact(htlc_signatures64 + 64 * n, sighash32, &built->keys.countersignatory_htlc))
            return fail(built, LNF_FAULT_HTLC_SIGNATURE, n);
        n++;
    }
    assert(n == built->htlc_count);
    return 1;
}

static int sign_all(unsigned char *signature64, unsigned char *htlc_signatures64, const lnf_built_commitment *built,
                    const lnf_commitment_side *side, const lnf_commitment *commitment,
                    const unsigned char *funding_key32, const unsigned char *htlc_key32) {
    unsigned char sighash32[32];
    htlc_hasher hasher;
    lnf_commitment_sighash(sighash32, built, side);
    if (!sign_compact(signature64, sighash32, funding_key32)) return 0;
    hasher_init(&hasher, built, side, commitment->feerate_per_kw);
    for (size_t i = 0; i < built->output_count; i++) {
        if (built->outputs[i].kind < 0) continue;
        htlc_sighash(sighash32, &hasher, i);
        if (!sign_compact(htlc_signatures64, sighash32, htlc_key32)) return 0;
        htlc_signatures64 += 64;
    }
    return 1;
}

int lnf_commitment_sign(lnf_built_commitment *built, unsigned char *signature64, unsigned char *htlc_signatures64,
                        const lnf_commitment_side *side, const lnf_commitment *commitment,
                        const unsigned char *funding_key32, const unsigned char *htlc_base_key32) {
    unsigned char htlc_key32[32], tweak32[32];
    size_t htlc_count;
    int signed_all;
    memset(signature64, 0, 64);
    if (!lnf_commitment_build(built, side, commitment)) return 0;
    htlc_count = built->htlc_count;
    tweak_of(tweak32, commitment->per_commitment_point33, side->countersignatory165 + HTLC);
    memcpy(htlc_key32, htlc_base_key32, 32);
    signed_all = lnf_secp.ec_seckey_tweak_add(lnf_secp_ctx, htlc_key32, tweak32) &&
                 sign_all(signature64, htlc_signatures64, built, side, commitment, funding_key32, htlc_key32);
    lnf_wipe(htlc_key32, sizeof htlc_key32);
    if (signed_all) return 1;
    memset(signature64, 0, 64);
    memset(htlc_signatures64, 0, 64 * htlc_count);
    return fail(built, LNF_FAULT_KEY, 0);
}

int lnf_commitment_sign_broadcaster(lnf_built_commitment *built, unsigned char *signature64,
                                    const lnf_commitment_side *side, const lnf_commitment *commitment,
                                    const unsigned char *funding_key32) {
    unsigned char sighash32[32];
    memset(signature64, 0, 64);
    if (!lnf_commitment_build(built, side, commitment)) return 0;
    lnf_commitment_sighash(sighash32, built, side);
    if (sign_compact(signature64, sighash32, funding_key32)) return 1;
    memset(signature64, 0, 64);
    return fail(built, LNF_FAULT_KEY, 0);
}

int lnf_raw_sign_loop(unsigned char *signatures64, size_t count, const unsigned char *messages32,
                      const unsigned char *key32) {
    for (size_t i = 0; i < count; i++) {
        if (!sign_compact(signatures64 + 64 * i, messages32 + 32 * i, key32)) {
            memset(signatures64, 0, 64 * count);
            return 0;
        }
    }
    return 1;
}

int lnf_raw_verify_loop(size_t count, const unsigned char *signatures64, const unsigned char *messages32,
                        const unsigned char *point33) {
    lnf_secp_pubkey key;
    if (!lnf_point_parse(&key, point33)) return 0;
    for (size_t i = 0; i < count; i++) {
        if (!verify_compact(signatures64 + 64 * i, messages32 + 32 * i, &key)) return 0;
    }
    return 1;
}
