"""A process forks while OpenSSL, or an SSLObject, is on its stack.

The child returns through all of it with connections that are the parent's, and ends; the parent
goes on.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from pathlib import Path

from conftest import new_loop
from helpers import EchoListener, Recorder

from picows_c import WSMsgType, ws_connect, ws_create_server

KIND, WHERE, FOLDER = sys.argv[1], sys.argv[2], Path(sys.argv[3])
PARENT = os.getpid()
children: list[int] = []


def fork() -> None:
    """Fork once; the child is to come back to the loop, which ends it."""
    if children or os.getpid() != PARENT:
        return
    loop = asyncio.get_running_loop()
    pid = os.fork()
    if pid:
        children.append(pid)
    else:
        loop.call_soon(os._exit, 0)


class Forking(ssl.SSLObject):
    is_armed = False

    def read(self, *args):
        if WHERE == "read" and Forking.is_armed:
            fork()
        return super().read(*args)

    def write(self, data):
        if WHERE == "write" and Forking.is_armed:
            fork()
        return super().write(data)


async def main() -> None:
    server_ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_ssl.load_cert_chain(FOLDER / "server.pem")
    client_ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_ssl.load_verify_locations(FOLDER / "ca.pem")
    if WHERE == "sni":
        server_ssl.sni_callback = lambda *_: fork()
    else:
        client_ssl.sslobject_class = Forking
    server = await ws_create_server(lambda r: EchoListener(), "127.0.0.1", 0, ssl=server_ssl)
    port = server.sockets[0].getsockname()[1]
    transport, listener = await ws_connect(
        Recorder, f"wss://localhost:{port}/", ssl_context=client_ssl
    )
    Forking.is_armed = True
    for size in (10, 40_000, 10):
        try:
            transport.send(WSMsgType.BINARY, bytes(size))
        except ConnectionResetError:
            if os.getpid() == PARENT:
                raise
        frame = await asyncio.wait_for(listener.frames.get(), 60)
        assert frame.payload_size == size
    assert len(children) == 1
    _, status = os.waitpid(children[0], 0)
    assert status == 0, status
    transport.disconnect()
    await transport.wait_disconnected()
    server.close()
    await server.wait_closed()


loop = new_loop(KIND)
try:
    loop.run_until_complete(main())
finally:
    if os.getpid() != PARENT:
        os._exit(1)
loop.close()
print("ok")
