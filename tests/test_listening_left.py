"""Leaving ``async with server:`` while clients are connected."""

from __future__ import annotations

import asyncio
import signal
import sys

import pytest
from helpers import Recorder, request_bytes
from programs import Program
from raw import TEXT, Peer, complaints, soon, upgraded

from picows_c import WSCloseCode, ws_create_server


@pytest.fixture(autouse=True)
def short_farewell(monkeypatch):
    monkeypatch.setattr("picows_c.listening._FAREWELL", 0.1)


async def peers_of(net, server):
    """Three that have upgraded, one of whom will answer a CLOSE, and one that has not upgraded."""
    peers = [await upgraded(net) for _ in range(3)]
    peers.append(Peer(*await soon(net.open()), is_client=True))
    peers[-1].write(request_bytes()[:20])
    while server.stats.pending < 1:
        await asyncio.sleep(0)
    assert server.stats.open == 3
    return peers


async def check_sent_away(peers):
    """Each that has upgraded was told; whoever does not answer is not waited for."""
    for peer in peers[:3]:
        await peer.expect_close(1001)
    for peer in peers:
        await peer.gone()


def serving(net, **options):
    if net.scheme == "wss":
        options["ssl"] = net.certificates.server()
    # No limit of ours: leaving has its own.
    options["close_timeout"] = None
    return ws_create_server(Recorder, "127.0.0.1", 0, transport=net.way, **options)


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, GeneratorExit])
async def test_by_an_exception(net, error, caplog):
    left = asyncio.get_running_loop().create_future()

    async def serve():
        async with await serving(net) as server:
            left.set_result(server)
            net.port = server.sockets[0].getsockname()[1]
            await leave.wait()
            raise error

    leave = asyncio.Event()
    task = asyncio.ensure_future(serve())
    server = await soon(left)
    peers = await peers_of(net, server)
    leave.set()
    peers[0].write(peers[0].close_frame(1001))
    await check_sent_away(peers)
    await asyncio.wait([task], timeout=60)
    assert task.done()
    with pytest.raises(error):
        task.result()
    assert server.stats[:2] == (0, 0)
    assert complaints(caplog) == []


@pytest.mark.parametrize("where", ["with", "caught", "finally"])
async def test_by_cancelling_serve_forever(net, where):
    started = asyncio.get_running_loop().create_future()

    async def serve():
        server = await serving(net)
        net.port = server.sockets[0].getsockname()[1]
        started.set_result(server)
        if where == "with":
            async with server:
                await server.serve_forever()
        elif where == "caught":
            async with server:
                try:
                    await server.serve_forever()
                except asyncio.CancelledError:
                    """The block is left as if nothing had happened."""
        else:
            try:
                await server.serve_forever()
            finally:
                server.close()
                await server.wait_closed()

    task = asyncio.ensure_future(serve())
    peers = await peers_of(net, await soon(started))
    task.cancel()
    await check_sent_away(peers)
    await asyncio.wait([task], timeout=60)
    assert task.done()
    assert task.cancelled() == (where != "caught")


async def test_connections_go_on_where_close_ended_it(net):
    """As ever: close() stops listening, and wait_closed() waits."""
    async with await serving(net) as server:
        net.port = server.sockets[0].getsockname()[1]
        forever = asyncio.ensure_future(server.serve_forever())
        await asyncio.sleep(0)
        peer = await upgraded(net)
        server.close()
        with pytest.raises(asyncio.CancelledError):
            await soon(forever)
        waiting = asyncio.ensure_future(server.wait_closed())
        peer.send(TEXT, b"still there")
        (connection,) = server._open
        assert bytes(await soon(connection.listener.frames.get())) == b"still there"
        assert not waiting.done()
        peer.write(peer.close_frame(1000))
        await peer.expect_close(1000)
        peer.abort()
        await soon(waiting)


async def test_close_gracefully_after_it_was_cancelled_has_its_own_words(net):
    async with await serving(net) as server:
        net.port = server.sockets[0].getsockname()[1]
        forever = asyncio.ensure_future(server.serve_forever())
        await asyncio.sleep(0)
        peer = await upgraded(net)
        forever.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(forever)
        closing = asyncio.ensure_future(
            server.close_gracefully(WSCloseCode.SERVICE_RESTART, reason="restart")
        )
        assert await peer.expect_close(1012) == b"restart"
        peer.write(peer.close_frame(1012))
        assert await soon(closing) == 0
        peer.abort()


PROGRAM = """
import asyncio, sys
from picows_c import WSListener, ws_create_server

async def main():
    server = await ws_create_server(WSListener, "127.0.0.1", 0, transport=sys.argv[2])
    print("listening on", server.sockets[0].getsockname(), flush=True)
    async with server:
        await server.serve_forever()

if sys.argv[1] == "uvloop":
    import uvloop
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a process of ours")
async def test_by_ctrl_c(way, loop_kind):
    loop = asyncio.get_running_loop()
    with Program(sys.executable, "-W", "ignore", "-c", PROGRAM, loop_kind, way) as program:
        host, port = program.address()
        peer = Peer(*await soon(asyncio.open_connection(host, port)), is_client=True)
        peer.write(request_bytes())
        await peer.read_head()
        program.process.send_signal(signal.SIGINT)
        await peer.expect_close(1001)
        # It does not answer.
        assert await soon(loop.run_in_executor(None, program.end)) == (0, "interrupted\n")
        peer.abort()
