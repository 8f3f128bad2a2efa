"""socket_factory."""

import asyncio
import socket

from kit import IMPATIENCE, accept, outcome, raw_server, recorder, without_port


async def main(ws, log):
    calls = []

    def connected(url):
        return socket.create_connection((url.host, url.port))

    def unconnected(url):
        calls.append(
            [url.scheme, url.host, url.path, url.is_secure, isinstance(url, ws.WSParsedURL)]
        )
        return socket.socket()

    async def coroutine(url):
        await asyncio.sleep(0)
        return connected(url)

    async def coroutine_of_none(_):
        return None

    def raising(_):
        raise KeyError("inside")

    async with raw_server(accept) as port:
        for name, factory in {
            "connected": connected,
            "not connected": unconnected,
            "a coroutine": coroutine,
            "None": lambda _: None,
            "a coroutine of None": coroutine_of_none,
            "no socket": lambda _: "socket",
            "raises": raising,
            "not callable": 5,
        }.items():
            listener = recorder(ws)
            url = f"ws://127.0.0.1:{port}/path"
            connecting = ws.ws_connect(lambda x=listener: x, url, socket_factory=factory)
            made = await outcome(connecting, IMPATIENCE)
            if isinstance(made, tuple):
                transport = made[0]
                underlying = transport.underlying_transport
                address = without_port("{}:{}".format(*underlying.get_extra_info("peername")))
                transport.disconnect(False)
                made = [address, await listener.until("disconnected")]
            log(name, made)
        log("the argument", calls)
