"""The C example in two interpreters of one process; see test_c_api.py."""

from __future__ import annotations

import sys
import textwrap
from typing import Any

EXCHANGE = """
import asyncio, importlib.machinery, importlib.util, os, sys
sys.path[:] = {path!r}
from picows_c import WSMsgType, ws_connect, ws_create_server

loader = importlib.machinery.ExtensionFileLoader("c_listener", {file!r})
spec = importlib.util.spec_from_loader("c_listener", loader)
c_listener = importlib.util.module_from_spec(spec)
loader.exec_module(c_listener)

async def main():
    server = await ws_create_server(lambda request: c_listener.echo(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    ticks = c_listener.Ticks(b'{{"p": "1.5"}}')
    transport, _ = await ws_connect(ticks.listener, f"ws://127.0.0.1:{{port}}/")
    transport.send(WSMsgType.TEXT, '{{"p": "2.5"}}')
    transport.send(WSMsgType.TEXT, '{{"p": "3.5"}}')
    # Its answer comes behind the echoes.
    transport.send_close()
    await transport.wait_disconnected()
    server.close()
    await server.wait_closed()
    os.write(1, f"{name}: {{ticks.count}}\\n".encode())

asyncio.run(main())
"""


def run_in_another(code: str) -> None:
    """Run code in a sub-interpreter; exceptions come through."""
    interpreters: Any
    if sys.version_info >= (3, 13):
        import _interpreters as interpreters
    else:
        import _xxsubinterpreters as interpreters
    sub = interpreters.create()
    failure = interpreters.run_string(sub, textwrap.dedent(code))
    interpreters.destroy(sub)
    if failure is not None:
        raise RuntimeError(failure.errdisplay)


def main() -> None:
    for name in ("main", "sub", "main"):
        code = EXCHANGE.format(path=sys.path, file=sys.argv[1], name=name)
        if name == "main":
            exec(code, {})
        else:
            run_in_another(code)


if __name__ == "__main__":
    main()
