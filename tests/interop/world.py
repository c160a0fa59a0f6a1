"""The parties of a scenario, and what the scenarios do with them again and again."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from contextlib import suppress
from enum import Enum
from pathlib import Path
from types import TracebackType

import msgspec

from pyln_fast.events import PaymentFailed, PaymentSent
from pyln_fast.features import Feature, Features
from pyln_fast.node.details import ChannelDetails
from pyln_fast.payment.invoice import Invoice, decode
from pyln_fast.payment.outbound import Attempts
from pyln_fast.types import Msat, NodeId, PaymentHash, PaymentId, PublicKey, Sat
from tests.interop.chain import Chain
from tests.interop.ldk_peer import LdkPeer
from tests.interop.our_node import OurNode
from tests.interop.process_node import ProcessNode
from tests.interop.waiting import Failure, check, until, until_async

CAPACITY_SAT = 10_000_000
PUSH_MSAT = 4_000_000_000
"""Both sides can pay from the start."""
Party = OurNode | LdkPeer


class Role(Enum):
    OPENER = "opener"
    ACCEPTOR = "acceptor"


class ChannelType(Enum):
    STATIC_REMOTEKEY = "static_remotekey"
    ANCHORS = "anchors"

    @property
    def features(self) -> bytes:
        required = [Feature.OPTION_STATIC_REMOTEKEY]
        if self is ChannelType.ANCHORS:
            required.append(Feature.OPTION_ANCHORS)
        return Features.of(required=tuple(required)).encode()


class Setting(msgspec.Struct, frozen=True):
    role: Role
    """Ours."""
    channel_type: ChannelType


class World:
    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.chain = Chain()
        self.parties: list[Party] = []
        self._directory = tempfile.TemporaryDirectory(prefix="pyln_fast-interop-")

    async def __aenter__(self) -> World:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for party in self.parties:
            with suppress(Exception):
                await party.stop()
        self.chain.close()
        self._directory.cleanup()

    def check_clean(self) -> None:
        """Nobody broke down on the way, and every broadcast was fit for the mempool."""
        check(not self.chain.rejected, f"refused by the mempool: {self.chain.rejected[:3]}")
        for party in self.parties:
            if isinstance(party, OurNode):
                wrong = [line for line in party.log if line.startswith("error")]
                check(not wrong, f"our node reports {wrong[:3]}")
            else:
                wrong = [str(event) for event in party.events if event["event"] == "driver_error"]
                check(not wrong, f"LDK's driver reports {wrong[:3]}")

    def directory(self, name: str) -> Path:
        """Of one party. It is gone when the world is."""
        return Path(self._directory.name) / name

    @property
    def anchors(self) -> bool:
        return self.setting.channel_type is ChannelType.ANCHORS

    # --- who takes part

    async def our_node(self, name: str = "ours") -> OurNode:
        node = OurNode(name, self.chain, self.anchors)
        self.parties.append(node)
        await node.start()
        script = await node.call(lambda node: node.wallet.new_script())
        self.chain.node.send_to_script(script, 20 * CAPACITY_SAT)
        await self.chain.mine(1)
        return node

    async def ldk(self, name: str = "ldk", keep: bool = False) -> LdkPeer:
        data_dir = self.directory(name) if keep else None
        peer = LdkPeer(name, self.chain, self.anchors, data_dir)
        self.parties.append(peer)
        await peer.start()
        return peer

    async def pair(self, keep: bool = False, push_msat: int = PUSH_MSAT) -> tuple[OurNode, LdkPeer, ChannelDetails]:
        """We and LDK with a channel that is ready, opened by whom the setting says."""
        us, ldk = await self.our_node(), await self.ldk(keep=keep)
        await self.connect(us, ldk)
        return us, ldk, await self.open(us, ldk, push_msat)

    # --- links

    async def connect(self, us: OurNode, ldk: LdkPeer, from_us: bool = True) -> None:
        """Raises Failure if LDK or we do not see the other within the time."""

        async def there() -> bool:
            return us.is_connected(ldk.node_id) and await ldk.is_connected(us.node_id)

        await self.apart(us, ldk)
        if from_us:
            await us.connect(ldk.port, ldk.node_id)
        else:
            await ldk.request("connect", port=us.port, node_id=us.node_id)
        await until_async(there, "init of both sides")

    async def apart(self, us: OurNode, ldk: LdkPeer, by_us: bool = False) -> None:
        """Once both know that the old connection is over."""

        async def gone() -> bool:
            return not await ldk.is_connected(us.node_id) and not us.is_connected(ldk.node_id)

        if by_us:
            us.disconnect_all()
        await until_async(gone, "the old connection to end")

    # --- channels

    async def open(self, us: OurNode, ldk: LdkPeer, push_msat: int = PUSH_MSAT) -> ChannelDetails:
        """Opened, funded, confirmed and usable on both sides."""
        known = {each.channel_id for each in us.channels(ldk.node_id)}
        told = len(ldk.events)
        if self.setting.role is Role.OPENER:
            peer = NodeId(PublicKey(bytes.fromhex(ldk.node_id)))
            await us.call(lambda node: node.open_channel(peer, Sat(CAPACITY_SAT), Msat(push_msat)))
        else:
            await self.ldk_opens(us, ldk, push_msat)
        waiting = await until(lambda: self._funded(us, ldk, known, told), "the funding transaction")
        funding = waiting.funding_txo
        assert funding is not None
        await until(lambda: self.chain.node.transaction(funding.txid), "the broadcast of the funding")
        await self.chain.mine(1)
        await self.usable(us, ldk, waiting.channel_id)
        return self.channel(us, waiting.channel_id)

    def _funded(self, us: OurNode, ldk: LdkPeer, known: set[bytes], told: int) -> ChannelDetails | None:
        closed = [event for event in ldk.events[told:] if event["event"] == "ChannelClosed"]
        if closed:
            raise Failure(f"the channel was not opened: {closed}; {us.log[-2:]}; {ldk.log[-2:]}")
        for each in us.channels(ldk.node_id):
            if each.channel_id not in known and each.funding_txo is not None:
                return each
        return None

    async def ldk_opens(self, us: OurNode | ProcessNode, ldk: LdkPeer, push_msat: int) -> None:
        temporary = await ldk.request("open", node_id=us.node_id, sat=CAPACITY_SAT, push_msat=push_msat)
        ready = await ldk.event("FundingGenerationReady", temporary_channel_id=temporary)
        raw = self.chain.node.faucet.create(bytes.fromhex(ready["script"]), ready["sat"])
        await ldk.request("fund", temporary_channel_id=temporary, node_id=us.node_id, tx=raw.hex())

    async def usable(self, us: OurNode, ldk: LdkPeer, channel_id: bytes) -> None:
        async def look() -> bool:
            ours = [each for each in us.channels() if each.channel_id == channel_id]
            if not ours or not ours[0].is_usable:
                return False
            theirs = [each for each in await ldk.channels() if each["channel_id"] == channel_id.hex()]
            return bool(theirs) and bool(theirs[0]["usable"])

        try:
            await until_async(look, "the channel to be usable on both sides")
        except Failure as failure:
            states = [each.state for each in us.channels()]
            raise Failure(f"{failure}: ours {states}, {us.log[-3:]}; LDK's {ldk.events[-3:]}") from None

    def channel(self, us: OurNode, channel_id: bytes) -> ChannelDetails:
        (found,) = [each for each in us.channels() if each.channel_id == channel_id]
        return found

    async def quiet(self, us: OurNode, channel_id: bytes) -> ChannelDetails:
        """Once no HTLC is left in it."""

        def look() -> ChannelDetails | None:
            found = self.channel(us, channel_id)
            busy = found.pending_inbound_htlcs or found.pending_outbound_htlcs or us.is_writing
            return None if busy else found

        found = await until(look, "the HTLCs to be gone")
        assert found is not None
        return found

    # --- payments

    async def invoice(self, payee: Party, amount_msat: int | None) -> str:
        if isinstance(payee, LdkPeer):
            return str(await payee.request("invoice", amount_msat=amount_msat))
        amount = None if amount_msat is None else Msat(amount_msat)
        return (await payee.call(lambda node: node.payments.create_bolt11_invoice(amount, "interop"))).text

    async def send(self, payer: Party, invoice: str, attempts: int = 0, amount_msat: int | None = None) -> str:
        """Begins a payment; its hash. The hash is also its id."""
        if isinstance(payer, LdkPeer):
            sent = await payer.request("pay", bolt11=invoice, attempts=attempts, amount_msat=amount_msat)
            return str(sent)
        return await self.send_ours(payer, decode(invoice), attempts, amount_msat)

    async def send_ours(
        self, payer: OurNode, invoice: Invoice, attempts: int = 0, amount_msat: int | None = None
    ) -> str:
        payment_id = PaymentId(bytes(invoice.payment_hash))
        amount = None if amount_msat is None else Msat(amount_msat)
        retry = Attempts(attempts)
        await payer.call(lambda node: node.payments.pay_for_bolt11_invoice(invoice, payment_id, amount, retry=retry))
        return invoice.payment_hash.hex()

    async def outcome(self, payer: Party, payment_hash: str, patience: float = 20.0) -> str:
        """`sent`, or why the payment failed. A sent payment's preimage is checked."""

        def look() -> str | None:
            return self.outcome_now(payer, payment_hash)

        found = await until(look, f"the end of {payer.name}'s payment {payment_hash[:8]}", patience)
        assert found is not None
        return found

    def outcome_now(self, payer: Party, payment_hash: str) -> str | None:
        if isinstance(payer, LdkPeer):
            sent = payer.find("PaymentSent", payment_hash=payment_hash)
            failed = payer.find("PaymentFailed", payment_hash=payment_hash)
            preimage = bytes.fromhex(sent["preimage"]) if sent else b""
            why = failed["reason"] if failed else ""
        else:
            wanted = PaymentHash(bytes.fromhex(payment_hash))
            ours = [event for event in payer.of(PaymentSent) if event.payment_hash == wanted]
            ours_failed = [event for event in payer.of(PaymentFailed) if event.payment_hash == wanted]
            sent, failed = bool(ours), bool(ours_failed)
            preimage = ours[0].payment_preimage if ours else b""
            why = ours_failed[0].reason if ours_failed else ""
        check(not (sent and failed), f"payment {payment_hash[:8]} was both sent and failed")
        if failed:
            return f"failed: {why}"
        if not sent:
            return None
        check(hashlib.sha256(preimage).hexdigest() == payment_hash, "the preimage is not that of the payment's hash")
        return "sent"

    async def pay(self, payer: Party, payee: Party, amount_msat: int, attempts: int = 0) -> str:
        """A payment from begin to end. Raises Failure if it does not arrive."""
        payment_hash = await self.send(payer, await self.invoice(payee, amount_msat), attempts)
        outcome = await self.outcome(payer, payment_hash)
        check(outcome == "sent", f"{amount_msat} msat from {payer.name} to {payee.name}: {outcome}")
        return payment_hash

    async def pay_all(self, payments: list[tuple[Party, Party, int]]) -> None:
        """Invoices first, then all payments at the same moment."""
        invoices = [await self.invoice(payee, amount) for _, payee, amount in payments]
        hashes = await asyncio.gather(*(self.send(payer, text) for (payer, _, _), text in zip(payments, invoices)))
        for (payer, payee, amount), payment_hash in zip(payments, hashes):
            outcome = await self.outcome(payer, payment_hash)
            check(outcome == "sent", f"{amount} msat from {payer.name} to {payee.name}: {outcome}")
