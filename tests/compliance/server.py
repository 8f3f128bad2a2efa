"""An echo server for the suite's fuzzingclient. It prints its port and runs until stdin ends."""

from __future__ import annotations

import argparse

from testee import OPTIONS, EchoListener, end_of_stdin, run

from picows_c import ws_create_server


async def main() -> None:
    server = await ws_create_server(lambda request: EchoListener(), "127.0.0.1", 0, **OPTIONS)
    stop = end_of_stdin()
    print(server.sockets[0].getsockname()[1], flush=True)
    await stop.wait()
    server.close()
    await server.wait_closed()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    run(main(), parser.parse_args().loop)
