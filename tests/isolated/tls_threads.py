"""A loop in each of several threads, and TLS handshakes, one behind the other, in each.

python tls_threads.py LOOP THREADS ROUNDS FOLDER
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import threading
from pathlib import Path

from conftest import new_loop
from helpers import EchoListener, Recorder

from picows_c import WSMsgType, ws_connect, ws_create_server

KIND, THREADS, ROUNDS, FOLDER = (
    sys.argv[1],
    int(sys.argv[2]),
    int(sys.argv[3]),
    Path(sys.argv[4]),
)
done: list[int] = []


async def main(number: int) -> None:
    server_ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_ssl.load_cert_chain(FOLDER / "server.pem")
    client_ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_ssl.load_verify_locations(FOLDER / "ca.pem")
    server = await ws_create_server(lambda r: EchoListener(), "127.0.0.1", 0, ssl=server_ssl)
    url = f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    for n in range(ROUNDS):
        transport, listener = await ws_connect(Recorder, url, ssl_context=client_ssl)
        payload = bytes([number, n]) * 20_000
        transport.send(WSMsgType.BINARY, payload)
        frame = await asyncio.wait_for(listener.frames.get(), 60)
        assert frame.get_payload_as_bytes() == payload
        transport.disconnect()
        await transport.wait_disconnected()
    server.close()
    await server.wait_closed()
    done.append(number)


def run(number: int) -> None:
    loop = new_loop(KIND)
    loop.run_until_complete(main(number))
    loop.close()


threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(done) == THREADS, done
print("ok")
