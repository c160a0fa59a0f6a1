"""Making a `LightningNode` (ldk-node's NodeBuilder), and the handler of events that it has by default."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from pyln_fast.config import UserConfig
from pyln_fast.events import Bolt11InvoicePayment, Event, OpenChannelRequest, PaymentClaimable
from pyln_fast.persist.directory import StoreKind
from pyln_fast.runtime.chain_poller import POLL_SECONDS
from pyln_fast.runtime.event_handler import EventHandler
from pyln_fast.runtime.lightning_node import LightningNode
from pyln_fast.runtime.peer_connector import parse_host_port
from pyln_fast.runtime.settings import DEFAULT_LISTEN, CustomMessages, InvalidSettings, NodeSettings, store_kind
from pyln_fast.types import Network, NodeId


class DefaultEventHandler:
    """Accepts inbound channels and claims what was paid to our invoices, as ldk-node does. Made to be derived from."""

    def __init__(self, node: LightningNode) -> None:
        self.node = node

    def handle_event(self, event: Event) -> Awaitable[None] | None:
        if isinstance(event, OpenChannelRequest):
            self.open_channel_requested(event)
        elif isinstance(event, PaymentClaimable):
            self.payment_claimable(event)
        return None

    def open_channel_requested(self, event: OpenChannelRequest) -> None:
        self.node.submit_soon(
            lambda node: node.channel_manager.accept_inbound_channel(
                event.temporary_channel_id, event.counterparty_node_id
            )
        )

    def payment_claimable(self, event: PaymentClaimable) -> None:
        """A payment to a hash of the user's own waits for the user, who alone has its preimage."""
        purpose = event.purpose
        if isinstance(purpose, Bolt11InvoicePayment) and (preimage := purpose.payment_preimage) is not None:
            self.node.submit_soon(lambda node: node.payments.claim_funds(preimage))


class NodeBuilder:
    """
    node = (
        NodeBuilder()
        .set_network(Network.REGTEST)
        .set_storage_dir_path("alice")
        .set_chain_source_bitcoind_rpc("http://127.0.0.1:18443", cookie_file="regtest/.cookie")
        .set_listening_addresses("127.0.0.1:9735")
        .build()
    )
    await node.start()
    """

    def __init__(self) -> None:
        self._network = Network.REGTEST
        self._store = StoreKind.SQLITE
        self._data_dir: Path | None = None
        self._url: str | None = None
        self._cookie: Path | None = None
        self._user: str | None = None
        self._password: str | None = None
        self._listen: tuple[tuple[str, int], ...] = (DEFAULT_LISTEN,)
        self._config = UserConfig()
        self._poll_seconds = POLL_SECONDS
        self._make_handler: Callable[[LightningNode], EventHandler] = DefaultEventHandler
        self._custom_messages: CustomMessages | None = None

    def set_network(self, network: Network) -> NodeBuilder:
        self._network = network
        return self

    def set_storage_dir_path(self, path: str | Path) -> NodeBuilder:
        """Made if it is not there, for its owner only. It holds the seed, the database and the control socket."""
        self._data_dir = Path(path)
        return self

    def set_store(self, store: str) -> NodeBuilder:
        """`sqlite` or `filesystem`: for good, for a directory never changes its kind. Raises InvalidSettings."""
        self._store = store_kind(store)
        return self

    def set_chain_source_bitcoind_rpc(
        self,
        url: str,
        *,
        cookie_file: str | Path | None = None,
        user: str | None = None,
        password: str | None = None,
        poll_seconds: float = POLL_SECONDS,
    ) -> NodeBuilder:
        self._poll_seconds = poll_seconds
        self._url, self._user, self._password = url, user, password
        self._cookie = Path(cookie_file) if cookie_file is not None else None
        return self

    def set_listening_addresses(self, *addresses: str) -> NodeBuilder:
        """`host:port` each, port 0 for a free one; none: nobody can call this node. Raises InvalidNodeAddress."""
        self._listen = tuple(parse_host_port(address) for address in addresses)
        return self

    def set_user_config(self, config: UserConfig) -> NodeBuilder:
        self._config = config
        return self

    def set_event_handler(self, make_handler: Callable[[LightningNode], EventHandler]) -> NodeBuilder:
        """Called at each start with the node; a class derived from DefaultEventHandler will do."""
        self._make_handler = make_handler
        return self

    def set_custom_messages(self, types: Iterable[int], handle: Callable[[NodeId, int, bytes], None]) -> NodeBuilder:
        """Messages of these types, from 32768 on, are given to `handle(node_id, type, data)`; `send_custom_message`
        is the other way."""
        self._custom_messages = CustomMessages(frozenset(types), handle)
        return self

    def build(self) -> LightningNode:
        """Raises InvalidSettings. Nothing is opened before `start`."""
        if self._data_dir is None:
            raise InvalidSettings("a node needs a storage directory: set_storage_dir_path")
        if self._url is None:
            raise InvalidSettings("a node needs a chain: set_chain_source_bitcoind_rpc")
        settings = NodeSettings(
            data_dir=self._data_dir,
            network=self._network,
            bitcoind_url=self._url,
            bitcoind_cookie=self._cookie,
            bitcoind_user=self._user,
            bitcoind_password=self._password,
            listen=self._listen,
            config=self._config,
            custom_messages=self._custom_messages,
            store=self._store,
            poll_seconds=self._poll_seconds,
        )
        return LightningNode(settings, self._make_handler)
