"""The two columns of the pages "Coming from websockets" and "Coming from aiohttp" talk."""

from __future__ import annotations

import importlib.util
import sys

import pytest
from programs import EXAMPLES, Program, example, lasting_port

FOLDER = EXAMPLES / "coming_from"
SERVERS = ["websockets_server.py", "aiohttp_server.py", "picows_c_server.py"]
CLIENTS = [
    "websockets_client.py",
    "aiohttp_client.py",
    "picows_c_client.py",
    "picows_c_inbox.py",
]


@pytest.fixture(autouse=True)
def both_are_there(need):
    for name in ("websockets", "aiohttp"):
        need(name, importlib.util.find_spec(name))


@pytest.mark.parametrize("name", SERVERS)
def test_every_client_talks_to(name):
    port = lasting_port()
    with example(f"coming_from/{name}", port) as server:
        server.wait_for_port(port)
        for client in CLIENTS:
            with example(f"coming_from/{client}", f"ws://127.0.0.1:{port}/") as program:
                assert program.end() == (0, "hello\n"), client
        assert server.process.poll() is None


def test_the_inbox_makes_the_peer_wait(tmp_path):
    """A flood: no more messages wait than were asked for and one read brings; none is lost."""
    text = (FOLDER / "picows_c_inbox.py").read_text()
    head, _, _ = text.partition("async def main")
    script = tmp_path / "flood.py"
    script.write_text(head + FLOOD)
    with Program(sys.executable, script) as program:
        assert program.end() == (0, "5000 messages in order, at most 3 waited\n")


FLOOD = """
from picows_c import ws_create_server


class Flood(WSListener):
    def on_ws_connected(self, transport):
        for number in range(5000):
            transport.send(WSMsgType.BINARY, number.to_bytes(4, "big"))
        transport.send_close()


async def main():
    server = await ws_create_server(lambda request: Flood(), "127.0.0.1", 0)
    inbox = Inbox(4)
    host, port = server.sockets[0].getsockname()
    await ws_connect(lambda: inbox, f"ws://{host}:{port}/", assemble_messages=True)
    got, most = [], 0
    while (message := await inbox.receive()) is not None:
        got.append(int.from_bytes(message, "big"))
        most = max(most, inbox.messages.qsize())
    assert got == list(range(5000))
    print(len(got), "messages in order, at most", most, "waited")
    server.close()


asyncio.run(main())
"""
