"""What ws_create_server returns."""

import asyncio
import socket

from kit import answer_of, open_raw, outcome, recorder
from wire import read_head, request_bytes


async def main(ws, log):
    listeners = []

    def factory(_):
        listeners.append(recorder(ws))
        return listeners[-1]

    server = await ws.ws_create_server(factory, "127.0.0.1", 0)
    log("is a server", isinstance(server, asyncio.AbstractServer))
    log("serves", server.is_serving())
    log("its loop", server.get_loop() is asyncio.get_running_loop())
    host, port = server.sockets[0].getsockname()
    log("its sockets", [len(server.sockets), host, port > 0])
    log("the port again", await outcome(ws.ws_create_server(factory, "127.0.0.1", port)))

    peer = await open_raw(port)
    peer.send(request_bytes())
    await read_head(peer.reader)
    log("close()", server.close())
    log("close() again", server.close())
    log("serves no more", [server.is_serving(), len(server.sockets)])
    log("nobody accepts", await outcome(open_raw(port)))
    listeners[0].transport.send(ws.WSMsgType.TEXT, "still here")
    log("a connection stays", await peer.receive())
    peer.end()
    log("and ends", await listeners[0].until("disconnected"))
    log("wait_closed()", await outcome(server.wait_closed()))

    server = await ws.ws_create_server(factory, "127.0.0.1", 0, start_serving=False)
    log("not started", server.is_serving())
    log("start_serving()", [await server.start_serving(), server.is_serving()])
    port = server.sockets[0].getsockname()[1]
    log("started", (await answer_of(port, request_bytes()))[0])
    server.close()

    sock = socket.create_server(("127.0.0.1", 0))
    server = await ws.ws_create_server(factory, sock=sock)
    log("a socket", (await answer_of(sock.getsockname()[1], request_bytes()))[0])
    server.close()

    async with await ws.ws_create_server(factory, "127.0.0.1", 0) as server:
        log("within async with", server.is_serving())
        forever = asyncio.ensure_future(server.serve_forever())
        await asyncio.sleep(0)
        port = server.sockets[0].getsockname()[1]
        log("serve_forever()", (await answer_of(port, request_bytes()))[0])
        forever.cancel()
        log(
            "cancelled",
            [
                await outcome(asyncio.gather(forever, return_exceptions=True)) != [],
                server.is_serving(),
            ],
        )
    log("behind async with", server.is_serving())

    server = await ws.ws_create_server(factory, ["127.0.0.1"], 0, reuse_port=True, backlog=5)
    port = server.sockets[0].getsockname()[1]
    other = await ws.ws_create_server(factory, "127.0.0.1", port, reuse_port=True)
    log("reuse_port", other.is_serving())
    for one in (server, other):
        one.close()
        await outcome(one.wait_closed())
