"""What the connections of one ws_connect or ws_create_server have in common, and its checks."""

from __future__ import annotations

import logging
import ssl
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union

from .deflate import PermessageDeflate, make_deflate
from .enums import WSAutoPingStrategy

WSLoggerLike = Union[None, str, logging.Logger, "logging.LoggerAdapter[Any]"]
# (level, option, value) as for socket.setsockopt()
WSSocketOptions = Sequence[tuple[int, int, Union[int, bytes]]]

DEFAULT_MAX_FRAME_SIZE = 10 * 1024 * 1024
DEFAULT_MAX_MESSAGE_SIZE = 10 * 1024 * 1024
# 64 KiB of payload, and the heads of its frames.
DEFAULT_BUFFER_SIZE = 64 * 1024 + 128
DEFAULT_HANDSHAKE_TIMEOUT = 5.0
DEFAULT_OPEN_TIMEOUT = 10.0
DEFAULT_CLOSE_TIMEOUT = 10.0
DEFAULT_CLIENT_PING_TIMEOUT = 10.0
DEFAULT_SERVER_PING_TIMEOUT = 20.0
DEFAULT_MAX_PENDING = 1000

# The level at which each frame is logged.
PICOWS_DEBUG_LL = 9

_OVERFLOW_POLICIES = ("disconnect", "drop")


@dataclass(frozen=True)
class ConnectionOptions:
    """The checked options of a connection."""

    logger: Union[logging.Logger, logging.LoggerAdapter[Any]]
    disconnect_on_exception: bool
    handshake_timeout: Optional[float]
    close_timeout: Optional[float]
    enable_auto_ping: bool
    ping_idle_timeout: float
    ping_reply_timeout: float
    ping_strategy: WSAutoPingStrategy
    enable_auto_pong: bool
    max_frame_size: int
    buffer_size: int
    max_write_buffer_size: Optional[int]
    drop_on_overflow: bool
    assemble_messages: bool
    max_message_size: int
    deflate: Optional[PermessageDeflate]
    coalesce_writes: bool
    # seconds; 0.0 for not at all
    busy_poll: float

    @staticmethod
    def make(
        side: str,
        *,
        logger_name: WSLoggerLike,
        disconnect_on_exception: bool,
        websocket_handshake_timeout: Optional[float],
        close_timeout: Optional[float],
        enable_auto_ping: bool,
        auto_ping_idle_timeout: float,
        auto_ping_reply_timeout: float,
        auto_ping_strategy: int,
        enable_auto_pong: bool,
        max_frame_size: int,
        read_buffer_init_size: int,
        max_write_buffer_size: Optional[int],
        on_write_overflow: str,
        assemble_messages: bool,
        max_message_size: int,
        compression: Union[bool, PermessageDeflate],
        coalesce_writes: bool,
        busy_poll: float,
    ) -> ConnectionOptions:
        """Check the arguments. Raises TypeError or ValueError."""
        check_size("max_frame_size", max_frame_size)
        check_size("max_message_size", max_message_size)
        check_size("read_buffer_init_size", read_buffer_init_size)
        if max_write_buffer_size is not None:
            check_size("max_write_buffer_size", max_write_buffer_size)
        check_timeout("websocket_handshake_timeout", websocket_handshake_timeout)
        check_timeout("close_timeout", close_timeout)
        check_timeout("auto_ping_idle_timeout", auto_ping_idle_timeout, can_be_none=False)
        check_timeout("auto_ping_reply_timeout", auto_ping_reply_timeout, can_be_none=False)
        if enable_auto_ping and auto_ping_reply_timeout > auto_ping_idle_timeout:
            raise ValueError(
                f"auto_ping_reply_timeout ({auto_ping_reply_timeout}) must not exceed "
                f"auto_ping_idle_timeout ({auto_ping_idle_timeout})"
            )
        if on_write_overflow not in _OVERFLOW_POLICIES:
            raise ValueError(
                f"on_write_overflow must be 'disconnect' or 'drop', not {on_write_overflow!r}"
            )
        check_busy_poll(busy_poll)
        deflate = make_deflate(compression)
        # A compressed message makes no sense frame by frame.
        if deflate is not None and not assemble_messages:
            raise ValueError("compression needs assemble_messages=True")
        return ConnectionOptions(
            logger=resolve_logger(side, logger_name),
            disconnect_on_exception=bool(disconnect_on_exception),
            handshake_timeout=websocket_handshake_timeout,
            close_timeout=close_timeout,
            enable_auto_ping=bool(enable_auto_ping),
            ping_idle_timeout=auto_ping_idle_timeout,
            ping_reply_timeout=auto_ping_reply_timeout,
            ping_strategy=WSAutoPingStrategy(auto_ping_strategy),
            enable_auto_pong=bool(enable_auto_pong),
            max_frame_size=max_frame_size,
            buffer_size=read_buffer_init_size,
            max_write_buffer_size=max_write_buffer_size,
            drop_on_overflow=on_write_overflow == "drop",
            assemble_messages=bool(assemble_messages),
            max_message_size=max_message_size,
            deflate=deflate,
            coalesce_writes=bool(coalesce_writes),
            busy_poll=float(busy_poll),
        )


def check_size(name: str, size: int) -> None:
    """Raise TypeError or ValueError unless ``size`` is a number of bytes above 0."""
    if not isinstance(size, int):
        raise TypeError(f"{name} must be int, not {type(size).__name__}")
    if size <= 0 or size > sys.maxsize:
        raise ValueError(f"{name} must be a positive number of bytes, not {size}")


def check_count(name: str, count: Optional[int]) -> None:
    """Raise TypeError or ValueError unless ``count`` is a number above 0, or None for no limit."""
    if count is None:
        return
    if not isinstance(count, int):
        raise TypeError(f"{name} must be int or None, not {type(count).__name__}")
    if count <= 0:
        raise ValueError(f"{name} must be positive or None, not {count}")


def check_port(name: str, port: object) -> None:
    """Raise ValueError for a number that is no port; a service's name is the resolver's."""
    if isinstance(port, int) and not 0 <= port <= 65535:
        raise ValueError(f"{name} must be 0 to 65535, not {port}")


def check_timeout(name: str, seconds: Optional[float], can_be_none: bool = True) -> None:
    """Raise TypeError or ValueError unless ``seconds`` is a time above 0."""
    if seconds is None and can_be_none:
        return
    others = " or None" if can_be_none else ""
    if not isinstance(seconds, (int, float)):
        raise TypeError(f"{name} must be a number{others}, not {type(seconds).__name__}")
    if not seconds > 0:
        raise ValueError(f"{name} must be positive seconds{others}, not {seconds}")


def check_busy_poll(seconds: float) -> None:
    """Raise TypeError or ValueError unless ``seconds`` is a time from 0 to 1."""
    if not isinstance(seconds, (int, float)):
        raise TypeError(f"busy_poll must be a number, not {type(seconds).__name__}")
    if not 0 <= seconds <= 1:
        raise ValueError(f"busy_poll must be 0 to 1 second, not {seconds}")


def check_tls_context(side: str, name: str, context: Optional[ssl.SSLContext]) -> None:
    """Raise TypeError unless ``context`` is None, or one for ``side``: client or server."""
    if context is None:
        return
    if not isinstance(context, ssl.SSLContext):
        raise TypeError(f"{name} must be an SSLContext, not {type(context).__name__}")
    other, protocol = {
        "client": ("server", ssl.PROTOCOL_TLS_SERVER),
        "server": ("client", ssl.PROTOCOL_TLS_CLIENT),
    }[side]
    if context.protocol == protocol:
        raise TypeError(f"{name} is a {other}'s context ({protocol.name})")


def check_socket_options(
    options: WSSocketOptions,
) -> tuple[tuple[int, int, Union[int, bytes]], ...]:
    """Return the options as tuples. Raises TypeError."""
    checked = []
    for option in options:
        if not isinstance(option, (tuple, list)) or len(option) != 3:
            raise TypeError(f"a socket option is (level, option, value), not {option!r}")
        level, name, value = option
        if not isinstance(level, int) or not isinstance(name, int):
            raise TypeError(f"level and option must be int: {option!r}")
        if not isinstance(value, (int, bytes, bytearray, memoryview)):
            raise TypeError(f"the value of a socket option is int or bytes: {option!r}")
        checked.append((level, name, value if isinstance(value, int) else bytes(value)))
    return tuple(checked)


def resolve_logger(
    side: str, logger_name: WSLoggerLike
) -> Union[logging.Logger, logging.LoggerAdapter[Any]]:
    """Return the logger that ``logger_name`` asks for. Raises TypeError."""
    if logger_name is None:
        logger_name = side
    if isinstance(logger_name, str):
        return logging.getLogger(f"picows_c.{logger_name}")
    if not isinstance(logger_name, (logging.Logger, logging.LoggerAdapter)):
        raise TypeError("logger_name must be None, str, Logger or LoggerAdapter")
    return logger_name
