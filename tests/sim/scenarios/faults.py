"""What goes wrong at a message: the link breaks there, or the machine of a node."""

from __future__ import annotations

from pyln_fast.testing.scenario import Scenario
from pyln_fast.wire import channel_msgs
from pyln_fast.wire.layout import bolt_name

KINDS = {bolt_name(kind): kind for kind in channel_msgs.MESSAGES}

AT_A_MESSAGE = (
    "link lost after it",
    "link lost with it",
    "receiver crashes before the write",
    "receiver crashes during the write",
    "receiver crashes after the write",
    "sender crashes",
)


def fault_at(sim: Scenario, fault: str, lines: list[str], index: int) -> None:
    """The fault comes at `lines[index]`, such as `alice: update_add_htlc`, of two nodes' talk from now on."""
    names = list(sim.nodes)
    sender, name = lines[index].split(": ")
    receiver = next(each for each in names if each != sender)
    kind, nth = KINDS[name], lines[: index + 1].count(lines[index])
    if fault == "link lost after it":
        sim.cut(sender, receiver, after=kind, sender=sender, nth=nth)
    elif fault == "link lost with it":
        sim.cut(sender, receiver, sent=kind, sender=sender, nth=nth)
    elif fault == "sender crashes":
        sim.node(sender).crash(sent=kind, nth=nth)
    else:
        write = fault.split()[2]
        assert write in ("before", "during", "after")
        sim.node(receiver).crash(after=kind, nth=nth, write=write)  # type: ignore[arg-type]


def resume(sim: Scenario) -> None:
    """Whoever is down starts again, and all are connected."""
    for node in sim.nodes.values():
        if not node.alive:
            node.restarts()
    for one, other in sim.pairs:
        sim.connect(one, other)
