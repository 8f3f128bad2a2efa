"""Real proxies in a thread of their own, and others that do what a test says."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Optional

USER, PASSWORD = "user", "pa:ss wörd"
QUOTED = "user:pa%3Ass%20w%C3%B6rd@"
# SOCKS has no encoding: ASCII.
SOCKS_PASSWORD = "pa:ss@word"
SOCKS_QUOTED = "user:pa%3Ass%40word@"

KINDS = ["http", "https", "socks4", "socks5"]


class Proxies:
    """tiny-proxy: HTTP CONNECT, the same over TLS, SOCKS4 and SOCKS5, each with and without
    credentials. Counts the connections of each.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.ports: dict[tuple[str, bool], int] = {}
        self.count: dict[tuple[str, bool], int] = {}

    @contextlib.contextmanager
    def run(self) -> Iterator[Proxies]:
        import anyio.from_thread

        with anyio.from_thread.start_blocking_portal() as portal:
            serving = []
            for kind in KINDS:
                for auth in (False, True):
                    listener = portal.call(self._listen, kind, auth)
                    serving.append(portal.start_task_soon(self._serve, listener, kind, auth))
            yield self
            for future in serving:
                future.cancel()

    async def _listen(self, kind: str, auth: bool) -> Any:
        import anyio
        from anyio.abc import SocketAttribute

        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        self.ports[kind, auth] = listener.extra(SocketAttribute.local_port)
        self.count[kind, auth] = 0
        return listener

    async def _serve(self, listener: Any, kind: str, auth: bool) -> None:
        import tiny_proxy
        from anyio.streams.tls import TLSStream

        password = SOCKS_PASSWORD if kind.startswith("socks") else PASSWORD
        # tiny-proxy decodes HTTP's credentials as Latin-1.
        as_seen = password.encode("utf-8").decode("latin-1")
        named = {"username": USER, "password": as_seen} if auth else {}
        if kind == "socks4":
            handler = tiny_proxy.Socks4ProxyHandler(**({"username": USER} if auth else {}))
        elif kind == "socks5":
            handler = tiny_proxy.Socks5ProxyHandler(**named)
        else:
            handler = tiny_proxy.HttpProxyHandler(**named)

        async def handle(stream: Any) -> None:
            self.count[kind, auth] += 1
            # A client that goes away in the middle is none of our business.
            with contextlib.suppress(Exception):
                async with stream:
                    if kind == "https":
                        stream = await TLSStream.wrap(
                            stream, ssl_context=self._context, standard_compatible=False
                        )
                    await handler.handle(stream)

        async with listener:
            await listener.serve(handle)

    def url(self, kind: str, auth: Any = False) -> str:
        """The proxy's URL; ``auth`` may also be other userinfo for the one that wants some."""
        quoted = SOCKS_QUOTED if kind.startswith("socks") else QUOTED
        userinfo = auth if isinstance(auth, str) else quoted if auth else ""
        return f"{kind}://{userinfo}127.0.0.1:{self.ports[kind, bool(auth)]}"


@contextlib.asynccontextmanager
async def scripted(
    script: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    context: Optional[ssl.SSLContext] = None,
) -> AsyncIterator[int]:
    """Run a server that does what the script says with each connection; yield its port."""
    writers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            await script(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()
