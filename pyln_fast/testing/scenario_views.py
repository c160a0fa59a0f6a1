"""What a test looks at: the channels of a scenario, its payments, and what its nodes say to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyln_fast.channel.htlc import Htlc
from pyln_fast.channel.state import FundedState
from pyln_fast.events import Event, PaymentClaimable, PaymentFailed, PaymentSent
from pyln_fast.node.details import ChannelDetails, details_of
from pyln_fast.payment.invoice import Invoice
from pyln_fast.types import ChannelId, Msat, PaymentHash, PaymentId
from pyln_fast.wire.gossip_msgs import ChannelUpdate

if TYPE_CHECKING:
    from pyln_fast.testing.scenario import Scenario
    from pyln_fast.testing.scenario_node import ScenarioNode
    from pyln_fast.testing.scenario_wire import Kind, Said, Wire


class ScenarioChannel:
    """A channel between two nodes, as each of them sees it."""

    def __init__(self, scenario: Scenario, opener: str, peer: str, channel_id: ChannelId) -> None:
        self._scenario = scenario
        self.opener = opener
        self.peer = peer
        self.channel_id = channel_id

    def other(self, name: str) -> str:
        assert name in (self.opener, self.peer), f"{name} has no part in the channel of {self.opener} and {self.peer}"
        return self.peer if name == self.opener else self.opener

    def state(self, name: str) -> FundedState | None:
        """None: forgotten."""
        return self._scenario.node(name).node.core.state.channels.get(self.channel_id)

    def details(self, name: str) -> ChannelDetails:
        state = self.state(name)
        assert state is not None, f"{name} has forgotten the channel"
        return details_of(state, self._scenario.node(name).node.core)

    def state_name(self, name: str) -> str | None:
        """Such as `Normal` or `Offline(Normal)`; None: forgotten."""
        return self.details(name).state if self.state(name) is not None else None

    @property
    def state_names(self) -> tuple[str | None, str | None]:
        """As the opener and as its peer see it."""
        return self.state_name(self.opener), self.state_name(self.peer)

    def balance_msat(self, name: str) -> Msat:
        state = self.state(name)
        assert state is not None, f"{name} has forgotten the channel"
        return state.data.commitments.to_holder_msat

    @property
    def balances_msat(self) -> tuple[Msat, Msat]:
        """What each has on its side, by its own account: the opener's and its peer's."""
        return self.balance_msat(self.opener), self.balance_msat(self.peer)

    def htlcs(self, name: str) -> list[Htlc]:
        state = self.state(name)
        return list(state.data.commitments.htlcs.values()) if state is not None else []

    def numbers(self, name: str) -> tuple[int, int]:
        """Of the newest commitment that it holds, and of the newest that it has signed."""
        state = self.state(name)
        assert state is not None
        return state.data.commitments.holder_number, state.data.commitments.counterparty_number


class Talk:
    """What two nodes have said to each other since `Scenario.listen`, without `channel_update`."""

    def __init__(self, wire: Wire, pair: frozenset[str]) -> None:
        self._wire = wire
        self._pair = pair
        self._from = len(wire.said)

    @property
    def said(self) -> list[Said]:
        return [
            each
            for each in self._wire.said[self._from :]
            if {each.sender, each.receiver} == self._pair and not isinstance(each.message, ChannelUpdate)
        ]

    @property
    def lines(self) -> list[str]:
        """Such as `alice: update_add_htlc`, in the order in which they were sent."""
        return [each.line for each in self.said]

    def messages(self, *kinds: Kind) -> list[Any]:
        return [each.message for each in self.said if not kinds or isinstance(each.message, kinds)]


class Payment:
    """What `ScenarioNode.pays` returns. It begins with the next `Scenario.run`."""

    def __init__(self, payer: ScenarioNode, payee: ScenarioNode, invoice: Invoice, payment_id: PaymentId) -> None:
        self.payer = payer
        self.payee = payee
        self.invoice = invoice
        self.payment_id = payment_id
        self.refused: Exception | None = None
        """Why it never began."""

    @property
    def payment_hash(self) -> PaymentHash:
        return self.invoice.payment_hash

    @property
    def ends(self) -> list[PaymentSent | PaymentFailed]:
        """What the payer was told of its end, each event once."""
        found = {event: None for event in self.payer.told if isinstance(event, PaymentSent | PaymentFailed)}
        return [event for event in found if event.payment_id == self.payment_id]

    @property
    def succeeded(self) -> bool:
        return [type(end) for end in self.ends] == [PaymentSent]

    @property
    def failed(self) -> bool:
        return [type(end) for end in self.ends] == [PaymentFailed]

    @property
    def is_claimable(self) -> bool:
        """The payee was told of it."""
        return any(isinstance(event, PaymentClaimable) and self._is_mine(event) for event in self.payee.told)

    def _is_mine(self, event: Event) -> bool:
        return getattr(event, "payment_hash", None) == self.payment_hash
