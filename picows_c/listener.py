"""WSListener: the callbacks of a connection and their contracts."""

from __future__ import annotations

import inspect
import operator
import warnings
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
    Callbacks are plain functions: what takes long belongs into a task. One that is ``async def``,
    or a generator, would never run: it is a TypeError, when the class is made or the listener
    given to a connection. A method ``on_ws_...`` of any other name is warned of.

    An exception of a callback is anything that it raises but KeyboardInterrupt and SystemExit,
    which end the event loop.
    """

    # What the C API bound to this listener: functions that take the place of on_ws_frame() and,
    # by attributes of the instance, of on_ws_connected() and on_ws_disconnected().
    _c_callbacks: Optional[Callbacks] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in CALLBACKS:
            _check_plain(f"{cls.__qualname__}.{name}", getattr(cls, name))
        for name in _misnamed(cls):
            warnings.warn(
                f"{cls.__qualname__}.{name} is never called: the callbacks of a WSListener are "
                f"{', '.join(sorted(CALLBACKS))}",
                stacklevel=2,
            )

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


CALLBACKS = frozenset(name for name in vars(WSListener) if not name.startswith("_"))


def _misnamed(kind: type[WSListener]) -> list[str]:
    """Return the methods that look like callbacks; those of other listeners were warned of."""
    return [
        name
        for base in kind.__mro__
        if base is kind or WSListener not in base.__mro__
        for name, value in vars(base).items()
        if name.startswith("on_ws_") and name not in CALLBACKS and callable(value)
    ]


def _check_plain(name: str, callback: Any) -> None:
    for is_wrong, what in (
        (inspect.iscoroutinefunction, "a coroutine function (async def)"),
        (inspect.isasyncgenfunction, "an asynchronous generator"),
        (inspect.isgeneratorfunction, "a generator (it has a yield)"),
    ):
        # An object's class may have such a __call__().
        if is_wrong(callback) or is_wrong(getattr(callback, "__call__", None)):  # noqa: B004
            raise TypeError(
                f"{name} is {what}, and would never run: callbacks are plain functions, which may "
                "start a task"
            )


_all_callbacks = operator.attrgetter(*sorted(CALLBACKS))
_function_of = operator.attrgetter("__func__")


def check_bound(listener: WSListener) -> None:
    """Raise TypeError where a callback that is an attribute of the listener would never run."""
    kind = type(listener)
    try:
        # Each connection asks twice, and nearly always all of them are methods of the class.
        functions = map(_function_of, _all_callbacks(listener))
        if all(map(operator.is_, functions, _all_callbacks(kind))):
            return
    except AttributeError:
        pass  # one of them is none
    for name in CALLBACKS:
        bound = getattr(listener, name, None)
        if bound is not None and not _is_method(bound, getattr(kind, name, None)):
            _check_plain(f"{name} of {kind.__qualname__}", bound)


def _is_method(bound: Any, function: Any) -> bool:
    """Return whether that is a method of this function.

    (Asking an object for its __dict__ makes one, and each later call of its methods slower.)
    """
    return getattr(bound, "__func__", None) is function


def check_factory(factory: Any) -> None:
    """Raise TypeError unless it can be called, and returns its listener at once."""
    if not callable(factory):
        raise TypeError("ws_listener_factory must be callable")
    if inspect.iscoroutinefunction(factory):
        raise TypeError(
            "ws_listener_factory is a coroutine function (async def): it has to return the "
            "listener itself"
        )


def takes(factory: Any, count: int) -> bool:
    """Return whether a factory can be called with so many arguments."""
    if isinstance(factory, type) and not _has_constructor(factory):
        return count == 0  # the usual case, and much cheaper than a signature
    try:
        inspect.signature(factory).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:
        return True  # written in C, without a signature
    return True


def _has_constructor(kind: type) -> bool:
    return any("__init__" in vars(base) or "__new__" in vars(base) for base in kind.__mro__[:-1])


def wrong_answer(answer: Any, wanted: str) -> TypeError:
    """Return the error for what a factory should not return."""
    if inspect.iscoroutine(answer):
        answer.close()  # nobody will await it
        return TypeError(
            "ws_listener_factory returned a coroutine: it has to return the listener itself, "
            "without async"
        )
    return TypeError(f"ws_listener_factory returned {type(answer).__name__}, not {wanted}")


def rebinds(listener: WSListener, method: str) -> bool:
    """Return whether the listener has a method of its own in place of the default."""
    return not _is_method(getattr(listener, method), getattr(WSListener, method))
