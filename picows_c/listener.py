"""WSListener: the callbacks of a connection and their contracts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._core import WSFrame
    from .transport import WSTransport


class WSListener:
    """Receives what happens on one connection; derive from it and override what you need.

    Every callback runs in the thread of the connection's event loop and gets the same transport.
    Callbacks are plain functions: what takes long belongs into a task.
    """

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Be told that the opening handshake (RFC 6455, 4) is done.

        An exception closes the connection with 1011, or as its WSProtocolError says; on the client
        ``wait_disconnected()`` raises it, on the server it is logged.
        """

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Receive one frame: data, PONG, CLOSE, and PING where auto pong is off.

        The frame may be kept. A CLOSE that is not answered here is answered by the library when
        the callback returns (5.5.1).

        An exception closes the connection with 1011 (with 1007 where the text getter of a TEXT
        frame found no UTF-8, with its own code for a WSProtocolError) and nothing more is
        delivered; ``disconnect_on_exception=False`` only logs it, but for WSProtocolError.
        """

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Be told that the connection is gone; once, and only after ``on_ws_connected``."""

    def pause_writing(self) -> None:
        """Be told that what waits to be written exceeds the transport's high watermark.

        Runs inside the ``send()`` that crossed it. You may go on sending; it is buffered.
        """

    def resume_writing(self) -> None:
        """Be told that what waits to be written fell below the transport's low watermark."""
