"""wss: echo, the certificate, a peer that speaks something else."""

import ssl

from kit import open_raw, outcome, pem, raw_server, recorder, serving

DIFFERS = {"no-answer": ["without TLS"]}


async def main(ws, log):
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(pem("server"))
    client_context = ssl.create_default_context(cafile=pem("authority"))

    def echo(transport, frame):
        transport.send(frame.msg_type, frame.get_payload_as_memoryview())

    server = recorder(ws, on_ws_frame=echo)
    async with serving(ws, lambda _: server, ssl=server_context) as port:
        url = f"wss://localhost:{port}/"
        client = recorder(ws)
        transport, _ = await ws.ws_connect(lambda: client, url, ssl_context=client_context)
        log("is_secure", [transport.is_secure, server.transport.is_secure])
        for size in (0, 1, 20_000, 300_000):
            payload = b"x" * size
            transport.send(ws.WSMsgType.BINARY, payload)
            events = await client.until("BINARY", len(client.events))
            log(f"{size} bytes", events[-1][1] == payload)
        log("ssl_object", transport.underlying_transport.get_extra_info("ssl_object") is not None)
        transport.disconnect()
        log("events", [client.events[0], (await client.until("disconnected"))[-1]])
        log("events of the server", (await server.until("disconnected"))[-1])

        log("an unknown authority", await outcome(ws.ws_connect(ws.WSListener, url)))
        made = await outcome(
            ws.ws_connect(
                ws.WSListener, url, ssl_context=client_context, server_hostname="example.com"
            )
        )
        log("another name", made)
        made = await outcome(ws.ws_connect(ws.WSListener, url.replace("wss", "ws")), 1.0)
        log("without TLS", made if isinstance(made, list) else type(made).__name__)
        peer = await open_raw(port)
        peer.send(b"GET / HTTP/1.1\r\n\r\n")
        log("a plain client", await peer.ended() in ("end", "reset"))

    async def refuse(peer):
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with raw_server(refuse) as port:
        url = f"wss://localhost:{port}/"
        made = await outcome(ws.ws_connect(ws.WSListener, url, ssl_context=client_context))
        log("a plain server", made)
