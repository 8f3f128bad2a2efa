"""WSTransport: the user's handle of one connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Optional

from . import _core
from .closing import WSCloseHandshake, WSCloseInfo
from .enums import WSCloseCode

if TYPE_CHECKING:
    from .handshake import WSUpgradeRequest, WSUpgradeResponse
    from .protocol import WSProtocol


class WSTransport(_core.WSTransport):
    """One WebSocket connection: sends frames, closes, and can be waited for.

    It belongs to the thread of its event loop: every method raises RuntimeError on another one.
    It can be asked anything after the connection, or the loop, has gone.

    request: the upgrade request.
    response: the upgrade response.
    close_handshake: the CLOSE frames seen so far, None before the first.
    subprotocol: the subprotocol that both sides agreed on, None for none.
    is_secure: whether the connection runs over TLS.
    is_disconnected: whether the connection is gone.
    """

    __slots__ = (
        "_error",
        "_loop",
        "_waiter",
        "close_handshake",
        "is_disconnected",
        "is_secure",
        "request",
        "response",
        "subprotocol",
    )

    request: Optional[WSUpgradeRequest]
    response: Optional[WSUpgradeResponse]
    close_handshake: Optional[WSCloseHandshake]
    subprotocol: Optional[str]
    is_secure: bool
    is_disconnected: bool

    def __init__(
        self,
        owner: WSProtocol,
        target: asyncio.Transport,
        fd: int,
        is_client: bool,
        auto_pong: bool,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(owner, target, fd, is_client, auto_pong)
        self._loop = loop
        self._error: Optional[BaseException] = None
        self._waiter: Optional[asyncio.Future[None]] = None
        self.request = None
        self.response = None
        self.close_handshake = None
        self.subprotocol = None
        self.is_secure = target.get_extra_info("ssl_object") is not None
        self.is_disconnected = False

    def disconnect(self, graceful: bool = True) -> None:
        """End the connection, without a CLOSE frame of its own; nothing is delivered afterwards.

        graceful: what waits to be written is sent first and the peer gets an orderly end of stream,
            within ``close_timeout`` at most; otherwise the connection is dropped at once.
        """
        self._check_thread("disconnect")
        owner = self._owner
        if owner is not None:
            owner.disconnect(graceful)

    async def wait_disconnected(self) -> None:
        """Wait until the connection is gone and ``on_ws_disconnected`` has run.

        On the client it raises the exception that ended the connection on this side: that of a
        callback, or WSProtocolError. What the peer did never raises. Cancelling the wait does not
        touch the connection.
        """
        self._check_thread("wait_disconnected")
        if not self.is_disconnected or self._owner is not None:
            if self._waiter is None:
                self._waiter = self._loop.create_future()
            await asyncio.shield(self._waiter)
        if self._error is not None and self.is_client_side:
            raise self._error

    # ---- for the protocol ----

    def _note_close(self, sent: bool, code: int, reason: Optional[str]) -> None:
        info = WSCloseInfo(WSCloseCode(code), reason)
        known = self.close_handshake or WSCloseHandshake(None, None, False)
        self.close_handshake = (
            WSCloseHandshake(known.recv, info, known.recv is not None)
            if sent
            else WSCloseHandshake(info, known.sent, known.sent is None)
        )

    def _note_error(self, error: BaseException) -> None:
        """Keep the first error: it is the one that ended the connection."""
        if self._error is None:
            self._error = error

    def _finish(self) -> None:
        self._lost()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._waiter = None
