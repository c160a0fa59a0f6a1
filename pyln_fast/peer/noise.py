"""BOLT 8 over bytes: one connection's handshake and encryption, without the connection."""

from __future__ import annotations

from enum import Enum

from pyln_fast._ext import _noise
from pyln_fast.errors import Consequence, LocalError, RemoteError
from pyln_fast.types import NodeId, PrivateKey, PublicKey

MAX_MESSAGE_BYTES: int = _noise.MAX_MESSAGE_BYTES
_ACT_ONE_BYTES, _ACT_TWO_BYTES, _ACT_THREE_BYTES = _noise.ACT_BYTES


class NoiseError(RemoteError):
    """The peer does not follow BOLT 8, or someone tampers. The connection is closed and nothing more is sent on it."""

    consequence = Consequence.DISCONNECT


class HandshakeError(NoiseError):
    """An act was refused. `bolt_name` is BOLT 8's name for it, such as ACT1_BAD_TAG."""

    why = ""

    def __init__(self, act: int) -> None:
        super().__init__(f"act {act} of the handshake: {self._text()}")
        self.act = act

    @property
    def bolt_name(self) -> str:
        return f"ACT{self.act}_{self.why}"

    @classmethod
    def _text(cls) -> str:
        return cls.why.lower().replace("_", " ")


class BadVersion(HandshakeError):
    """A version of the handshake that we do not know."""

    why = "BAD_VERSION"


class BadPublicKey(HandshakeError):
    """A key that is no point of the curve."""

    why = "BAD_PUBKEY"


class BadTag(HandshakeError):
    """The peer does not have the keys: at act one, it looked for another node than us."""

    why = "BAD_TAG"


class BadCiphertext(HandshakeError):
    """The encrypted static key of act three has a wrong tag."""

    why = "BAD_CIPHERTEXT"


class BadFrame(NoiseError):
    """A frame with a wrong tag. `messages` came whole and genuine before it in the same read."""

    def __init__(self, messages: list[bytes]) -> None:
        super().__init__("a frame's tag does not match")
        self.messages = messages


class InvalidKey(LocalError):
    """A key that the caller gave: not a scalar or not a point."""


class MessageTooLong(LocalError):
    """Above BOLT 8's 65535 bytes."""

    def __init__(self, length: int) -> None:
        super().__init__(f"a message of {length} bytes, above {MAX_MESSAGE_BYTES}")
        self.length = length


# By lnf_noise_error.
_REFUSALS: dict[int, type[HandshakeError]] = {1: BadVersion, 2: BadPublicKey, 3: BadTag, 4: BadCiphertext}


class _Stage(Enum):
    ACT_ONE = 1
    """The responder waits for it."""
    ACT_TWO = 2
    """The initiator waits for it."""
    ACT_THREE = 3
    """The responder waits for it."""
    TRANSPORT = 4
    FAILED = 5


class Noise:
    """One side of one connection. Send what `start`, `receive` and `encrypt` return, in that order.

    After an error of `receive` the connection is dead: nothing else may be called.
    """

    def __init__(
        self, handshake: _noise.Handshake, stage: _Stage, act_one: bytes, their_node_id: NodeId | None
    ) -> None:
        self.their_node_id = their_node_id
        """Whom we talk to; for a responder None until act three proved it."""
        self._handshake: _noise.Handshake | None = handshake
        self._transport: _noise.Transport | None = None
        self._stage = stage
        self._act_one = act_one
        self._parts: list[bytes] = []
        self._buffered = 0
        self._needed = _ACT_TWO_BYTES if stage is _Stage.ACT_TWO else _ACT_ONE_BYTES

    @classmethod
    def initiator(cls, ephemeral_key: PrivateKey, static_key: PrivateKey, their_node_id: NodeId) -> Noise:
        """The side that connects. The ephemeral key is fresh for every connection. Raises InvalidKey."""
        handshake = _noise.Handshake()
        try:
            act_one = handshake.initiate(ephemeral_key, static_key, their_node_id)
        except ValueError as error:
            raise InvalidKey(str(error)) from None
        return cls(handshake, _Stage.ACT_TWO, act_one, their_node_id)

    @classmethod
    def responder(cls, ephemeral_key: PrivateKey, static_key: PrivateKey) -> Noise:
        """The side that accepts. The ephemeral key is fresh for every connection. Raises InvalidKey."""
        handshake = _noise.Handshake()
        try:
            handshake.respond(ephemeral_key, static_key)
        except ValueError as error:
            raise InvalidKey(str(error)) from None
        return cls(handshake, _Stage.ACT_ONE, b"", None)

    @property
    def established(self) -> bool:
        """Both sides are proved, and messages can be sent."""
        return self._transport is not None

    def start(self) -> bytes:
        """What is sent before anything is received: the initiator's act one, the responder's nothing."""
        return self._act_one

    def receive(self, data: bytes) -> tuple[bytes, list[bytes]]:
        """(what to send back, the messages that are whole now), for the next bytes of the connection.

        Raises HandshakeError or BadFrame.
        """
        assert self._stage is not _Stage.FAILED, "receive after an error"
        self._parts.append(data)
        self._buffered += len(data)
        reply = b""
        if self._buffered < self._needed:
            return reply, []
        data = b"".join(self._parts)
        while self._transport is None and len(data) >= self._needed:
            act, data = data[: self._needed], data[self._needed :]
            reply += self._on_act(act)
        messages: list[bytes] = []
        if self._transport is not None:
            used, messages = self._decrypt(self._transport, data)
            data = data[used:]
            self._needed = self._transport.needed
        self._parts = [data] if data else []
        self._buffered = len(data)
        return reply, messages

    def encrypt(self, messages: list[bytes]) -> bytes:
        """The bytes to send for these messages. Raises MessageTooLong, and nothing has changed."""
        assert self._transport is not None, "encrypt before the handshake is done"
        for message in messages:
            if len(message) > MAX_MESSAGE_BYTES:
                raise MessageTooLong(len(message))
        return self._transport.encrypt(messages)

    def _on_act(self, data: bytes) -> bytes:
        assert self._handshake is not None
        act = self._stage.value
        try:
            if self._stage is _Stage.ACT_ONE:
                self._stage, self._needed = _Stage.ACT_THREE, _ACT_THREE_BYTES
                return self._handshake.act_two(data)
            if self._stage is _Stage.ACT_TWO:
                reply, self._transport = self._handshake.act_three(data)
            else:
                their_key, self._transport = self._handshake.finish(data)
                self.their_node_id = NodeId(PublicKey(their_key))
                reply = b""
        except _noise.HandshakeRefused as refused:
            self._fail()
            raise _REFUSALS[refused.args[0]](act) from None
        self._stage, self._handshake = _Stage.TRANSPORT, None
        return reply

    def _decrypt(self, transport: _noise.Transport, data: bytes) -> tuple[int, list[bytes]]:
        try:
            return transport.decrypt(data)
        except _noise.FrameRefused as refused:
            self._fail()
            raise BadFrame(refused.args[0]) from None

    def _fail(self) -> None:
        self._stage, self._handshake, self._transport = _Stage.FAILED, None, None
        self._parts.clear()
