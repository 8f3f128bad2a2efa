"""WSListener: the callbacks of a connection and their contracts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from .enums import WSMsgType

if TYPE_CHECKING:
    from ._core import Callbacks, WSFrame
    from .transport import WSTransport


# What asks the process to end. It goes through a callback to the loop; whatever else leaves one is
# the callback's own: also what is no Exception, as CancelledError, GeneratorExit and what pytest's
# fail() and skip() raise.
EXITS = (KeyboardInterrupt, SystemExit)


class WSListener:
    """Receives what happens on one connection; derive from it and override what you need.

    Every callback runs in the thread of the connection's event loop and gets the same transport.
    Callbacks are plain functions: what takes long belongs into a task. An exception of a callback
    is anything that it raises but KeyboardInterrupt and SystemExit, which end the event loop.
    """

    # What the C API bound to this listener: functions that take the place of on_ws_frame() and,
    # by attributes of the instance, of on_ws_connected() and on_ws_disconnected().
    _c_callbacks: Optional[Callbacks] = None

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

    def send_user_specific_ping(self, transport: WSTransport) -> None:
        """Ask the peer for a sign of life, for auto ping and ``measure_roundtrip_time()``.

        By default a PING (RFC 6455, 5.5.2); override it, and is_user_specific_pong(), where the
        peer expects a message of its own kind. An exception ends the connection with 1011 in auto
        ping, and is raised by ``measure_roundtrip_time()``.
        """
        transport.send_ping()

    def is_user_specific_pong(self, frame: WSFrame) -> bool:
        """Return whether the frame answers the last send_user_specific_ping().

        Asked for each frame, but CLOSE, while an answer is expected; the answer is not delivered to
        on_ws_frame(). By default it is the next PONG. An exception counts as one of on_ws_frame().
        """
        return frame.msg_type == WSMsgType.PONG

    def on_ws_error(self, transport: WSTransport, exc: Any, where: str) -> None:
        """Be told of an exception that a callback of this listener raised, on either side.

        Runs before the connection is ended where the exception does that. By default it is logged.

        exc: the exception, a BaseException: ``asyncio.CancelledError``, for example, is one.
        where: the callback's name.
        """
        transport._log_error(exc, where)


def rebinds(listener: WSListener, method: str) -> bool:
    """Return whether the listener has a method of its own in place of the default."""
    own = getattr(type(listener), method) is not getattr(WSListener, method)
    return own or method in getattr(listener, "__dict__", {})
