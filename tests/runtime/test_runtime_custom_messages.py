import asyncio
from pathlib import Path

from tests.runtime.network import World, address_of, play


def test_a_custom_message_goes_from_one_application_to_the_other(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        heard: asyncio.Queue[tuple[bytes, int, bytes]] = asyncio.Queue()

        def hear(node_id: bytes, message_type: int, data: bytes) -> None:
            heard.put_nowait((node_id, message_type, data))

        alice = await world.start("alice")
        bob = await world.start("bob", lambda builder: builder.set_custom_messages([40_000], hear))
        await alice.connect_peer(address_of(bob))
        await alice.send_custom_message(bob.node_id, 40_000, b"hello")
        assert await asyncio.wait_for(heard.get(), 10) == (alice.node_id, 40_000, b"hello")

    play(tmp_path, scene)
