"""The table of RPC methods, and how the parameters of a request become the arguments of a function.

A method is a function whose first parameter is the node. The others are the RPC's own, under Core's names: their
annotations are the JSON types that they take, their defaults what Core assumes.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar, get_type_hints

from pyln_fast.testing.regtest import errors
from pyln_fast.testing.regtest.errors import RpcError
from pyln_fast.testing.regtest.node import RegtestNode

Method = Callable[..., Any]
_F = TypeVar("_F", bound=Method)

METHODS: dict[str, Method] = {}
_PARAMETERS: dict[str, dict[str, tuple[Any, Any]]] = {}
_REQUIRED = inspect.Parameter.empty
_JSON_NAMES = {
    str: "string",
    int: "number",
    float: "number",
    Decimal: "number",
    bool: "bool",
    list: "array",
    dict: "object",
}


class Amount(Decimal):
    """A parameter that is an amount in BTC, as a number or as a string."""


NO_AMOUNT = Amount(0)


def method(function: _F) -> _F:
    """Puts a function into the table under its own name."""
    hints = get_type_hints(function)
    parameters = list(inspect.signature(function).parameters.values())[1:]
    METHODS[function.__name__] = function
    _PARAMETERS[function.__name__] = {p.name: (hints[p.name], p.default) for p in parameters}
    return function


def call(node: RegtestNode, name: str, params: Any) -> Any:
    """Raises RpcError."""
    function = METHODS.get(name)
    if function is None:
        raise RpcError(errors.METHOD_NOT_FOUND, "Method not found")
    wanted = _PARAMETERS[name]
    if params is None:
        params = []
    if isinstance(params, dict):
        given = dict(params)
        positional = given.pop("args", [])
        given.update(zip(wanted, positional))
        unknown = next((key for key in given if key not in wanted), None)
        if unknown is not None:
            raise RpcError(errors.INVALID_PARAMETER, f"Unknown named parameter {unknown}")
    elif isinstance(params, list):
        if len(params) > len(wanted):
            raise RpcError(errors.MISC_ERROR, _usage(name))
        given = dict(zip(wanted, params))
    else:
        raise RpcError(errors.INVALID_REQUEST, "Params must be an array or object")
    return function(node, **_arguments(name, wanted, given))


def _arguments(name: str, wanted: dict[str, tuple[Any, Any]], given: dict[str, Any]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for position, (key, (kind, default)) in enumerate(wanted.items(), 1):
        value = given.get(key)
        if value is None:
            if default is _REQUIRED:
                raise RpcError(errors.MISC_ERROR, _usage(name))
            continue
        try:
            arguments[key] = _converted(kind, value)
        except TypeError as error:
            wrong[f"Position {position} ({key})"] = str(error)
    if wrong:
        raise RpcError(errors.TYPE_ERROR, "Wrong type passed:\n" + json.dumps(wrong, indent=4))
    return arguments


def _converted(kind: Any, value: Any) -> Any:
    if kind is Any:
        return value
    if kind is Amount:
        if isinstance(value, bool) or not isinstance(value, (int, Decimal, str)):
            raise RpcError(errors.TYPE_ERROR, "Amount is not a number or string")
        try:
            return Amount(value)
        except ArithmeticError:
            raise RpcError(errors.TYPE_ERROR, "Invalid amount") from None
    kind = kind if isinstance(kind, type) else kind.__origin__
    if kind is int and isinstance(value, Decimal):
        raise RpcError(errors.MISC_ERROR, "JSON integer out of range")
    if type(value) is not kind:
        have = "null" if value is None else _JSON_NAMES[type(value)]
        raise TypeError(f"JSON value of type {have} is not of expected type {_JSON_NAMES[kind]}")
    return value


def satoshi(value: Decimal) -> int:
    """Raises RpcError for an amount with a fraction of a satoshi, below zero or above all money."""
    sat = value * 100_000_000
    if sat != sat.to_integral_value():
        raise RpcError(errors.TYPE_ERROR, "Invalid amount")
    if not 0 <= sat <= 21_000_000 * 100_000_000:
        raise RpcError(errors.TYPE_ERROR, "Amount out of range")
    return int(sat)


def _usage(name: str) -> str:
    words = [key if default is _REQUIRED else f"( {key} )" for key, (_, default) in _PARAMETERS[name].items()]
    text = (METHODS[name].__doc__ or "").strip()
    return f"{' '.join([name, *words])}\n\n{text}\n"
