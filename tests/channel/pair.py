"""Two channels back to back: every message is encoded and decoded, every state goes through its record and back."""

from __future__ import annotations

import hashlib
from collections import deque

from msgspec.structs import replace

from pyln_fast.channel import channel
from pyln_fast.channel.actions import (
    Action,
    BroadcastTransaction,
    CreateMonitor,
    EmitEvent,
    HtlcCommitted,
    HtlcFulfilled,
    HtlcNotSent,
    HtlcRemoved,
    SaveChannel,
    SendMessage,
    UpdateMonitor,
)
from pyln_fast.channel.commands import (
    AcceptChannelCommand,
    AddHtlc,
    Command,
    FundingConfirmed,
    FundingTransactionGenerated,
    NewBlock,
    PeerConnected,
    PeerDisconnected,
    RemoveHtlc,
    SignCommitment,
)
from pyln_fast.channel.htlc import Fulfilled, OutboundPaymentHtlc
from pyln_fast.channel.state import AnyState, FundedState, WaitForChannelReady, WaitForFundingConfirmed
from pyln_fast.channel.states.wait_for_accept_channel import open_channel
from pyln_fast.channel.states.wait_for_open_channel import on_open_channel
from pyln_fast.channel.transition import Context, Feerates, Transition
from pyln_fast.config import ChannelConfig, ChannelHandshakeConfig, FeeRateMultiplier, FixedLimitMsat, UserConfig
from pyln_fast.events import Event, FundingGenerationReady
from pyln_fast.features import Feature, Features
from pyln_fast.records import decode as decode_record
from pyln_fast.records import encode as encode_record
from pyln_fast.sign.keys_manager import KeysManager
from pyln_fast.tx.transaction import Transaction, TxInput, serialize
from pyln_fast.types import (
    BlockHeight,
    ChannelId,
    FeeratePerKw,
    Msat,
    Network,
    NodeId,
    OutPoint,
    PaymentHash,
    PaymentId,
    PaymentPreimage,
    Sat,
    Secret,
    ShortChannelId,
    Txid,
    TxOut,
)
from pyln_fast.wire.channel_msgs import OpenChannel
from pyln_fast.wire.codec import decode, encode
from pyln_fast.wire.layout import Message

FEATURES = Features.of(
    optional=(
        Feature.OPTION_ANCHORS,
        Feature.OPTION_SUPPORT_LARGE_CHANNEL,
        Feature.OPTION_SHUTDOWN_ANYSEGWIT,
        Feature.OPTION_UPFRONT_SHUTDOWN_SCRIPT,
    )
).encode()

FEERATES = Feerates(
    FeeratePerKw(5000), FeeratePerKw(253), FeeratePerKw(253), FeeratePerKw(1000), FeeratePerKw(1000), FeeratePerKw(253)
)
HEIGHT = BlockHeight(500)


class Side:
    """One party: its state, what it has made durable, what it has told the world."""

    def __init__(self, name: str, config: UserConfig) -> None:
        self.name = name
        self.keys = KeysManager(Secret(hashlib.sha256(name.encode()).digest()), 1_700_000_000, 0)
        self.node_id: NodeId = self.keys.get_node_id()
        self.config = config
        self.feerates = FEERATES
        self.height = HEIGHT
        self.state: AnyState | None = None
        self.durable: bytes | None = None
        self.actions: list[Action] = []
        self.outbox: deque[bytes] = deque()
        self.connected = True

    @property
    def context(self) -> Context:
        alias = int.from_bytes(hashlib.sha256(self.name.encode() + b"alias").digest()[:8], "big") >> 1
        return Context(
            Network.REGTEST,
            self.height,
            self.feerates,
            self.config,
            self.keys,
            FEATURES,
            self.keys.get_shutdown_scriptpubkey(),
            ShortChannelId(alias),
            ChannelId(hashlib.sha256(self.name.encode() + b"temporary").digest()),
        )

    def take(self, transition: Transition[AnyState]) -> None:
        """The node's part: durable before seen."""
        self.state = transition.state
        saved = False
        for action in transition.actions:
            self.actions.append(action)
            if isinstance(action, SaveChannel):
                assert action.state == transition.state
                self.durable = encode_record(action.state)
                assert decode_record(FundedState, self.durable) == action.state
                saved = True
            elif isinstance(action, UpdateMonitor | CreateMonitor):
                assert not saved, "the monitor comes before the channel"
            elif isinstance(action, SendMessage):
                data = encode(action.message)
                assert decode(data) == action.message
                self._check_durable()
                if self.connected:
                    self.outbox.append(data)

    def _check_durable(self) -> None:
        """What a restart would find now is what a lost connection would leave: a message speaks of nothing else."""
        if self.durable is None:
            assert self.state is not None
            assert not hasattr(self.state, "data")
            return
        found = channel.loaded(decode_record(FundedState, self.durable)).state
        left = channel.loaded(self.state).state  # type: ignore[arg-type]
        assert found == left, "a message speaks of what is not durable"

    def receive(self, message: Message) -> None:
        assert self.state is not None
        self.take(channel.receive(self.state, message, self.context))

    def execute(self, command: Command) -> None:
        assert self.state is not None
        self.take(channel.execute(self.state, command, self.context))

    def sent(self) -> list[Message]:
        return [decode(data) for data in self.outbox]

    def events(self) -> list[Event]:
        return [action.event for action in self.actions if isinstance(action, EmitEvent)]

    def of(self, kind: type) -> list:
        return [action for action in self.actions if isinstance(action, kind)]

    def crash(self) -> None:
        """Only what is durable is left; the node would load it as offline."""
        self.outbox.clear()
        self.connected = False
        assert self.durable is not None
        loaded = decode_record(FundedState, self.durable)
        self.take(channel.loaded(loaded))


def configuration(anchors: bool = True, dust_msat: int | None = None, **changes: object) -> UserConfig:
    handshake = ChannelHandshakeConfig(
        **{"negotiate_anchors_zero_fee_htlc_tx": anchors, "our_max_accepted_htlcs": 483, **changes}
    )
    exposure = FeeRateMultiplier(10_000) if dust_msat is None else FixedLimitMsat(Msat(dust_msat))
    return UserConfig(channel_handshake_config=handshake, channel_config=ChannelConfig(max_dust_htlc_exposure=exposure))


class Pair:
    """Alice opens to Bob."""

    def __init__(
        self, anchors: bool = True, value_sat: int = 10_000_000, push_msat: int = 4_000_000_000, **changes: object
    ) -> None:
        self.alice = Side("alice", configuration(anchors, **changes))
        self.bob = Side("bob", configuration(anchors, **changes))
        self.value_sat = Sat(value_sat)
        self.preimages: dict[bytes, PaymentPreimage] = {}
        self._counter = 0
        keys_id = self.alice.keys.generate_channel_keys_id(False, 1)
        self.alice.take(
            open_channel(
                self.bob.node_id,
                self.value_sat,
                Msat(push_msat),
                1,
                keys_id,
                self.alice.config,
                self.alice.context,
            )
        )

    # --- the wire

    def deliver_one(self, sender: Side) -> Message | None:
        if not sender.outbox:
            return None
        message = decode(sender.outbox.popleft())
        receiver = self.bob if sender is self.alice else self.alice
        if isinstance(message, OpenChannel):
            receiver.take(on_open_channel(message, sender.node_id, receiver.context))
        else:
            receiver.receive(message)
        return message

    def deliver_all(self, sign: bool = True) -> None:
        """Until both are silent; each turn ends with signing what is pending."""
        while True:
            moved = False
            for side in (self.alice, self.bob):
                while self.deliver_one(side) is not None:
                    moved = True
            if sign:
                for side in (self.alice, self.bob):
                    if isinstance(side.state, WaitForFundingConfirmed | WaitForChannelReady):
                        continue
                    before = len(side.outbox)
                    side.execute(SignCommitment())
                    moved = moved or len(side.outbox) > before
            if not moved:
                return

    # --- steps

    def open(self) -> Pair:
        self.open_until_confirmed()
        self.deliver_all(sign=False)
        return self

    def open_until_created(self) -> None:
        """`funding_created` is on its way."""
        self.deliver_all(sign=False)
        keys_id = self.bob.keys.generate_channel_keys_id(True, 2)
        self.bob.execute(AcceptChannelCommand(2, keys_id))
        self.deliver_all(sign=False)
        ready = next(e for e in self.alice.events() if isinstance(e, FundingGenerationReady))
        self.alice.execute(FundingTransactionGenerated(funding_transaction(ready)))

    def open_until_funded(self) -> None:
        """Both first commitments are signed."""
        self.open_until_created()
        self.deliver_all(sign=False)

    def open_until_confirmed(self) -> None:
        """Each `channel_ready` is on its way."""
        self.open_until_funded()
        self.confirm()

    def confirm(self) -> None:
        for side in (self.alice, self.bob):
            side.execute(FundingConfirmed(BlockHeight(HEIGHT + 1), 3))
        self.mine(7)

    def mine(self, blocks: int) -> None:
        for side in (self.alice, self.bob):
            side.height = BlockHeight(side.height + blocks)
            side.execute(NewBlock())

    def add(self, side: Side, amount_msat: int, cltv_expiry: int = 700) -> PaymentHash:
        self._counter += 1
        preimage = PaymentPreimage(hashlib.sha256(b"preimage %d" % self._counter).digest())
        payment_hash = PaymentHash(hashlib.sha256(preimage).digest())
        self.preimages[payment_hash] = preimage
        source = OutboundPaymentHtlc(PaymentId(payment_hash), 0)
        side.execute(AddHtlc(Msat(amount_msat), payment_hash, BlockHeight(cltv_expiry), bytes(1366), source))
        return payment_hash

    def fulfil_all(self, side: Side) -> None:
        for action in side.of(HtlcCommitted):
            htlc = action.htlc
            side.execute(RemoveHtlc(htlc.id, Fulfilled(self.preimages[htlc.payment_hash])))
        side.actions = [a for a in side.actions if not isinstance(a, HtlcCommitted)]

    def disconnect(self) -> None:
        for side in (self.alice, self.bob):
            side.outbox.clear()
            if side.connected:
                side.connected = False
                side.execute(PeerDisconnected())

    def reconnect(self) -> None:
        for side in (self.alice, self.bob):
            side.connected = True
            side.execute(PeerConnected())


def funding_transaction(event: FundingGenerationReady) -> bytes:
    spent = TxInput(OutPoint(Txid(hashlib.sha256(b"coin").digest()), 0), witness=(bytes(71), bytes(33)))
    return serialize(Transaction(2, (spent,), (TxOut(event.channel_value_satoshis, event.output_script),)))


def balances(side: Side) -> tuple[int, int]:
    commitments = side.state.data.commitments  # type: ignore[union-attr]
    return commitments.to_holder_msat, commitments.to_counterparty_msat


__all__ = ["BroadcastTransaction", "HtlcFulfilled", "HtlcNotSent", "HtlcRemoved", "replace"]
