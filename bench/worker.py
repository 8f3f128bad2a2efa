"""One process of a benchmark: an echo server or an echo client of one library.

The API of picows and picows_c is the same, so the same code measures both. Prints one line of
JSON: the figures of the client, or of the server when its client has gone.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import sys
import time
from typing import Any


def figures(count: int, began: float, times: os.times_result) -> dict[str, float]:
    """Rate and CPU for each of ``count`` messages since ``began`` and ``times``."""
    seconds = time.perf_counter() - began
    now = os.times()
    return {
        "rate": count / seconds,
        "user_us": (now.user - times.user) / count * 1e6,
        "system_us": (now.system - times.system) / count * 1e6,
    }


async def serve(lib: Any, options: dict[str, Any]) -> None:
    done = asyncio.get_running_loop().create_future()

    class Server(lib.WSListener):  # type: ignore[misc, name-defined]
        def on_ws_connected(self, transport: Any) -> None:
            self.count = 0

        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if frame.msg_type == lib.WSMsgType.CLOSE:
                result = figures(self.count, self.began, self.times)
                transport.send_close(frame.get_close_code())
                transport.disconnect()
                done.set_result(result)
                return
            # From the first message on: start-up is not measured.
            if self.count == 0:
                self.began, self.times = time.perf_counter(), os.times()
            self.count += 1
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())

    server = await lib.ws_create_server(lambda request: Server(), "127.0.0.1", 0, **options)
    print(server.sockets[0].getsockname()[1], flush=True)
    result = await done
    print(json.dumps(result), flush=True)
    server.close()


async def ask(lib: Any, port: int, size: int, count: int, options: dict[str, Any]) -> None:
    message = bytes(size)
    result: dict[str, float] = {}

    class Client(lib.WSListener):  # type: ignore[misc, name-defined]
        def on_ws_connected(self, transport: Any) -> None:
            # A tenth more to warm up, not counted.
            self.left = count + count // 10
            transport.send(lib.WSMsgType.BINARY, message)

        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if frame.msg_type == lib.WSMsgType.CLOSE:
                transport.disconnect()
                return
            self.left -= 1
            if self.left == count:
                self.began, self.times = time.perf_counter(), os.times()
            if self.left == 0:
                result.update(figures(count, self.began, self.times))
                transport.send_close(lib.WSCloseCode.OK)
                return
            transport.send(lib.WSMsgType.BINARY, message)

    transport, _ = await lib.ws_connect(Client, f"ws://127.0.0.1:{port}", **options)
    await transport.wait_disconnected()
    print(json.dumps(result), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["server", "client"])
    parser.add_argument("library")
    parser.add_argument("loop", choices=["asyncio", "uvloop"])
    parser.add_argument("--options", type=json.loads, default={})
    parser.add_argument("--port", type=int)
    parser.add_argument("--size", type=int)
    parser.add_argument("--count", type=int)
    args = parser.parse_args()
    lib = importlib.import_module(args.library)
    work = (
        serve(lib, args.options)
        if args.role == "server"
        else ask(lib, args.port, args.size, args.count, args.options)
    )
    if args.loop == "uvloop":
        uvloop = importlib.import_module("uvloop")
        uvloop.run(work)
    else:
        asyncio.run(work)


if __name__ == "__main__":
    # The script's folder must not shadow a library.
    sys.path = [entry for entry in sys.path if entry != os.path.dirname(os.path.abspath(__file__))]
    main()
