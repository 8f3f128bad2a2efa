"""A process with connections forks: the parent goes on, the child begins anew or just ends."""

from __future__ import annotations

import asyncio
import gc
import os
import select
import signal
import socket
import ssl
import sys
import traceback
from pathlib import Path

from conftest import new_loop
from helpers import EchoListener, Recorder, accept_for, client_frame, request_bytes

from picows_c import WSMsgType, ws_connect, ws_create_server
from picows_c.poller import poller_of

KIND, SCHEME, FOLDER = sys.argv[1], sys.argv[2], Path(sys.argv[3])


def contexts():
    if SCHEME == "ws":
        return None, None
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(FOLDER / "server.pem")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(FOLDER / "ca.pem")
    return server, client


async def serve():
    server = await ws_create_server(lambda r: EchoListener(), "127.0.0.1", 0, ssl=contexts()[0])
    return server, server.sockets[0].getsockname()[1]


async def connect(port):
    return await ws_connect(Recorder, f"{SCHEME}://127.0.0.1:{port}/", ssl_context=contexts()[1])


async def echo(client, listener, count=20):
    for i in range(count):
        client.send(WSMsgType.TEXT, str(i))
        frame = await asyncio.wait_for(listener.frames.get(), 10)
        assert bytes(frame) == str(i).encode()


async def mask_keys(count=50):
    """Send frames to a server that is none of ours, and return their keys."""
    keys = []
    done = asyncio.Event()

    async def answer(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(x for x in head.split("\r\n") if x.lower().startswith("sec-websocket-key"))
        writer.write(
            b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_for(key.split(": ")[1]).encode() + b"\r\n\r\n"
        )
        for _ in range(count):
            keys.append((await reader.readexactly(7))[2:6])
        writer.close()
        done.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client, _ = await ws_connect(Recorder, f"ws://127.0.0.1:{port}/")
    for _ in range(count):
        client.send(WSMsgType.BINARY, b"x")
    await asyncio.wait_for(done.wait(), 10)
    await asyncio.wait_for(client.wait_disconnected(), 10)
    server.close()
    await server.wait_closed()
    return keys


async def of_child(write):
    server, port = await serve()
    made = await connect(port)
    await echo(*made)
    os.write(write, b"".join(await mask_keys()))
    made[0].disconnect()
    await made[0].wait_disconnected()
    server.close()
    await server.wait_closed()


def child(write, wait, old, watched):
    """A child that works on, while it holds copies of the parent's descriptors."""
    code = 1
    try:
        assert watched[0].fileno() == -1  # the parent's poller is none of ours
        assert watched[0].count == 0
        client, listener = old[0]
        client.send(WSMsgType.TEXT, "must not be sent")
        client.disconnect(False)
        old.clear()
        del client
        gc.collect()
        loop = new_loop(KIND)
        loop.run_until_complete(asyncio.wait_for(of_child(write), 30))
        loop.close()
        assert os.read(wait, 1) == b"."
        assert listener.events[-1] != "disconnected"
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


async def heard(peer, least):
    """Return what a blocking peer has received, which is at least so much."""
    while not select.select([peer], [], [], 0)[0]:
        await asyncio.sleep(0)
    data = peer.recv(4096)
    assert len(data) >= least
    return data


async def begin():
    server, port = await serve()
    made = [await connect(port) for _ in range(3)]
    for one in made:
        await echo(*one)
    await mask_keys(3)  # part of a pool is used up
    return server, port, made


async def work(server, port, made):
    peer = socket.create_connection(("127.0.0.1", port), timeout=10)
    if SCHEME == "ws":
        peer.sendall(request_bytes())
    poller = poller_of(asyncio.get_running_loop())
    while poller.count < 2 + 2 * len(made):
        await asyncio.sleep(0)
    if SCHEME == "ws":
        head = await heard(peer, 1)
        assert head.startswith(b"HTTP/1.1 101")
        for _ in range(20):  # so often alone that the loop itself watches for it
            peer.sendall(client_frame(1, b"x"))
            assert await heard(peer, 3) == b"\x81\x01x"
        assert poller.direct >= 0
    keys_read, keys_write = os.pipe()
    wait_read, wait_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(wait_write)
        peer.close()
        child(keys_write, wait_read, made, [poller])
    try:
        if SCHEME == "ws":
            peer.sendall(client_frame(1, b"y"))
            assert await heard(peer, 3) == b"\x81\x01y"
        for one in made:
            await echo(*one)
        mine = await mask_keys()
        loop = asyncio.get_running_loop()
        theirs = b""
        while len(theirs) < 200:
            part = await asyncio.wait_for(loop.run_in_executor(None, os.read, keys_read, 200), 30)
            theirs += part
        assert not set(mine) & {theirs[i : i + 4] for i in range(0, 200, 4)}, "the same keys"
        # The child, which is still there, has copies of the parent's connections.
        made.append(await connect(port))
        for one in made:
            await echo(*one)
        server.abort_clients()
        if SCHEME == "ws":
            assert await asyncio.wait_for(loop.run_in_executor(None, peer.recv, 4096), 10) == b""
        for client, _ in made:
            await asyncio.wait_for(client.wait_disconnected(), 10)
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "the child ended too early"
        os.write(wait_write, b".")
        _, status = await loop.run_in_executor(None, os.waitpid, pid, 0)
        pid = 0
        assert status == 0, status
    finally:
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    peer.close()


async def end(server):
    server.close()
    server.abort_clients()
    await asyncio.wait_for(server.wait_closed(), 10)


def main():
    loop = new_loop(KIND)
    server, port, made = loop.run_until_complete(asyncio.wait_for(begin(), 30))
    loop.run_until_complete(asyncio.wait_for(work(server, port, made), 50))
    # Between two runs: the child just ends, in the ordinary way.
    made = [loop.run_until_complete(connect(port)) for _ in range(3)]
    pid = os.fork()
    if pid == 0:
        gc.collect()
        if KIND == "uvloop":
            os._exit(0)  # its loops crash in children, with any sockets
        sys.exit(0)
    _, status = os.waitpid(pid, 0)
    assert status == 0, status
    for one in made:
        loop.run_until_complete(echo(*one))
    loop.run_until_complete(end(server))
    loop.close()


main()
print("ok")
