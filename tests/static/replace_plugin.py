"""For mypy: `msgspec.structs.replace` takes the fields of its struct, with their types, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

from mypy.expandtype import expand_type_by_instance
from mypy.meet import meet_types
from mypy.nodes import ARG_NAMED_OPT, ARG_POS
from mypy.plugin import FunctionSigContext
from mypy.plugin import Plugin as MypyPlugin
from mypy.types import CallableType, Instance, Type, TypeVarType, UnionType, get_proper_type


def fields(of: Type) -> dict[str, Type] | None:
    """As the struct's `__init__` has them; of a union, those of all its members. None: it is no struct that we know."""
    proper = get_proper_type(of)
    if isinstance(proper, TypeVarType):
        return fields(proper.upper_bound)
    if isinstance(proper, UnionType):
        members = [fields(item) for item in proper.items]
        common, *others = [member or {} for member in members]
        for other in others:
            common = {name: meet_types(common[name], other[name]) for name in common if name in other}
        return None if None in members else common
    init = proper.type.names.get("__init__") if isinstance(proper, Instance) else None
    made_by = get_proper_type(init.type) if init is not None else None
    if not isinstance(proper, Instance) or not isinstance(made_by, CallableType):
        return None
    arguments = zip(made_by.arg_names[1:], made_by.arg_types[1:], strict=True)
    return {name: expand_type_by_instance(kind, proper) for name, kind in arguments if name is not None}


def signature(ctx: FunctionSigContext) -> CallableType:
    default = ctx.default_signature
    if not ctx.args or len(ctx.args[0]) != 1:
        return default
    known = fields(ctx.api.get_expression_type(ctx.args[0][0]))
    if known is None:
        return default
    return default.copy_modified(
        arg_types=[default.arg_types[0], *known.values()],
        arg_kinds=[ARG_POS, *[ARG_NAMED_OPT] * len(known)],
        arg_names=[None, *known],
    )


class ReplacePlugin(MypyPlugin):
    def get_function_signature_hook(self, fullname: str) -> Callable[[FunctionSigContext], CallableType] | None:
        return signature if fullname == "msgspec.structs.replace" else None


def plugin(version: str) -> type[MypyPlugin]:
    return ReplacePlugin
