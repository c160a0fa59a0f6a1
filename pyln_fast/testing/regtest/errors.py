"""What the regtest node refuses, with Bitcoin Core's reject reasons and RPC error codes."""

from __future__ import annotations

from enum import Enum

from pyln_fast.errors import LocalError


class RejectKind(Enum):
    """Why a transaction was refused, as far as somebody decides on it. Names follow Core's TxValidationResult."""

    INVALID = "invalid"
    """By itself, whatever else is submitted with it."""
    MISSING_INPUTS = "missing-inputs"
    """An input is unknown or spent: a parent in the same package may bring it."""
    RECONSIDERABLE = "reconsiderable"
    """Its fee is too low: a child in the same package may pay."""


class Rejected(LocalError):
    """A transaction or a package that consensus or policy refuses.

    `reason` is Core's reject reason (`min relay fee not met`), `details` its debug message; `str()` joins both, as
    Core's RPC does.
    """

    def __init__(self, reason: str, details: str = "", kind: RejectKind = RejectKind.INVALID) -> None:
        super().__init__(f"{reason}, {details}" if details else reason)
        self.reason = reason
        self.details = details
        self.kind = kind


class BlockRejected(LocalError):
    """A block that the kernel refuses; `reason` and `details` are its own words, and `str()` joins them."""

    def __init__(self, reason: str, details: str = "") -> None:
        super().__init__(f"{reason}, {details}" if details else reason)
        self.reason = reason
        self.details = details


class RpcError(LocalError):
    """An answer of the JSON-RPC server that is an error: Core's code and message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


# Bitcoin Core, src/rpc/protocol.h
MISC_ERROR = -1
TYPE_ERROR = -3
WALLET_ERROR = -4
INVALID_ADDRESS_OR_KEY = -5
WALLET_INSUFFICIENT_FUNDS = -6
INVALID_PARAMETER = -8
DESERIALIZATION_ERROR = -22
VERIFY_ERROR = -25
VERIFY_REJECTED = -26
VERIFY_ALREADY_IN_UTXO_SET = -27
IN_WARMUP = -28
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
PARSE_ERROR = -32700
