"""How a node of the torture differs from what users run."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from pyln_fast.payment.invoice import Invoice, decode
from tests.torture.node import FLAWS, crafted

ROOT = Path(__file__).parents[2]
# BOLT 11, Examples: with a payment secret and a hint of two hops.
INVOICE = (
    "lnbc20m1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsy"
    "qcyq5rqwzqfqypqhp58yjmdan79s6qqdhdzgynm4zwqd5d7xmw5fk98klysy043l2ahrqsfpp3qjmp7lwpagxun9pygexvgpjdc4jdj85fr9yq20"
    "q82gphp2nflc7jtzrcazrra7wwgzxqc8u7754cdlpfrmccae92qgzqvzq2ps8pqqqqqqpqqqqq9qqqvpeuqafqxu92d8lr6fvg0r5gv0heeeqgcr"
    "qlnm6jhphu9y00rrhy4grqszsvpcgpy9qqqqqqgqqqqq7qqzq9qrsgqdfjcdk6w3ak5pca9hwfwfh63zrrz06wwfya0ydlzpgzxkn5xagsqz7x9j"
    "4jwe7yj7vaf2k9lqsdk45kts2fd0fkr28am0u4w95tt2nsq76cqw0"
)
CHANGES = {
    "": [],
    "unknown hash": ["payment_hash"],
    "wrong secret": ["payment_secret"],
    "low fee": ["route_hints"],
    "unknown channel": ["route_hints"],
    "underpaid": ["amount_msat"],
}


def changes(before: Invoice, after: Invoice) -> list[str]:
    return [each for each in before.__struct_fields__ if getattr(before, each) != getattr(after, each)]


@pytest.mark.parametrize("flaw", ["", *FLAWS])
def test_a_flaw_is_one_thing_that_is_wrong(flaw: str) -> None:
    invoice = decode(INVOICE)
    assert changes(invoice, crafted(invoice, flaw)) == CHANGES[flaw]


def test_what_a_flawed_hint_says() -> None:
    invoice = decode(INVOICE)
    (hint,) = invoice.route_hints
    (cheap,) = crafted(invoice, "low fee").route_hints
    (elsewhere,) = crafted(invoice, "unknown channel").route_hints
    replace = msgspec.structs.replace
    assert cheap == tuple(replace(hop, fee_base_msat=hop.fee_base_msat - 1) for hop in hint)
    assert elsewhere == tuple(replace(hop, short_channel_id=12345) for hop in hint)


DYING = """
import time
from tests.torture.node import DEATHS, deadly

def write():
    print("begun", flush=True)
    time.sleep(60)

quick = deadly("quick", lambda: print("done", flush=True))
quick()
DEATHS["append"] = 1000
quick()
deadly("append", write)()
"""


def test_a_death_comes_inside_of_what_was_named() -> None:
    ran = subprocess.run([sys.executable, "-c", DYING], cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert (ran.returncode, ran.stdout) == (-signal.SIGKILL, "done\ndone\nbegun\n"), ran.stderr


SENDING = """
import time
from pyln_fast.node.effects import SendToPeer
from pyln_fast.types import ChannelId
from pyln_fast.wire.setup_msgs import Error, Warning
from tests.torture.node import DEATHS, deadly_messages

def send(sender, effect):
    print(type(effect.message).__name__, flush=True)
    time.sleep(0.5 if isinstance(effect.message, Warning) else 60)

DEATHS["Error"] = 1000
for kind in (Warning, Error):
    deadly_messages(send)(None, SendToPeer(1, kind(ChannelId(bytes(32)), b"")))
"""


def test_a_death_comes_at_the_message_that_was_named() -> None:
    ran = subprocess.run([sys.executable, "-c", SENDING], cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert (ran.returncode, ran.stdout) == (-signal.SIGKILL, "Warning\nError\n"), ran.stderr
