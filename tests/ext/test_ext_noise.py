from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyln_fast._ext import _noise
from tests.oracle import noise as oracle

LS, LE, RS, RE = (bytes([value]) * 32 for value in (0x11, 0x12, 0x21, 0x22))
SIZES = st.sampled_from([0, 1, 2, 63, 64, 65, 140, 319, 320, 321, 511, 512, 513, 1450, 2000])
each_level = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def transports() -> tuple[_noise.Transport, _noise.Transport]:
    ours, theirs = _noise.Handshake(), _noise.Handshake()
    theirs.respond(RE, RS)
    act_three, mine = ours.act_three(theirs.act_two(ours.initiate(LE, LS, oracle.public_key(RS))))
    return mine, theirs.finish(act_three)[1]


def oracle_cipher() -> oracle.Cipher:
    """The initiator's sending side of the same handshake; ck and sk are BOLT 8's."""
    ck, sk = (
        "919219dbb2920afa8db80f9a51787a840bcf111ed8d588caf9ab4be716e42b01",
        "969ab31b4d288cedf6218839b27a3e2140827047f2c0f01bf5c04435d43511a9",
    )
    return oracle.Cipher(bytes.fromhex(ck), bytes.fromhex(sk))


@each_level
@given(st.lists(SIZES, max_size=25), st.integers(0, 25))
def test_batches_against_the_oracle(sizes: list[int], cut: int) -> None:
    ours, theirs = transports()
    expected = oracle_cipher()
    messages = [bytes([i + 1]) * size for i, size in enumerate(sizes)]
    frames = ours.encrypt(messages[:cut]) + ours.encrypt(messages[cut:])
    assert frames == b"".join(expected.frame(message) for message in messages)
    assert theirs.decrypt(frames) == (len(frames), messages)


def test_rotation_within_a_batch() -> None:
    ours, theirs = transports()
    expected = oracle_cipher()
    messages = [b"%d" % i for i in range(1200)]
    frames = ours.encrypt(messages[:499]) + ours.encrypt(messages[499:])
    assert frames == b"".join(expected.frame(message) for message in messages)
    half = len(frames) // 2
    used, first = theirs.decrypt(frames[:half])
    assert first + theirs.decrypt(frames[used:])[1] == messages


def test_lengths_that_the_guess_gets_wrong() -> None:
    ours, theirs = transports()
    messages = [bytes([i & 255]) * (3000 if i % 3 else 0) for i in range(200)]
    frames = ours.encrypt(messages)
    assert theirs.decrypt(frames) == (len(frames), messages)


def test_needed_follows_the_header() -> None:
    ours, theirs = transports()
    frames = ours.encrypt([b"x" * 100])
    assert theirs.needed == 18
    assert theirs.decrypt(frames[:17]) == (0, [])
    assert theirs.decrypt(frames[:18]) == (18, [])
    assert theirs.needed == 116
    assert theirs.decrypt(frames[18:-1]) == (0, [])
    assert theirs.decrypt(frames[18:]) == (116, [b"x" * 100])
    assert theirs.needed == 18


def test_a_bad_frame_gives_the_messages_before_it() -> None:
    ours, theirs = transports()
    frames = bytearray(ours.encrypt([b"a", b"b", b"c"]))
    frames[-1] ^= 1
    with pytest.raises(_noise.FrameRefused) as raised:
        theirs.decrypt(bytes(frames))
    assert raised.value.args == ([b"a", b"b"],)


def test_arguments_are_checked() -> None:
    ours, _ = transports()
    with pytest.raises(ValueError, match="65536"):
        ours.encrypt([bytes(65536)])
    with pytest.raises(TypeError):
        ours.encrypt([None])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        _noise.Handshake().initiate("no", LS, oracle.public_key(RS))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="49"):
        _noise.Handshake().act_two(bytes(49))
