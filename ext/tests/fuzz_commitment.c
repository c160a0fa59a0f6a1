/* Commitments out of any channel, balances and HTLCs: what is built parses, pays what the channel has and not a satoshi
 * more, leaves out just what BOLT 3 calls dust, and is the same for both who sign it. */
#include "fuzz_source.h"
#include "toy_secp.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t len);

#define ALL_COINS_SAT 2100000000000000ull
#define ANCHOR_SAT 330u
#define FEW_HTLCS 12

/* The secrets of one party, in the order of its points, and those points. */
typedef struct {
    unsigned char secrets[5][32], points165[165];
} party;

enum { FUNDING, REVOCATION, PAYMENT, DELAYED, HTLC };

typedef struct {
    party broadcaster, countersignatory;
    unsigned char per_commitment33[33];
    lnf_commitment_side side;
    lnf_commitment commitment;
    lnf_commitment_htlc *htlcs;
} channel;

static void next_secret(unsigned char *secret32, source *from) {
    memset(secret32, 0, 32);
    lnf_store_be64(secret32 + 24, 1 + next_number(from, 2));
}

static void next_party(party *out, source *from) {
    for (int i = 0; i < 5; i++) {
        next_secret(out->secrets[i], from);
        CHECK(lnf_pubkey_create(out->points165 + 33 * i, out->secrets[i]));
    }
}

/* Around the amount below which an output of this kind is left out. */
static uint64_t next_amount_msat(const lnf_commitment_side *side, int offered, uint32_t feerate, source *from) {
    const uint64_t edge_sat = side->dust_limit_sat + lnf_htlc_tx_fee_sat(feerate, offered, side->anchors);
    switch (next(from) % 4) {
    case 0: return 1000 * edge_sat + next(from);
    case 1: return edge_sat == 0 ? 0 : 1000 * edge_sat - 1 - next(from) % 1000;
    case 2: return next_number(from, 3);
    default: return next_number(from, 5);
    }
}

static size_t next_count(source *from) {
    const unsigned kind = next(from);
    return kind < 250 ? kind % (FEW_HTLCS + 1) : kind == 255 ? LNF_COMMITMENT_HTLCS_MAX : kind;
}

/* Few hashes and expiries, so that some are alike. The amounts add up to the channel's value unless `kind` says no. */
static void next_commitment(channel *out, source *from) {
    lnf_commitment *commitment = &out->commitment;
    commitment->number = next_number(from, 6);
    commitment->feerate_per_kw = (uint32_t)next_number(from, next(from) % 8 == 0 ? 4 : 2);
    commitment->per_commitment_point33 = out->per_commitment33;
    commitment->htlc_count = next_count(from);
    out->htlcs = (lnf_commitment_htlc *)exact(commitment->htlc_count * sizeof *out->htlcs);
    commitment->htlcs = out->htlcs;
    uint64_t rest_msat = 1000 * out->side.channel_value_sat;
    for (size_t i = 0; i < commitment->htlc_count; i++) {
        lnf_commitment_htlc *htlc = &out->htlcs[i];
        memset(htlc, 0, sizeof *htlc);
        htlc->offered = next(from) & 1;
        htlc->amount_msat = next_amount_msat(&out->side, htlc->offered != 0, commitment->feerate_per_kw, from);
        if (htlc->amount_msat > rest_msat) htlc->amount_msat = rest_msat;
        rest_msat -= htlc->amount_msat;
        htlc->payment_hash32[0] = (unsigned char)(next(from) & 3);
        if (i > 0 && next(from) % 4 == 0 && htlc[-1].amount_msat <= rest_msat + htlc->amount_msat) {
            rest_msat += htlc->amount_msat - htlc[-1].amount_msat;
            *htlc = htlc[-1];
        }
        htlc->cltv_expiry = 500 + (next(from) & 3);
    }
    const uint64_t part = next_number(from, 2);
    commitment->to_broadcaster_msat = rest_msat / 65535 * part + (part == 65535 ? rest_msat % 65535 : 0);
    commitment->to_countersignatory_msat = rest_msat - commitment->to_broadcaster_msat;
}

static void next_channel(channel *out, source *from) {
    unsigned char txid32[32], secret32[32];
    memset(out, 0, sizeof *out);
    next_party(&out->broadcaster, from);
    next_party(&out->countersignatory, from);
    next_secret(secret32, from);
    CHECK(lnf_pubkey_create(out->per_commitment33, secret32));
    next_bytes(txid32, sizeof txid32, from);
    const unsigned kind = next(from);
    const uint64_t value_sat = next_number(from, kind & 4 ? 7 : 3) % (ALL_COINS_SAT + 1);
    CHECK(lnf_commitment_side_init(&out->side, txid32, next(from), value_sat, out->broadcaster.points165,
                                   out->countersignatory.points165, next_number(from, 2), next(from) << 8, kind & 1,
                                   kind >> 1 & 1));
    next_commitment(out, from);
}

static void make_room(lnf_built_commitment *built, const lnf_commitment *commitment) {
    built->raw = exact(LNF_COMMITMENT_RAW_MAX(commitment->htlc_count));
    built->outputs = (lnf_commitment_output *)exact((commitment->htlc_count + LNF_COMMITMENT_OTHER_OUTPUTS) *
                                                    sizeof *built->outputs);
}

static void give_back(lnf_built_commitment *built) {
    free(built->raw);
    free(built->outputs);
}

static void check_failed(const lnf_built_commitment *built, lnf_commitment_fault fault) {
    CHECK(built->fault == fault && built->raw_len == 0 && built->output_count == 0 && built->htlc_count == 0);
    CHECK(is_zero(built->txid32, 32) && is_zero((const unsigned char *)&built->keys, sizeof built->keys));
}

/* ---- what BOLT 3 says, in another way --------------------------------------------------------------------------- */

typedef struct {
    uint64_t local_sat, remote_sat, htlcs_sat;
    size_t htlc_count;
    int has_local, has_remote;
} expected;

static void expect(expected *out, const channel *of) {
    const lnf_commitment_side *side = &of->side;
    const uint64_t feerate = of->commitment.feerate_per_kw;
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < of->commitment.htlc_count; i++) {
        const lnf_commitment_htlc *htlc = &of->htlcs[i];
        const uint64_t fee_sat = side->anchors ? 0 : feerate * (htlc->offered ? 663 : 703) / 1000;
        if (htlc->amount_msat < 1000 * (side->dust_limit_sat + fee_sat)) continue;
        out->htlcs_sat += htlc->amount_msat / 1000;
        out->htlc_count++;
    }
    const uint64_t weight = (side->anchors ? 1124 : 724) + 172 * out->htlc_count;
    const uint64_t cost_sat = feerate * weight / 1000 + (side->anchors ? 2 * ANCHOR_SAT : 0);
    out->local_sat = of->commitment.to_broadcaster_msat / 1000;
    out->remote_sat = of->commitment.to_countersignatory_msat / 1000;
    uint64_t *payer = side->broadcaster_is_opener ? &out->local_sat : &out->remote_sat;
    *payer = *payer < cost_sat ? 0 : *payer - cost_sat;
    out->has_local = out->local_sat > 0 && out->local_sat >= side->dust_limit_sat;
    out->has_remote = out->remote_sat > 0 && out->remote_sat >= side->dust_limit_sat;
}

static void check_outputs(const lnf_built_commitment *built, const channel *of) {
    expected want;
    expect(&want, of);
    const int anchors = of->side.anchors, any = want.htlc_count > 0;
    uint64_t htlcs_sat = 0, total_sat = 0;
    size_t htlcs = 0;
    int local = 0, remote = 0, local_anchor = 0, remote_anchor = 0;
    for (size_t i = 0; i < built->output_count; i++) {
        const lnf_commitment_output *output = &built->outputs[i];
        total_sat += output->value_sat;
        if (output->kind >= 0) {
            const lnf_commitment_htlc *htlc = &of->htlcs[output->kind];
            CHECK(output->value_sat == htlc->amount_msat / 1000 && output->cltv_expiry == htlc->cltv_expiry);
            htlcs_sat += output->value_sat;
            htlcs++;
        }
        local += output->kind == LNF_OUTPUT_TO_LOCAL && output->value_sat == want.local_sat;
        remote += output->kind == LNF_OUTPUT_TO_REMOTE && output->value_sat == want.remote_sat;
        local_anchor += output->kind == LNF_OUTPUT_TO_LOCAL_ANCHOR && output->value_sat == ANCHOR_SAT;
        remote_anchor += output->kind == LNF_OUTPUT_TO_REMOTE_ANCHOR && output->value_sat == ANCHOR_SAT;
    }
    CHECK(local == want.has_local && remote == want.has_remote);
    CHECK(local_anchor == (anchors && (want.has_local || any)) &&
          remote_anchor == (anchors && (want.has_remote || any)));
    CHECK(htlcs == want.htlc_count && htlcs == built->htlc_count && htlcs_sat == want.htlcs_sat);
    CHECK(built->output_count == htlcs + (size_t)(local + remote + local_anchor + remote_anchor));
    CHECK(total_sat <= of->side.channel_value_sat && built->fee_sat == of->side.channel_value_sat - total_sat);
}

/* ---- what tx.c and keys.c say ----------------------------------------------------------------------------------- */

static void check_transaction(const lnf_built_commitment *built, const channel *of) {
    const char *why;
    unsigned char hash32[32], other32[32];
    lnf_tx tx;
    lnf_tx_in input;
    CHECK(built->raw_len <= LNF_COMMITMENT_RAW_MAX(built->htlc_count));
    if (!lnf_tx_parse(&tx, &why, built->raw, built->raw_len)) {
        CHECK(built->output_count == 0);
        return;
    }
    CHECK(tx.version == 2 && tx.input_count == 1 && tx.output_count == built->output_count && !tx.has_witness);
    CHECK(lnf_tx_input(&input, &tx, tx.inputs_at) == tx.inputs_at + 41);
    CHECK(memcmp(input.outpoint36, of->side.funding_outpoint36, 36) == 0 && input.script_len == 0);
    /* BOLT 3: the number, obscured, in the lower parts of both. */
    const uint64_t obscured = (uint64_t)(input.sequence & 0xffffff) << 24 | (tx.lock_time & 0xffffff);
    CHECK(input.sequence >> 24 == 0x80 && tx.lock_time >> 24 == 0x20);
    CHECK((obscured ^ of->side.obscure_factor) == of->commitment.number);
    size_t at = tx.outputs_at;
    uint64_t before_sat = 0;
    for (size_t i = 0; i < tx.output_count; i++) {
        const lnf_commitment_output *output = &built->outputs[i];
        lnf_tx_out found;
        at = lnf_tx_output(&found, &tx, at);
        CHECK(found.value_sat == output->value_sat && found.value_sat >= before_sat);
        CHECK(found.script_len == output->script_len && memcmp(found.script, output->script, found.script_len) == 0);
        before_sat = found.value_sat;
    }
    lnf_tx_txid(hash32, &tx);
    CHECK(memcmp(hash32, built->txid32, 32) == 0);
    lnf_commitment_sighash(hash32, built, &of->side);
    CHECK(lnf_tx_sighash_bip143(other32, &tx, 0, of->side.funding_script71, sizeof of->side.funding_script71,
                                of->side.channel_value_sat, LNF_SIGHASH_ALL));
    CHECK(memcmp(hash32, other32, 32) == 0);
}

static void check_keys(const channel *of) {
    const unsigned char *point33 = of->per_commitment33;
    const unsigned char *ours = of->broadcaster.points165, *theirs = of->countersignatory.points165;
    unsigned char expected33[33];
    lnf_commitment_keys keys;
    if (!lnf_commitment_derive_keys(&keys, &of->side, point33)) return;
    CHECK(lnf_derive_revocation_public_key(expected33, theirs + 33 * REVOCATION, point33));
    CHECK(memcmp(expected33, keys.revocation33, 33) == 0);
    CHECK(lnf_derive_public_key(expected33, ours + 33 * DELAYED, point33));
    CHECK(memcmp(expected33, keys.delayed33, 33) == 0);
    CHECK(lnf_derive_public_key(expected33, ours + 33 * HTLC, point33));
    CHECK(memcmp(expected33, keys.broadcaster_htlc33, 33) == 0);
    CHECK(lnf_derive_public_key(expected33, theirs + 33 * HTLC, point33));
    CHECK(memcmp(expected33, keys.countersignatory_htlc33, 33) == 0);
}

/* ---- both sides ------------------------------------------------------------------------------------------------- */

/* The HTLCs in another order: the transaction is the same. */
static void check_order(const lnf_built_commitment *built, const channel *of, size_t turn) {
    const size_t count = of->commitment.htlc_count;
    if (count < 2) return;
    lnf_built_commitment again;
    lnf_commitment turned = of->commitment;
    lnf_commitment_htlc *htlcs = (lnf_commitment_htlc *)exact(count * sizeof *htlcs);
    for (size_t i = 0; i < count; i++) htlcs[i] = of->htlcs[(i + turn) % count];
    turned.htlcs = htlcs;
    make_room(&again, &turned);
    CHECK(lnf_commitment_build(&again, &of->side, &turned));
    CHECK(again.raw_len == built->raw_len && memcmp(again.raw, built->raw, built->raw_len) == 0);
    /* Nor do the HTLCs' signatures change places. */
    for (size_t i = 0; i < built->output_count; i++)
        CHECK(again.outputs[i].cltv_expiry == built->outputs[i].cltv_expiry);
    give_back(&again);
    free(htlcs);
}

/* What the countersignatory signs the broadcaster verifies; a changed bit or another number is refused by name. */
static void check_signatures(const lnf_built_commitment *built, const channel *of, size_t at, unsigned bit) {
    const lnf_commitment *commitment = &of->commitment;
    const unsigned char *funding32 = of->countersignatory.secrets[FUNDING];
    lnf_built_commitment other;
    unsigned char signature64[64], *htlc_signatures64 = exact(64 * commitment->htlc_count);
    make_room(&other, commitment);
    CHECK(lnf_commitment_sign(&other, signature64, htlc_signatures64, &of->side, commitment, funding32,
                              of->countersignatory.secrets[HTLC]));
    CHECK(other.raw_len == built->raw_len && memcmp(other.raw, built->raw, built->raw_len) == 0);
    const size_t count = other.htlc_count;
    CHECK(lnf_commitment_verify(&other, &of->side, commitment, signature64, htlc_signatures64, count));
    CHECK(!lnf_commitment_verify(&other, &of->side, commitment, signature64, htlc_signatures64, count + 1));
    CHECK(other.fault_index == count);
    check_failed(&other, LNF_FAULT_HTLC_SIGNATURE_COUNT);
    at %= 64 * (count + 1);
    *(at < 64 ? signature64 + at : htlc_signatures64 + at - 64) ^= (unsigned char)bit;
    CHECK(!lnf_commitment_verify(&other, &of->side, commitment, signature64, htlc_signatures64, count));
    CHECK(other.fault_index == (at < 64 ? 0 : at / 64 - 1));
    check_failed(&other, at < 64 ? LNF_FAULT_SIGNATURE : LNF_FAULT_HTLC_SIGNATURE);
    CHECK(
        lnf_commitment_sign_broadcaster(&other, signature64, &of->side, commitment, of->broadcaster.secrets[FUNDING]));
    CHECK(memcmp(other.txid32, built->txid32, 32) == 0);
    give_back(&other);
    free(htlc_signatures64);
}

/* Amounts that do not add up, or only modulo 2^64: refused. The difference is below 2^63. */
static void check_unbalanced(channel *of, uint64_t difference, unsigned where) {
    lnf_built_commitment built;
    lnf_commitment wrong = of->commitment;
    if (difference == 0) return;
    uint64_t *more = where & 1 ? &wrong.to_broadcaster_msat : &wrong.to_countersignatory_msat;
    uint64_t *less = of->commitment.htlc_count > 0 ? &of->htlcs[0].amount_msat : &wrong.to_broadcaster_msat;
    const uint64_t before = *less;
    *more += difference;
    if (where & 4 && more != less && difference > *less) *less -= difference;
    make_room(&built, &wrong);
    CHECK(!lnf_commitment_build(&built, &of->side, &wrong));
    check_failed(&built, LNF_FAULT_BALANCE);
    give_back(&built);
    if (of->commitment.htlc_count > 0) of->htlcs[0].amount_msat = before;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t len) {
    source from = {data, len};
    channel of;
    lnf_built_commitment built;
    toy_secp_install();
    next_level(&from);
    next_channel(&of, &from);
    check_keys(&of);
    const size_t turn = 1 + next(&from), at = (size_t)next_number(&from, 2);
    const unsigned bit = 1u << next(&from) % 8, where = next(&from);
    check_unbalanced(&of, next_number(&from, where & 2 ? 8 : 1) >> 1, where);
    if (where % 16 == 15) of.per_commitment33[0] = 5;
    make_room(&built, &of.commitment);
    if (lnf_commitment_build(&built, &of.side, &of.commitment)) {
        check_outputs(&built, &of);
        check_transaction(&built, &of);
        if (where % 16 != 15) {
            check_order(&built, &of, turn);
            check_signatures(&built, &of, at, bit);
        }
    } else if (built.fault == LNF_FAULT_POINT) {
        CHECK(where % 16 == 15);
        check_failed(&built, LNF_FAULT_POINT);
    } else {
        /* Of BOLT 3's costs the anchors alone are not bounded by what the opener has. */
        expected want;
        expect(&want, &of);
        check_failed(&built, LNF_FAULT_OVERSPENT);
        CHECK(of.side.anchors && (of.side.broadcaster_is_opener ? want.local_sat : want.remote_sat) == 0);
    }
    give_back(&built);
    free(of.htlcs);
    return 0;
}
