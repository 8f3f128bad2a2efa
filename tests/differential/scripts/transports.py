"""A transport's attributes, and who keeps what alive."""

import asyncio
import weakref

from kit import ROLES, TEXT, attempt, link, recorder

DIFFERS = {"response-reused": ["server: response headers"]}

READ_ONLY = (
    "close_handshake",
    "is_client_side",
    "is_close_frame_sent",
    "is_disconnected",
    "is_secure",
    "request",
    "response",
    "underlying_transport",
)


async def main(ws, log):
    for role in ROLES:
        async with link(ws, role) as there:
            transport = there.transport
            log(
                f"{role}: flags",
                [
                    transport.is_client_side,
                    transport.is_secure,
                    transport.is_close_frame_sent,
                    transport.is_disconnected,
                    transport.close_handshake,
                ],
            )
            request, response = transport.request, transport.response
            log(f"{role}: request", [request.method, request.path, request.version])
            log(f"{role}: request headers", sorted(name.lower() for name in request.headers))
            log(f"{role}: response", [int(response.status), response.version, response.body])
            log(f"{role}: response headers", sorted(name.lower() for name in response.headers))
            log(
                f"{role}: kinds",
                [
                    isinstance(transport, ws.WSTransport),
                    isinstance(request, ws.WSUpgradeRequest),
                    isinstance(response, ws.WSUpgradeResponse),
                ],
            )
            underlying = transport.underlying_transport
            log(
                f"{role}: underlying",
                [
                    underlying.get_extra_info("peername")[0],
                    underlying.get_extra_info("sockname")[0],
                    underlying.get_extra_info("ssl_object"),
                    underlying.get_extra_info("nothing", "default"),
                    underlying.is_closing(),
                    underlying.get_write_buffer_size(),
                ],
            )
            for name in READ_ONLY:
                value = getattr(transport, name)
                log(f"{role}: {name} is read-only", attempt(setattr, transport, name, value))
            log(f"{role}: weak reference", weakref.ref(transport)() is transport)
            log(f"{role}: of a listener", weakref.ref(there.listener)() is there.listener)

        same = []
        listener = recorder(
            ws,
            on_ws_connected=same.append,
            on_ws_frame=lambda transport, _, same=same: same.append(transport),
            on_ws_disconnected=same.append,
        )
        async with link(ws, role, listener) as there:
            waiting = asyncio.ensure_future(there.transport.wait_disconnected())
            await asyncio.sleep(0)
            waiting.cancel()
            there.peer.send_frame(TEXT, b"x")
            await listener.until("TEXT")
            log(f"{role}: a wait that was cancelled", there.transport.is_disconnected)
            there.peer.end()
            await there.events()
            log(f"{role}: one transport for all", [len(same), len(set(map(id, same)))])

    class Listener(ws.WSListener):
        pass

    listener = Listener()
    listener.own = 1
    log("a listener's own attributes", vars(listener))
