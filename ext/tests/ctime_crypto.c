/* Under valgrind with every secret undefined: a branch or an address that depends on one is an error. */
#include <valgrind/memcheck.h>

#define TOY_PUBLIC(memory, len) ((void)VALGRIND_MAKE_MEM_DEFINED(memory, len))
#define TOY_SECRET(memory, len) ((void)VALGRIND_MAKE_MEM_UNDEFINED(memory, len))
#include "toy_secp.h"

#define SECRET(x) TOY_SECRET(&(x), sizeof(x))
#define PUBLIC(x) TOY_PUBLIC(&(x), sizeof(x))

static void hashes(void) {
    unsigned char key[100], data[200], out[64];
    fill(key, sizeof key, 1);
    fill(data, sizeof data, 2);
    SECRET(key);
    SECRET(data);
    lnf_sha256(out, data, sizeof data);
    lnf_sha256d(out, data, sizeof data);
    lnf_hmac_sha256(out, key, 32, data, sizeof data);
    lnf_hmac_sha256(out, key, sizeof key, data, sizeof data);
    lnf_hkdf_sha256(out, key, 32, data, 32);
}

static void aead(void) {
    static const size_t LENS[] = {0, 1, 2, 16, 33, 64, 140, 448, 500, 1024, 1366, 3000};
    unsigned char key[32], nonce[12] = {0}, ad[32], plain[3000], cipher[3016], back[3000];
    fill(key, sizeof key, 3);
    fill(ad, sizeof ad, 4);
    fill(plain, sizeof plain, 5);
    SECRET(key);
    SECRET(plain);
    for (size_t i = 0; i < sizeof LENS / sizeof *LENS; i++) {
        lnf_aead_encrypt(cipher, plain, LENS[i], ad, sizeof ad, key, nonce);
        PUBLIC(cipher);
        CHECK(lnf_aead_decrypt(back, cipher, LENS[i], ad, sizeof ad, key, nonce));
        cipher[LENS[i]] ^= 1;
        CHECK(!lnf_aead_decrypt(back, cipher, LENS[i], ad, sizeof ad, key, nonce));
        lnf_chacha20_xor(back, NULL, LENS[i], key, nonce, 1);
    }
}

static void handshake_and_messages(void) {
    unsigned char ls[32] = {1}, le[32] = {2}, rs[32] = {3}, re[32] = {4}, rs33[33], ls33[33];
    unsigned char act_one[50], act_two[50], act_three[66];
    lnf_noise_handshake a, b;
    lnf_noise_cipher send, receive, other_send, other_receive;
    lnf_noise_error error;
    toy_encode(rs33, toy_power(3, rs));
    SECRET(ls);
    SECRET(le);
    SECRET(rs);
    SECRET(re);
    CHECK(lnf_noise_initiate(&a, act_one, le, ls, rs33));
    PUBLIC(act_one);
    CHECK(lnf_noise_respond(&b, re, rs));
    CHECK(lnf_noise_act_two(act_two, &error, &b, act_one));
    PUBLIC(act_two);
    CHECK(lnf_noise_act_three(act_three, &send, &receive, &error, &a, act_two));
    PUBLIC(act_three);
    CHECK(lnf_noise_finish(ls33, &other_send, &other_receive, &error, &b, act_three));

    unsigned char text[600], frames[520 * 34 + 3 * 600], plain[LNF_NOISE_MAX_MESSAGE_BYTES];
    const unsigned char *messages[520];
    size_t lens[520], got[520], n, used, total = 0;
    fill(text, sizeof text, 6);
    SECRET(text);
    for (size_t i = 0; i < 520; i++) {
        messages[i] = text;
        lens[i] = i < 3 ? 200 * i : i % 2;
        total += lens[i] + LNF_NOISE_OVERHEAD_BYTES;
    }
    CHECK(total <= sizeof frames);
    lnf_noise_encrypt(frames, &send, messages, lens, 520);
    PUBLIC(frames);
    CHECK(lnf_noise_decrypt(plain, got, &n, &used, &other_receive, frames, total, sizeof plain, 520));
    CHECK(n == 520 && used == total);
}

static void test(void) {
    hashes();
    aead();
    handshake_and_messages();
}

int main(void) {
    /* Outside valgrind nothing would be found, and it would look like success. */
    CHECK(RUNNING_ON_VALGRIND);
    toy_secp_install();
    on_every_level(test);
    return 0;
}
