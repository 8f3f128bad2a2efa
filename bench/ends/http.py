"""aiohttp: its low-level server (no router before the handler) and its client."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
from typing import Any

from .meter import Meter, Windows
from .process import client_context, finish, leave, say, server_context, url, weigh


async def listen(args: Any, handler: Any) -> Any:
    """Serve each connection by ``handler(websocket)``; return the port."""
    web = importlib.import_module("aiohttp.web")

    async def upgrade(request: Any) -> Any:
        websocket = web.WebSocketResponse(**args.options)
        await websocket.prepare(request)
        await handler(websocket)
        return websocket

    runner = web.ServerRunner(web.Server(upgrade, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(args)).start()
    return runner.addresses[0][1]


# ---- servers ----


async def echo(lib: Any, args: Any) -> None:
    done = asyncio.get_running_loop().create_future()
    meter = Meter(args.count)
    left, mark = meter.total, meter.count

    async def handler(websocket: Any) -> None:
        nonlocal left, mark
        async for message in websocket:
            await websocket.send_bytes(message.data)
            left -= 1
            if left == mark:
                mark = meter.reached()
                if mark < 0:
                    done.set_result(None)

    say(await listen(args, handler))
    await done
    await finish(meter.figures)


async def gate(lib: Any, args: Any) -> None:
    done = asyncio.get_running_loop().create_future()
    windows = Windows(args.connections, args.count)

    async def handler(websocket: Any) -> None:
        if windows.one():
            done.set_result(None)
        async for _ in websocket:
            pass

    say(await listen(args, handler))
    await done
    await finish(windows.figures())


async def idle(lib: Any, args: Any) -> None:
    async def handler(websocket: Any) -> None:
        async for message in websocket:
            await websocket.send_bytes(message.data)

    await weigh(await listen(args, handler))


# ---- clients ----


async def ask(lib: Any, args: Any) -> None:
    meter = Meter(args.count)
    left, mark = meter.total, meter.count
    message = bytes(args.size)

    async def talk(websocket: Any) -> None:
        nonlocal left, mark
        while left > 0:
            await websocket.send_bytes(message)
            await websocket.receive()
            left -= 1
            if left == mark:
                mark = meter.reached()

    async with lib.ClientSession() as session:
        websockets = [
            await session.ws_connect(url(args), ssl=client_context(args) or True, **args.options)
            for _ in range(args.connections)
        ]
        await asyncio.gather(*map(talk, websockets))
        leave(meter.figures)


async def receive(lib: Any, args: Any, use: Any) -> None:
    meter = Meter(args.count)
    left, mark = meter.total, meter.count
    async with lib.ClientSession() as session:
        websocket = await session.ws_connect(url(args), **args.options)
        while left > 0:
            message = await websocket.receive()
            if use is not None:
                use(message.data)
            left -= 1
            if left == mark:
                assert len(message.data) == args.size
                mark = meter.reached()
                if left > 0:
                    await websocket.send_bytes(b"")
        leave(meter.figures)


async def receiver(lib: Any, args: Any) -> None:
    await receive(lib, args, None)


async def consumer(lib: Any, args: Any) -> None:
    await receive(lib, args, lambda data: hashlib.md5(data).digest())


ROLES = {
    "echo": echo,
    "gate": gate,
    "idle": idle,
    "ask": ask,
    "receiver": receiver,
    "consumer": consumer,
}
