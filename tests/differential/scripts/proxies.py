"""HTTP and SOCKS proxies."""

import asyncio
import contextlib
import ssl
import struct

from kit import accept, accepting, outcome, pem, raw_server, recorder, without_port
from wire import read_head

DIFFERS = {
    "proxy-error": [
        "http: 407",
        "http: 502",
        "http: no HTTP",
        "http: an empty answer",
        "http: 70,000 bytes of head",
        "socks5: refused",
        "socks5: nobody there",
    ],
    "proxy-url": ["an unknown scheme"],
    "proxy-secure": ["https"],
}


async def pump(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()


async def join(peer, port):
    """Pass bytes between the peer and a port here, both ways."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.gather(pump(peer.reader, writer), pump(reader, peer.writer))


async def main(ws, log):
    seen = []
    target = 0
    answer = b""

    async def http(peer):
        head = await peer.reader.readuntil(b"\r\n\r\n")
        seen.append(without_port(head.decode()))
        peer.send(answer)
        if b" 200" in answer or b" 204" in answer:
            await join(peer, target)
        else:
            peer.end()

    async def socks5(peer):
        version, count = await peer.reader.readexactly(2)
        methods = list(await peer.reader.readexactly(count))
        method = 2 if 2 in methods else 0
        peer.send(bytes([5, method]))
        user = None
        if method == 2:
            _, size = await peer.reader.readexactly(2)
            user = await peer.reader.readexactly(size)
            (size,) = await peer.reader.readexactly(1)
            user += b":" + await peer.reader.readexactly(size)
            peer.send(b"\1\0")
        _, command, _, kind = await peer.reader.readexactly(4)
        if kind == 3:
            (size,) = await peer.reader.readexactly(1)
            host = await peer.reader.readexactly(size)
        else:
            host = await peer.reader.readexactly(4 if kind == 1 else 16)
        await peer.reader.readexactly(2)
        seen.append([version, user, command, kind, host])
        if host == b"refused.test":
            peer.send(b"\5\2\0\1\0\0\0\0\0\0")
            return
        peer.send(b"\5\0\0\1\0\0\0\0\0\0")
        await join(peer, target)

    async def socks4(peer):
        head = await peer.reader.readexactly(8)
        user = await peer.reader.readuntil(b"\0")
        version, command, _, address = struct.unpack("!BBH4s", head)
        seen.append([version, command, address, user])
        peer.send(b"\0\x5a\0\0\0\0\0\0")
        await join(peer, target)

    async def connect(name, proxy, url=None, **options):
        seen.clear()
        listener = recorder(ws)
        url = url or f"ws://127.0.0.1:{target}/"
        made = await outcome(ws.ws_connect(lambda: listener, url, proxy=proxy, **options))
        if isinstance(made, tuple):
            transport = made[0]
            secure = transport.is_secure
            transport.disconnect(False)
            made = [secure, await listener.until("disconnected")]
        log(name, [made, seen])

    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem("server"))
    client = ssl.create_default_context(cafile=pem("authority"))
    ok = b"HTTP/1.1 200 Connection established\r\nVia: 1\r\n\r\n"

    async with raw_server(accept) as plain, raw_server(accept, ssl=server) as secure:
        async with raw_server(http) as port:
            for name, status in {
                "200": ok,
                "204": b"HTTP/1.1 204 No Content\r\n\r\n",
                "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n",
                "without phrase": b"HTTP/1.1 200\r\n\r\n",
                "407": b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
                "502": b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
                "no HTTP": b"SSH-2.0-x\r\n\r\n",
                "an empty answer": b"",
                "70,000 bytes of head": b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000 + b"\r\n\r\n",
            }.items():
                answer, target = status, plain
                await connect(f"http: {name}", f"http://127.0.0.1:{port}")
            answer = ok
            await connect("http: credentials", f"http://user:p%40ss@127.0.0.1:{port}")
            await connect("http: a name", f"http://127.0.0.1:{port}", "ws://example.test/")
            await connect("http: IPv6", f"http://127.0.0.1:{port}", "ws://[::1]:81/")
            await connect(
                "http: a context for it",
                f"http://127.0.0.1:{port}",
                proxy_ssl_context=client,
            )
            target = secure
            await connect(
                "http: wss",
                f"http://127.0.0.1:{port}",
                f"wss://localhost:{secure}/",
                ssl_context=client,
            )
            calls = []
            target = plain
            await connect(
                "http: socket_factory",
                f"http://127.0.0.1:{port}",
                socket_factory=lambda url: calls.append([url.scheme, url.port == port]),
            )
            log("http: socket_factory's argument", calls)

            hops = []

            async def redirect(peer):
                first, headers = await read_head(peer.reader)
                hops.append(first)
                if len(hops) == 1:
                    peer.send(b"HTTP/1.1 302 Found\r\nLocation: /there\r\n\r\n")
                else:
                    peer.send(accepting(headers["sec-websocket-key"]))

            async with raw_server(redirect) as hop:
                target = hop
                await connect("http: a redirect", f"http://127.0.0.1:{port}")
            log("http: a redirect: requests", hops)

        await connect("http: nobody there", f"http://127.0.0.1:{port}")
        await connect("an unknown scheme", f"gopher://127.0.0.1:{port}")

        async with raw_server(http, ssl=server) as port:
            target = plain
            url = f"https://localhost:{port}"
            await connect("https", url, proxy_ssl_context=client)
            target = secure
            await connect(
                "https: wss",
                url,
                f"wss://localhost:{secure}/",
                proxy_ssl_context=client,
                ssl_context=client,
            )
            await connect("https: an unknown authority", url)

        target = plain
        async with raw_server(socks5) as port:
            await connect("socks5", f"socks5://127.0.0.1:{port}")
            await connect("socks5: credentials", f"socks5://user:pass@127.0.0.1:{port}")
            await connect("socks5: a name", f"socks5://127.0.0.1:{port}", "ws://example.test/")
            await connect("socks5: refused", f"socks5://127.0.0.1:{port}", "ws://refused.test/")
            target = secure
            await connect(
                "socks5: wss",
                f"socks5://127.0.0.1:{port}",
                f"wss://localhost:{secure}/",
                ssl_context=client,
            )
        await connect("socks5: nobody there", f"socks5://127.0.0.1:{port}")
        target = plain
        async with raw_server(socks4) as port:
            await connect("socks4", f"socks4://127.0.0.1:{port}")
