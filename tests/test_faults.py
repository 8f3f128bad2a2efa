"""A bad network: pieces of one byte, stalls, cuts and resets at every place; what the system lacks.

The bytes go through a proxy of the tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

import pytest
from faults import Fault, faulty
from helpers import EchoListener, Recorder
from raw import pattern, soon
from scripts import run_script

from picows_c import WSError, WSListener, WSMsgType

SIZES = [0, 1, 125, 126, 1000, 65_535, 65_536]
# The handshake of these tests has some 130 to 230 bytes each way, TLS some 2,000 more.
PLACES = [0, 1, 60, 129, 130, 131, 150, 200, 300, 1000, 2500, 9000]


class Ended(EchoListener):
    """An echo that knows when it ended."""

    def __init__(self, ends: list) -> None:
        self.ends = ends

    def on_ws_connected(self, transport):
        self.ends.append(transport)


async def echo(transport, listener, sizes=SIZES):
    for size in sizes:
        transport.send(WSMsgType.BINARY, pattern(size))
    for size in sizes:
        frame = await soon(listener.frames.get())
        assert frame.get_payload_as_bytes() == pattern(size)


@pytest.mark.parametrize("piece", [1, 2, 7, 1000])
async def test_pieces_of_any_size(net, piece):
    sizes = SIZES if piece > 100 else [0, 1, 125, 126, 1000]
    async with (
        net.serve(lambda request: EchoListener()),
        faulty(net, Fault(piece=piece), Fault(piece=piece)),
    ):
        transport, listener = await net.connect(Recorder, websocket_handshake_timeout=None)
        await echo(transport, listener, sizes)
        transport.send_close(1000, "bye")
        await soon(transport.wait_disconnected())
        assert transport.close_handshake.recv.code == 1000


@pytest.mark.parametrize("direction", ["to_server", "to_client"])
@pytest.mark.parametrize("what", ["cut", "reset"])
async def test_an_end_at_any_place(net, what, direction):
    """Before, in or after the handshake, in a frame's head or payload: an error or one end."""
    ends: list = []
    opened = 0
    async with net.serve(lambda request: Ended(ends)) as server:
        for place in PLACES:
            async with faulty(net, **{direction: Fault(place, what)}):
                try:
                    transport, listener = await net.connect(Recorder)
                except (WSError, OSError, EOFError):
                    continue
                opened += 1
                with contextlib.suppress(ConnectionError):
                    for size in SIZES:
                        transport.send(WSMsgType.BINARY, pattern(size))
                await soon(transport.wait_disconnected())
                assert listener.events.count("disconnected") == 1
                assert transport.disconnect_cause is not None
                # What was delivered before is whole, and in order.
                got = [listener.frames.get_nowait() for _ in range(listener.frames.qsize())]
                whole = [bytes(frame) for frame in got if frame.msg_type == WSMsgType.BINARY]
                assert whole == [pattern(size) for size in SIZES[: len(whole)]]
        assert opened > 0

        async def until_gone():
            while server.stats.open or server.stats.pending:
                await asyncio.sleep(0)

        await soon(until_gone())
        # The server is none the worse for it.
        await echo(*await net.connect(Recorder))
    assert all(transport.disconnect_cause is not None for transport in ends)


@pytest.mark.parametrize("direction", ["to_server", "to_client"])
async def test_a_stall_at_any_place(net, direction):
    """Nothing comes for a while, wherever that is; then all goes on."""
    async with net.serve(lambda request: EchoListener()):
        for place in PLACES:
            fault = Fault(place, "stall")
            async with faulty(net, **{direction: fault}):

                async def talk():
                    transport, listener = await net.connect(
                        Recorder, websocket_handshake_timeout=None, open_timeout=None
                    )
                    await echo(transport, listener)
                    transport.disconnect()
                    await soon(transport.wait_disconnected())

                talking = asyncio.ensure_future(talk())
                await soon(fault.reached.wait())
                assert not talking.done()
                fault.go_on.set()
                await soon(talking)


async def test_a_connection_that_goes_silent_is_given_up(net):
    """Half-open: nothing arrives any more, and no end either. Pings find it."""
    fault = Fault()
    options = {
        "enable_auto_ping": True,
        "auto_ping_idle_timeout": 0.05,
        "auto_ping_reply_timeout": 0.05,
    }
    async with net.serve(lambda request: EchoListener()), faulty(net, to_client=fault):
        transport, _ = await net.connect(WSListener, **options)
        fault.mute = True
        await soon(transport.wait_disconnected())
        assert transport.disconnect_cause.kind.name == "PING_TIMEOUT"


async def test_a_reader_of_one_byte_at_a_time_gets_everything(plain):
    """It hinders nobody else, and what waits for it is sent in the end."""
    slow = Fault(piece=1)
    payload = pattern(300_000)

    class Sending(EchoListener):
        def on_ws_connected(self, transport):
            if transport.request.path == b"/slow":
                transport.send(WSMsgType.BINARY, payload)

        def pause_writing(self):
            pass

        resume_writing = pause_writing

    async with plain.serve(lambda request: Sending()):
        port = plain.port
        async with faulty(plain, to_client=slow):
            transport, listener = await plain.connect(
                Recorder, "/slow", websocket_handshake_timeout=None
            )
            through, plain.port = plain.port, port
            await echo(*await plain.connect(Recorder))
            plain.port = through
            slow.piece = 65536
            frame = await soon(listener.frames.get())
            assert bytes(frame) == payload
            transport.disconnect(False)
            await soon(transport.wait_disconnected())


# ---- what the system lacks ----


@pytest.mark.skipif(sys.platform == "win32", reason="no such limits")
@pytest.mark.parametrize("way", ["auto", "loop"])
def test_a_client_without_descriptors(loop_kind, way):
    assert run_script("exhausted.py", loop_kind, way).stdout == "ok\n"


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
@pytest.mark.parametrize("where", ["full", "closed"])
def test_a_log_that_cannot_be_written(loop_kind, where):
    assert run_script("unlogged.py", loop_kind, where).stdout == "ok\n"
