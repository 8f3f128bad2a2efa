"""Connections that come back: how long to wait, which errors to wait for, and the loop of both."""

from __future__ import annotations

import asyncio
import email.utils
import random as random_module
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable
from typing import Any, Callable, Optional

from .client import WSListenerFactory, ws_connect
from .enums import WSCloseCode
from .errors import (
    WSHandshakeError,
    WSInvalidHeaderError,
    WSInvalidMessageError,
    WSInvalidStatusError,
    WSProxyError,
)
from .listener import WSListener
from .options import check_count, check_timeout, resolve_logger
from .transport import WSTransport
from .url import parse_url

# Request Timeout, Too Early, Too Many Requests: RFC 9110, 15.5.9; RFC 8470, 5.2; RFC 6585, 4.
_PASSING_STATUS = (408, 425, 429)

# What getaddrinfo() says where it is not the name that is wrong.
_PASSING_DNS = tuple(
    getattr(socket, name)
    for name in ("EAI_AGAIN", "EAI_FAIL", "EAI_MEMORY", "EAI_SYSTEM")
    if hasattr(socket, name)
)


class WSBackoff:
    """How long to wait before the next attempt; it knows neither a clock nor a loop.

    Each delay is drawn at random between 0 and a ceiling that begins with ``initial`` and grows
    by ``factor`` up to ``maximum``. Clients that lost the same server at the same moment so come
    back spread over the whole time, not all at once ("full jitter").

    :param initial: seconds, the ceiling of the first delay.
    :param maximum: seconds, the highest ceiling.
    :param factor: by which the ceiling grows from one delay to the next; at least 1.
    :param reset_after: seconds that a connection has to live so that the ceiling falls back to
        ``initial``; one that is accepted and dropped at once does not count as success.
    :param random: returns numbers from 0 to 1, 1 excluded.
    :raises TypeError: a number that is none.
    :raises ValueError: a number out of its range.
    """

    __slots__ = ("_ceiling", "_factor", "_initial", "_maximum", "_random", "_reset_after")

    def __init__(
        self,
        initial: float = 1.0,
        maximum: float = 60.0,
        *,
        factor: float = 2.0,
        reset_after: float = 10.0,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        check_timeout("initial", initial, can_be_none=False)
        check_timeout("maximum", maximum, can_be_none=False)
        check_timeout("factor", factor, can_be_none=False)
        check_timeout("reset_after", reset_after, can_be_none=False)
        if maximum < initial:
            raise ValueError(f"maximum ({maximum}) must not be below initial ({initial})")
        if factor < 1:
            raise ValueError(f"factor must be at least 1, not {factor}")
        self._initial = initial
        self._maximum = maximum
        self._factor = factor
        self._reset_after = reset_after
        self._random = random
        self._ceiling = initial

    @property
    def ceiling(self) -> float:
        """The most that the next delay can be."""
        return self._ceiling

    def next_delay(self) -> float:
        """Return the seconds to wait now; the next delay can be longer."""
        delay = self._random() * self._ceiling
        self._ceiling = min(self._ceiling * self._factor, self._maximum)
        return delay

    def lived(self, seconds: float) -> None:
        """Take note of how long a connection lived; reset where that was long enough."""
        if seconds >= self._reset_after:
            self.reset()

    def reset(self) -> None:
        """Begin again with short delays."""
        self._ceiling = self._initial


def is_lasting_error(error: BaseException) -> bool:
    """Return whether the same attempt would fail again, whenever it is made.

    Lasting: a URL or argument that is wrong, a certificate that is not trusted, a host that does
    not exist, no permission; a refusal with any status but 408, 425, 429 and 5xx, an answer that
    is not one to a WebSocket handshake, a redirect that must not be followed, a proxy's 407; a
    peer whose frames broke RFC 6455; and every exception that is not about the connection, such
    as one of a callback.

    Passing: a connection refused, reset or timed out, no route, names that cannot be resolved at
    the moment; 408, 425, 429 and 5xx; a peer or proxy that ended the handshake without an answer.
    Where in doubt an error is passing.
    """
    if isinstance(error, WSInvalidStatusError):
        return error.response is None or _is_lasting_status(error.response.status)
    if isinstance(error, WSProxyError):
        return error.status is not None and _is_lasting_status(error.status)
    if isinstance(error, (WSInvalidMessageError, WSInvalidHeaderError)):
        return True
    if isinstance(error, WSHandshakeError):
        # With a response it is a redirect that cannot be followed, else the connection ended.
        return error.response is not None
    if isinstance(error, socket.gaierror):
        return error.errno not in _PASSING_DNS
    if isinstance(error, (ssl.SSLCertVerificationError, PermissionError)):
        return True
    # Two classes before CPython 3.11.
    return not isinstance(error, (OSError, asyncio.TimeoutError))


def _is_lasting_status(status: int) -> bool:
    return status < 500 and status not in _PASSING_STATUS


def retry_after(error: BaseException, now: float) -> float:
    """Return for how many seconds the server asked to be left alone (RFC 9110, 10.2.3), or 0.

    now: seconds since the epoch.
    """
    response = error.response if isinstance(error, WSInvalidStatusError) else None
    value = "" if response is None else response.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        # More digits than any date has; nobody waits that long, and int() has a limit.
        return float(value[:12])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return 0.0


def reconnect(
    ws_listener_factory: WSListenerFactory,
    url: str,
    *,
    backoff: Optional[WSBackoff] = None,
    max_attempts: Optional[int] = None,
    max_retry_after: float = 300.0,
    is_lasting: Callable[[BaseException], bool] = is_lasting_error,
    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
    **options: Any,
) -> AsyncGenerator[tuple[WSTransport, WSListener], None]:
    """Connect, and connect again whenever the connection has ended.

    ::

        async for transport, listener in reconnect(Listener, url):
            ...  # once for each connection

    The body runs for each connection that opened; the next one is opened when it has ended,
    whoever ended it, and not before the body is done. An error that passes is logged and waited
    out; one that lasts is raised. Leaving the loop, by ``break``, ``return``, an exception or by
    being cancelled, closes the connection with 1001: as soon as nothing refers to the iterator any
    more, or by its ``aclose()``. There is no task behind it.

    :param ws_listener_factory: as for ``ws_connect()``; called for each connection.
    :param url: as for ``ws_connect()``.
    :param backoff: how long to wait between attempts; ``WSBackoff()`` by default. Not to be shared.
    :param max_attempts: how many attempts in a row may fail; the error of the last one is raised.
        None for no limit.
    :param max_retry_after: seconds of a ``Retry-After`` that are honoured; the backoff's delay is
        added to them.
    :param is_lasting: which errors are raised, of ``ws_connect()`` and of the transport's
        ``wait_disconnected()``.
    :param sleep: waits; for tests.
    :param clock: returns seconds; for tests.
    :param options: as for ``ws_connect()``.
    :raises WSInvalidURL: at once, before anything is connected.
    :raises TypeError: an argument of the wrong type.
    :raises ValueError: an argument out of its range.
    """
    where = parse_url(url).authority
    check_count("max_attempts", max_attempts)
    check_timeout("max_retry_after", max_retry_after, can_be_none=False)
    logger = resolve_logger("client", options.get("logger_name"))
    waits = WSBackoff() if backoff is None else backoff

    async def connections() -> AsyncGenerator[tuple[WSTransport, WSListener], None]:
        failures = 0
        while True:
            try:
                transport, listener = await ws_connect(ws_listener_factory, url, **options)
            except Exception as error:
                failures += 1
                if is_lasting(error) or failures == max_attempts:
                    raise
                delay = min(retry_after(error, time.time()), max_retry_after) + waits.next_delay()
                what = f"no connection to {where}: {error!r}"
            else:
                failures = 0
                began = clock()
                try:
                    yield transport, listener
                    await transport.wait_disconnected()
                except Exception as error:
                    if is_lasting(error):
                        raise
                finally:
                    if not transport.is_disconnected:
                        transport.send_close(WSCloseCode.GOING_AWAY)
                waits.lived(clock() - began)
                delay = waits.next_delay()
                cause = transport.disconnect_cause
                what = f"connection to {where} ended: {cause.kind.name if cause else 'unknown'}"
                # Nothing of it is kept while there is none.
                del transport, listener
            logger.warning("%s; next attempt in %.1f s", what, delay)
            await sleep(delay)

    return connections()
