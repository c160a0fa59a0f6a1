// LDK's objects as plain values for JSON.

export const hex = (data) => Buffer.from(data).toString("hex");
export const reversedHex = (data) => Buffer.from(data).reverse().toString("hex");
export const bytes = (text) => new Uint8Array(Buffer.from(text, "hex"));

/** The name of a variant: LDK's classes are `Kind_Variant`. */
const variant = (object) => object.constructor.name.split("_").slice(1).join("_");
const some = (option) => (option && "some" in option ? option.some : null);

const FIELDS = {
  FundingGenerationReady: (e) => ({
    temporary_channel_id: hex(e.temporary_channel_id.get_a()), node_id: hex(e.counterparty_node_id),
    sat: e.channel_value_satoshis, script: hex(e.output_script) }),
  ChannelPending: (e) => ({ channel_id: hex(e.channel_id.get_a()), node_id: hex(e.counterparty_node_id) }),
  ChannelReady: (e) => ({ channel_id: hex(e.channel_id.get_a()), node_id: hex(e.counterparty_node_id) }),
  ChannelClosed: (e) => ({
    channel_id: hex(e.channel_id.get_a()), reason: variant(e.reason), detail: e.reason.err ?? e.reason.peer_msg?.get_a() ?? null }),
  PaymentClaimable: (e) => ({ payment_hash: hex(e.payment_hash), amount_msat: e.amount_msat }),
  PaymentClaimed: (e) => ({ payment_hash: hex(e.payment_hash), amount_msat: e.amount_msat }),
  PaymentSent: (e) => ({ payment_hash: hex(e.payment_hash), preimage: hex(e.payment_preimage), fee_msat: some(e.fee_paid_msat) }),
  PaymentFailed: (e, ldk) => ({
    payment_hash: hex(some(e.payment_hash) ?? []), reason: failureReason(ldk, some(e.reason)) }),
  PaymentPathFailed: (e) => ({
    payment_hash: hex(e.payment_hash), permanently: e.payment_failed_permanently, scid: some(e.short_channel_id)?.toString() ?? null,
    hops: e.path.get_hops().map((hop) => ({ node_id: hex(hop.get_pubkey()), scid: hop.get_short_channel_id().toString() })),
    ...pathFailure(e.failure) }),
  PaymentForwarded: (e) => ({ fee_msat: some(e.total_fee_earned_msat), amount_msat: some(e.outbound_amount_forwarded_msat) }),
  HTLCHandlingFailed: (e) => ({ destination: variant(e.failed_next_destination) }),
};

function failureReason(ldk, reason) {
  if (reason === null) return null;
  return (ldk.PaymentFailureReason[reason] ?? String(reason)).replace("LDKPaymentFailureReason_", "");
}

function pathFailure(failure) {
  const update = some(failure.network_update);
  const about = update === null ? null : { kind: variant(update), scid: update.short_channel_id?.toString() ?? null,
    node_id: update.node_id ? hex(update.node_id) : null, permanent: update.is_permanent };
  return { failure: variant(failure), about };
}

export function describeEvent(ldk, event) {
  const name = variant(event);
  return { event: name, ...(FIELDS[name]?.(event, ldk) ?? {}) };
}

export function describeChannel(ldk, channel) {
  const counterparty = channel.get_counterparty();
  const type = channel.get_channel_type();
  return {
    channel_id: hex(channel.get_channel_id().get_a()),
    node_id: hex(counterparty.get_node_id()),
    channel_type: type ? hex(type.write()) : null,
    scid: some(channel.get_short_channel_id())?.toString() ?? null,
    sat: channel.get_channel_value_satoshis(),
    feerate_per_kw: some(channel.get_feerate_sat_per_1000_weight()),
    outbound_msat: channel.get_outbound_capacity_msat(),
    inbound_msat: channel.get_inbound_capacity_msat(),
    next_limit_msat: channel.get_next_outbound_htlc_limit_msat(),
    next_minimum_msat: channel.get_next_outbound_htlc_minimum_msat(),
    ready: channel.get_is_channel_ready(),
    usable: channel.get_is_usable(),
    opener: channel.get_is_outbound(),
    pending_in: channel.get_pending_inbound_htlcs().length,
    pending_out: channel.get_pending_outbound_htlcs().length,
  };
}
