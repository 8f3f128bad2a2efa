"""websockets, and what has its API: picows.websockets."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from typing import Any

from .meter import Meter, Windows
from .process import client_context, finish, leave, say, server_context, url, weigh


def port(server: Any) -> Any:
    return next(iter(server.sockets)).getsockname()[1]


async def listen(lib: Any, args: Any, handler: Any) -> Any:
    return await lib.serve(handler, "127.0.0.1", 0, ssl=server_context(args), **args.options)


# ---- servers ----


async def echo(lib: Any, args: Any) -> None:
    done = asyncio.get_running_loop().create_future()
    meter = Meter(args.count)
    left, mark = meter.total, meter.count

    async def handler(connection: Any) -> None:
        nonlocal left, mark
        # The client ends without a CLOSE.
        with contextlib.suppress(lib.ConnectionClosed):
            async for message in connection:
                await connection.send(message)
                left -= 1
                if left == mark:
                    mark = meter.reached()
                    if mark < 0:
                        done.set_result(None)

    server = await listen(lib, args, handler)
    say(port(server))
    await done
    await finish(meter.figures)
    server.close()


async def gate(lib: Any, args: Any) -> None:
    done = asyncio.get_running_loop().create_future()
    windows = Windows(args.connections, args.count)

    async def handler(connection: Any) -> None:
        if windows.one():
            done.set_result(None)
        await connection.wait_closed()

    server = await listen(lib, args, handler)
    say(port(server))
    await done
    await finish(windows.figures())
    server.close()


async def idle(lib: Any, args: Any) -> None:
    async def handler(connection: Any) -> None:
        with contextlib.suppress(lib.ConnectionClosed):
            async for message in connection:
                await connection.send(message)

    await weigh(port(await listen(lib, args, handler)))


# ---- clients ----


async def connect(lib: Any, args: Any) -> Any:
    return await lib.connect(url(args), ssl=client_context(args), proxy=None, **args.options)


async def ask(lib: Any, args: Any) -> None:
    meter = Meter(args.count)
    left, mark = meter.total, meter.count
    message = bytes(args.size)

    async def talk(connection: Any) -> None:
        nonlocal left, mark
        while left > 0:
            await connection.send(message)
            await connection.recv()
            left -= 1
            if left == mark:
                mark = meter.reached()

    connections = [await connect(lib, args) for _ in range(args.connections)]
    await asyncio.gather(*map(talk, connections))
    leave(meter.figures)


async def receive(lib: Any, args: Any, use: Any) -> None:
    meter = Meter(args.count)
    left, mark = meter.total, meter.count
    connection = await connect(lib, args)
    while left > 0:
        message = await connection.recv()
        if use is not None:
            use(message)
        left -= 1
        if left == mark:
            assert len(message) == args.size
            mark = meter.reached()
            if left > 0:
                await connection.send(b"")
    leave(meter.figures)


async def receiver(lib: Any, args: Any) -> None:
    await receive(lib, args, None)


async def consumer(lib: Any, args: Any) -> None:
    await receive(lib, args, lambda message: hashlib.md5(message).digest())


ROLES = {
    "echo": echo,
    "gate": gate,
    "idle": idle,
    "ask": ask,
    "receiver": receiver,
    "consumer": consumer,
}
