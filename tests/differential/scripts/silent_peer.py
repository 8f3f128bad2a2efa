"""A peer that does not answer the handshake, or goes away, and a user who does not wait for it."""

import asyncio
import contextlib

from kit import IMPATIENCE, accept, failure, open_raw, outcome, raw_server, recorder, serving
from wire import read_head

DIFFERS = {
    "no-answer": ["the peer closes at once", "the peer closes within the head"],
    "cancelled": ["cancelled: the connection", "cancelled: the listener"],
}


async def main(ws, log):
    async def close_at_once(peer):
        peer.end()

    async with raw_server(close_at_once) as port:
        made = await outcome(ws.ws_connect(ws.WSListener, f"ws://127.0.0.1:{port}/"))
        if isinstance(made, tuple):
            made = ["a transport", made[0].is_disconnected, made[1]]
        log("the peer closes at once", made)

    async def close_within(peer):
        await read_head(peer.reader)
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\nUpg")
        peer.end()

    async with raw_server(close_within) as port:
        made = await outcome(ws.ws_connect(ws.WSListener, f"ws://127.0.0.1:{port}/"))
        if isinstance(made, tuple):
            made = ["a transport", made[0].is_disconnected, made[1]]
        log("the peer closes within the head", made)

    ends = asyncio.Queue()

    async def say_nothing(peer):
        await read_head(peer.reader)
        ends.put_nowait(await peer.ended())

    async with raw_server(say_nothing) as port:
        url = f"ws://127.0.0.1:{port}/"
        made = await failure(ws.ws_connect(ws.WSListener, url, websocket_handshake_timeout=0.1))
        log("a timeout", [type(made).__name__, str(made)])
        log("a timeout: the connection", await ends.get())

    answered = asyncio.Event()
    go_on = asyncio.Event()

    async def answer_late(peer):
        await go_on.wait()
        await accept(peer)
        answered.set()
        ends.put_nowait(await peer.ended(IMPATIENCE))

    async with raw_server(answer_late) as port:
        listener = recorder(ws)
        connecting = asyncio.ensure_future(
            ws.ws_connect(lambda: listener, f"ws://127.0.0.1:{port}/")
        )
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(connecting, 0.1)
        go_on.set()
        log("cancelled: the connection", await ends.get())
        log("cancelled: the listener", listener.events)

    listener = recorder(ws)
    async with serving(ws, lambda _: listener, websocket_handshake_timeout=0.1) as port:
        peer = await open_raw(port)
        peer.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        log("a client that does not ask", await peer.receive())
        log("its listener", listener.events)
        peer.abort()

    made = await outcome(ws.ws_connect(ws.WSListener, f"ws://127.0.0.1:{port}/"))
    log("nobody listens", made)
