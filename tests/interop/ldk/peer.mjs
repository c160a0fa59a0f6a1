// An LDK node as a process: requests come in on stdin and answers and events go out on stdout, a JSON object a line.
//
//   node --expose-gc peer.mjs '{"seed": "<64 hex digits>", "tip": {"hash": "...", "height": 120}, ...}'
//
// request {"id", "method", "params"}   answer {"id", "result"} or {"id", "error"}   event {"event", ...}
// What LDK logs goes to stderr. Listens on loopback only. Settings and methods: SETTINGS and `methods` below.
import * as fs from "fs";
import * as path from "path";
import * as readline from "readline";
import { createRequire } from "module";
import { Net } from "./net.mjs";
import { SnapshotStore } from "./snapshot.mjs";
import { describeChannel, describeEvent, hex, reversedHex, bytes } from "./views.mjs";

console.log = console.error; // the bindings print with console.log, and stdout belongs to the protocol
const ldk = await import("lightningdevkit");

const SETTINGS = {
  seed: null,
  tip: null, // where a new node begins
  data_dir: "", // empty: nothing is kept
  port: 0,
  anchors: true,
  minimum_depth: 1,
  feerate_per_kw: 1000,
  log_level: 3, // 0 is gossip, 5 is errors only
};
const settings = { ...SETTINGS, ...JSON.parse(process.argv[2] ?? "{}") };
const unknown = Object.keys(settings).filter((name) => !(name in SETTINGS));
if (unknown.length || !settings.seed) throw new Error(`unknown settings [${unknown}], or no seed`);

const wasm = path.join(path.dirname(createRequire(import.meta.url).resolve("lightningdevkit/package.json")), "liblightningjs.wasm");
await ldk.initializeWasmFromBinary(fs.readFileSync(wasm));

function say(object) {
  const plain = (_, value) => (typeof value === "bigint" ? Number(value) : value);
  process.stdout.write(JSON.stringify(object, plain) + "\n");
}

/** The value of an LDK result, or an exception with what its error says. */
function take(result, what) {
  if (result.is_ok()) return result.res;
  const err = result.err;
  const detail = err && typeof err === "object" ? err.err ?? err.constructor.name : err;
  throw new Error(`${what}: ${detail}`);
}

// --- what LDK asks of the world

let feeratePerKw = settings.feerate_per_kw;
const target = ldk.ConfirmationTarget;
const FLOORED = new Set([
  target.LDKConfirmationTarget_MinAllowedAnchorChannelRemoteFee,
  target.LDKConfirmationTarget_MinAllowedNonAnchorChannelRemoteFee,
  target.LDKConfirmationTarget_ChannelCloseMinimum,
]);
const feeEstimator = ldk.FeeEstimator.new_impl({
  get_est_sat_per_1000_weight(wanted) {
    if (FLOORED.has(wanted)) return 253;
    return wanted === target.LDKConfirmationTarget_MaximumFeeEstimate ? 25000 : feeratePerKw;
  },
});
const broadcaster = ldk.BroadcasterInterface.new_impl({
  broadcast_transactions(transactions) {
    say({ event: "broadcast", transactions: transactions.map(hex) });
  },
});
const logger = ldk.Logger.new_impl({
  log(record) {
    if (record.get_level() < settings.log_level) return;
    process.stderr.write(`${record.get_level()} ${record.get_module_path()}:${record.get_line()} ${record.get_args()}\n`);
  },
});

// LDK here has neither a clock nor a source of chance: this moment and the seed are all of its entropy.
const startedMs = Date.now();
const startedSecs = Math.floor(startedMs / 1000);
const keys = ldk.KeysManager.constructor_new(bytes(settings.seed), BigInt(startedSecs), (startedMs % 1000) * 1000000);
const entropy = keys.as_EntropySource(), nodeSigner = keys.as_NodeSigner(), signerProvider = keys.as_SignerProvider();

const store = new SnapshotStore(ldk, settings.data_dir);
const chainMonitor = ldk.ChainMonitor.constructor_new(ldk.Option_FilterZ.constructor_none(), broadcaster, logger, feeEstimator, store.persist);
const network = ldk.Network.LDKNetwork_Regtest;
const graph = ldk.NetworkGraph.constructor_new(network, logger);
const scorer = ldk.MultiThreadedLockableScore.constructor_new(
  ldk.ProbabilisticScorer.constructor_new(ldk.ProbabilisticScoringDecayParameters.constructor_default(), graph, logger).as_Score());
const router = ldk.DefaultRouter.constructor_new(graph, logger, entropy, scorer.as_LockableScore(), ldk.ProbabilisticScoringFeeParameters.constructor_default());
const messageRouter = ldk.DefaultMessageRouter.constructor_new(graph, entropy);

function userConfig() {
  const config = ldk.UserConfig.constructor_default();
  const handshake = config.get_channel_handshake_config();
  handshake.set_minimum_depth(settings.minimum_depth);
  handshake.set_negotiate_anchors_zero_fee_htlc_tx(settings.anchors);
  handshake.set_announce_for_forwarding(false);
  handshake.set_max_inbound_htlc_value_in_flight_percent_of_channel(100);
  handshake.set_our_max_accepted_htlcs(400);
  config.set_channel_handshake_config(handshake);
  const limits = config.get_channel_handshake_limits();
  limits.set_force_announced_channel_preference(false);
  config.set_channel_handshake_limits(limits);
  config.set_manually_accept_inbound_channels(true); // LDK refuses inbound anchor channels otherwise
  config.set_accept_forwards_to_priv_channels(true);
  return config;
}

function newManager() {
  const best = ldk.BestBlock.constructor_new(bytes(settings.tip.hash).reverse(), settings.tip.height);
  return ldk.ChannelManager.constructor_new(feeEstimator, chainMonitor.as_Watch(), broadcaster, router.as_Router(), messageRouter.as_MessageRouter(),
    logger, entropy, nodeSigner, signerProvider, userConfig(), ldk.ChainParameters.constructor_new(network, best), startedSecs);
}

function restoredManager(snapshot) {
  const monitors = snapshot.monitors.map((raw) =>
    take(ldk.UtilMethods.constructor_C2Tuple_ThirtyTwoBytesChannelMonitorZ_read(raw, entropy, signerProvider), "monitor").get_b());
  const read = take(ldk.UtilMethods.constructor_C2Tuple_ThirtyTwoBytesChannelManagerZ_read(snapshot.manager, entropy, nodeSigner, signerProvider,
    feeEstimator, chainMonitor.as_Watch(), broadcaster, router.as_Router(), messageRouter.as_MessageRouter(), logger, userConfig(), monitors), "manager");
  for (const monitor of monitors) take(chainMonitor.as_Watch().watch_channel(monitor.get_funding_txo().get_a(), monitor), "watch_channel");
  return read.get_b();
}

const snapshot = store.load();
const manager = snapshot ? restoredManager(snapshot) : newManager();
const ignorer = ldk.IgnoringMessageHandler.constructor_new();
const peers = ldk.PeerManager.constructor_new(manager.as_ChannelMessageHandler(), ignorer.as_RoutingMessageHandler(), ignorer.as_OnionMessageHandler(),
  ignorer.as_CustomMessageHandler(), startedSecs, entropy.get_secure_random_bytes(), logger, nodeSigner);
const net = new Net(ldk, peers, turn);
const managerListen = manager.as_Listen(), monitorListen = chainMonitor.as_Listen();
const managerEvents = manager.as_EventsProvider(), monitorEvents = chainMonitor.as_EventsProvider();

// --- events

let holdPayments = false;
const eventHandler = ldk.EventHandler.new_impl({
  handle_event(event) {
    try {
      onEvent(event);
    } catch (error) {
      say({ event: "driver_error", error: String(error.stack ?? error) });
    }
    return ldk.Result_NoneReplayEventZ.constructor_ok();
  },
});

function onEvent(event) {
  if (event instanceof ldk.Event_PendingHTLCsForwardable) {
    setTimeout(() => { manager.process_pending_htlc_forwards(); turn(); }, 5); // LDK would wait longer, to batch and to hide its timing
    return;
  }
  say(describeEvent(ldk, event));
  if (event instanceof ldk.Event_OpenChannelRequest) {
    take(manager.accept_inbound_channel(event.temporary_channel_id, event.counterparty_node_id, 0n), "accept_inbound_channel");
  } else if (event instanceof ldk.Event_PaymentClaimable && !holdPayments) {
    claim(event);
  }
}

function claim(event) {
  const preimage = event.purpose.preimage();
  if (preimage instanceof ldk.Option_ThirtyTwoBytesZ_Some) manager.claim_funds(preimage.some);
  else manager.fail_htlc_backwards(event.payment_hash);
}

let turning = false;
/** Events, then messages, then what must be kept; only then do the messages leave. */
function turn() {
  if (turning) return;
  turning = true;
  try {
    managerEvents.process_pending_events(eventHandler);
    monitorEvents.process_pending_events(eventHandler);
    peers.process_events();
    store.save(manager);
    net.flush();
  } finally {
    turning = false;
  }
}

// --- what the tests ask for

function channelOf(id) {
  const channel = manager.list_channels().find((each) => hex(each.get_channel_id().get_a()) === id);
  if (!channel) throw new Error(`no channel ${id}`);
  return channel;
}

function invoiceOf(text) {
  return take(ldk.Bolt11Invoice.constructor_from_str(text), "invoice");
}

const optionU64 = (value) => value == null ? ldk.Option_u64Z.constructor_none() : ldk.Option_u64Z.constructor_some(BigInt(value));

const methods = {
  connect: ({ port, node_id }) => net.connect(port, bytes(node_id)),
  disconnect: ({ node_id }) => peers.disconnect_by_node_id(bytes(node_id)),
  peers: () => peers.list_peers().map((peer) => hex(peer.get_counterparty_node_id())),
  channels: () => manager.list_channels().map((channel) => describeChannel(ldk, channel)),
  open: ({ node_id, sat, push_msat }) =>
    hex(take(manager.create_channel(bytes(node_id), BigInt(sat), BigInt(push_msat ?? 0), 1n, null, null), "create_channel").get_a()),
  fund: ({ temporary_channel_id, node_id, tx }) => {
    const id = ldk.ChannelId.constructor_new(bytes(temporary_channel_id));
    take(manager.funding_transaction_generated(id, bytes(node_id), bytes(tx)), "funding_transaction_generated");
  },
  close: ({ channel_id }) => {
    const channel = channelOf(channel_id);
    take(manager.close_channel(channel.get_channel_id(), channel.get_counterparty().get_node_id()), "close_channel");
  },
  invoice: ({ amount_msat, expiry_secs }) => {
    const none = ldk.Option_u16Z.constructor_none();
    return take(ldk.UtilMethods.constructor_create_invoice_from_channelmanager(manager, optionU64(amount_msat), "interop", expiry_secs ?? 3600, none), "invoice").to_str();
  },
  pay: ({ bolt11, amount_msat, attempts }) => {
    const invoice = invoiceOf(bolt11);
    const parameters = take(amount_msat == null
      ? ldk.UtilMethods.constructor_payment_parameters_from_invoice(invoice)
      : ldk.UtilMethods.constructor_payment_parameters_from_variable_amount_invoice(invoice, BigInt(amount_msat)), "payment_parameters");
    const hash = parameters.get_a();
    const sent = manager.send_payment(hash, parameters.get_b(), hash, parameters.get_c(), ldk.Retry.constructor_attempts(attempts ?? 0));
    if (!sent.is_ok()) throw new Error(`send_payment: ${ldk.RetryableSendFailure[sent.err]}`);
    return hex(hash);
  },
  hold_payments: ({ hold }) => { holdPayments = hold; },
  claim: ({ payment_preimage }) => manager.claim_funds(bytes(payment_preimage)),
  fail: ({ payment_hash }) => manager.fail_htlc_backwards(bytes(payment_hash)),
  block: ({ raw, height }) => {
    const block = bytes(raw);
    monitorListen.block_connected(block, height);
    managerListen.block_connected(block, height);
  },
  feerate: ({ feerate_per_kw }) => {
    feeratePerKw = feerate_per_kw;
    manager.timer_tick_occurred();
  },
  tip: () => {
    const best = manager.current_best_block();
    return { hash: reversedHex(best.get_block_hash()), height: best.get_height() };
  },
};

async function answer(line) {
  const { id, method, params } = JSON.parse(line);
  try {
    const result = await methods[method](params ?? {});
    turn();
    say({ id, result: result ?? null });
  } catch (error) {
    say({ id, error: String(error.message ?? error) });
  }
}

const port = await net.listen(settings.port);
setInterval(turn, 10);
setInterval(() => peers.timer_tick_occurred(), 10000); // pings
if (globalThis.gc) setInterval(globalThis.gc, 10000); // LDK's objects are freed by finalizers alone
say({ event: "ready", node_id: hex(manager.get_our_node_id()), port });
const input = readline.createInterface({ input: process.stdin });
input.on("line", answer);
input.on("close", () => process.exit(0)); // whoever started us is gone
