"""Bitcoin Core's JSON-RPC over one persistent HTTP session, and what can go wrong with it in one line each."""

from __future__ import annotations

import asyncio
import base64
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from pyln_fast.chain.header_chain import ChainSourceError, SourceStarting

_TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=5)
"""A large block on a slow disk takes seconds; a dead link shows within a minute."""

RPC_IN_WARMUP = -28
RPC_VERIFY_ALREADY_IN_CHAIN = -27


class BitcoindError(ChainSourceError):
    """bitcoind gave no usable answer. Trying again later may help."""


class BitcoindUnreachable(BitcoindError):
    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"bitcoind at {url} cannot be reached: {why}")
        self.url = url
        self.why = why


class BitcoindRefusedLogin(BitcoindError):
    def __init__(self, url: str, how: str) -> None:
        super().__init__(f"bitcoind at {url} refuses {how}")
        self.url = url


class BitcoindWarmingUp(BitcoindError, SourceStarting):
    def __init__(self, url: str, message: str) -> None:
        super().__init__(f"bitcoind at {url} is starting: {message}")
        self.url = url
        self.message = message


class RpcError(BitcoindError):
    """bitcoind answered with an error of its own: `code` is one of its RPC error codes."""

    def __init__(self, method: str, code: int, message: str) -> None:
        super().__init__(f"bitcoind: {method}: {message} (code {code})")
        self.method = method
        self.code = code
        self.message = message


class _ErrorBody(msgspec.Struct):
    code: int
    message: str


class _Reply(msgspec.Struct):
    result: Any = None
    error: _ErrorBody | None = None


# Amounts and feerates keep all their digits.
_DECODER = msgspec.json.Decoder(_Reply, float_hook=Decimal)


class BitcoindRpc:
    """One bitcoind. `url` may carry `user:password@`; a cookie file is read anew for each new login, since bitcoind
    writes a new one at each start."""

    def __init__(
        self,
        url: str,
        *,
        user: str | None = None,
        password: str | None = None,
        cookie_file: Path | None = None,
    ) -> None:
        parsed = URL(url if "://" in url else f"http://{url}")
        self._user = parsed.user if user is None else user
        self._password = (parsed.password if password is None else password) or ""
        self._cookie_file = cookie_file
        self._url = parsed.with_user(None)
        self._session: aiohttp.ClientSession | None = None
        self._headers: dict[str, str] | None = None
        self._next_id = 0

    @property
    def url(self) -> str:
        """Without the password."""
        return str(self._url)

    async def call(self, method: str, *params: object) -> Any:
        """The result. Raises a BitcoindError that says in one line what is wrong."""
        self._next_id += 1
        request = {"jsonrpc": "1.0", "id": self._next_id, "method": method, "params": params}
        body = msgspec.json.encode(request)
        for attempt in range(2):
            try:
                status, answer = await self._post(body)
            except (aiohttp.ServerDisconnectedError, ConnectionResetError) as error:
                # A session that idled too long may be closed under the request. Every call of ours may be repeated.
                if attempt == 0:
                    continue
                raise BitcoindUnreachable(self.url, "it closed the connection") from error
            except TimeoutError as error:
                raise BitcoindUnreachable(self.url, f"{method} got no answer in time") from error
            except (aiohttp.ClientError, OSError) as error:
                raise BitcoindUnreachable(self.url, _reason(error)) from error
            if status == 401 and attempt == 0 and self._cookie_file is not None:
                self._headers = None
                continue
            return self._result(method, status, answer)
        raise AssertionError("two attempts always end above")

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT)
        if self._headers is None:
            login = await asyncio.to_thread(self._login)
            self._headers = {"Content-Type": "application/json"}
            if login is not None:
                self._headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
        async with self._session.post(self._url, data=body, headers=self._headers) as response:
            return response.status, await response.read()

    def _login(self) -> str | None:
        if self._cookie_file is None:
            return None if self._user is None else f"{self._user}:{self._password}"
        try:
            return self._cookie_file.read_text().strip()
        except OSError as error:
            why = f"its cookie file {self._cookie_file} cannot be read ({error.strerror}): is it running?"
            raise BitcoindUnreachable(self.url, why) from error

    def _result(self, method: str, status: int, answer: bytes) -> Any:
        if status == 401:
            raise BitcoindRefusedLogin(self.url, self._what_was_refused())
        try:
            reply = _DECODER.decode(answer)
        except (msgspec.DecodeError, ValueError, ArithmeticError, RecursionError) as error:
            text = answer[:80].decode(errors="replace").strip() or "an empty answer"
            raise BitcoindUnreachable(self.url, f"HTTP status {status}: {text}") from error
        if reply.error is None:
            return reply.result
        if reply.error.code == RPC_IN_WARMUP:
            raise BitcoindWarmingUp(self.url, reply.error.message)
        raise RpcError(method, reply.error.code, reply.error.message)

    def _what_was_refused(self) -> str:
        if self._cookie_file is not None:
            return f"the cookie of {self._cookie_file}"
        return "to answer without a password" if self._user is None else "the user name or password"


def _reason(error: Exception) -> str:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused: is it running?"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(error) or type(error).__name__
