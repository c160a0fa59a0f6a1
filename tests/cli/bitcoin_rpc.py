"""Bitcoin Core's JSON-RPC in the simplest way, so that tests depend on no client of ours."""

from __future__ import annotations

import base64
import json
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError


class BitcoinRpc:
    def __init__(self, url: str, cookie: Path) -> None:
        self._url = url
        self._cookie = cookie

    def __call__(self, method: str, *params: Any) -> Any:
        body = json.dumps({"id": 1, "method": method, "params": params}).encode()
        login = base64.b64encode(self._cookie.read_bytes()).decode()
        request = urllib.request.Request(self._url, body, {"Authorization": f"Basic {login}"})
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.load(response)["result"]
        except HTTPError as error:
            raise AssertionError(f"{method}: {error.read().decode()}") from None
