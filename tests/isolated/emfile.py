"""A server that runs out of descriptors: waits for them at no cost, then accepts again."""

from __future__ import annotations

import asyncio
import resource
import socket
import sys
import time

from conftest import new_loop
from helpers import EchoListener, request_bytes, without_descriptors

from picows_c import ws_create_server


async def main() -> None:
    loop = asyncio.get_running_loop()
    problems = []
    loop.set_exception_handler(lambda _, context: problems.append(context))
    server = await ws_create_server(lambda r: EchoListener(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    peers = [socket.socket() for _ in range(5)]
    for peer in peers:
        peer.settimeout(20)
    await asyncio.sleep(0.01)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with without_descriptors():
        for peer in peers:
            peer.connect(("127.0.0.1", port))
            peer.sendall(request_bytes())
        await asyncio.sleep(0.05)
        assert len(problems) == 1, problems
        assert isinstance(problems[0]["exception"], OSError)
        cpu = time.process_time()
        await asyncio.sleep(0.4)
        assert time.process_time() - cpu < 0.1, time.process_time() - cpu
        assert len(problems) == 1, problems
    # Tried again after a second.
    for peer in peers:
        answer = await loop.run_in_executor(None, peer.recv, 12)
        assert answer == b"HTTP/1.1 101", answer
        peer.close()
    server.close()
    await asyncio.wait_for(server.wait_closed(), 10)

    # Closing cancels the retry.
    server = await ws_create_server(lambda r: EchoListener(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    peer = socket.socket()
    with without_descriptors():
        peer.connect(("127.0.0.1", port))
        await asyncio.sleep(0.05)
        assert len(problems) == 2, problems
        server.close()
        await asyncio.wait_for(server.wait_closed(), 10)
        await asyncio.sleep(1.2)
        assert len(problems) == 2, problems
        peer.close()


loop = new_loop(sys.argv[1])
loop.run_until_complete(asyncio.wait_for(main(), 40))
loop.close()
print("ok")
