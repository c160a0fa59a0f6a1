/* HTLC scripts by the hundred: one commitment's HTLC scripts differ in the payment hash and the expiry alone. */
#ifndef LNF_SCRIPT_H
#define LNF_SCRIPT_H

#include "lnfast.h"

void lnf_htlc_scripts_init(lnf_htlc_scripts *scripts, const unsigned char *revocation33,
                           const unsigned char *broadcaster_htlc33, const unsigned char *countersignatory_htlc33,
                           int anchors);
/* Returns the length. payment_hash160 is RIPEMD160(payment_hash). */
size_t lnf_htlc_script(unsigned char *script, const lnf_htlc_scripts *scripts, int offered,
                       const unsigned char *payment_hash160, uint32_t cltv_expiry);
/* The P2WSH program of a script made by lnf_htlc_script from the same `scripts`. */
void lnf_htlc_program(unsigned char *program34, const lnf_htlc_scripts *scripts, const unsigned char *script,
                      size_t len);

#endif
