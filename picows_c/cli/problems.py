"""What can go wrong, in words for the person at the command line."""

from __future__ import annotations

import asyncio
import socket
import ssl
import urllib.parse
from http import HTTPStatus

from picows_c import (
    WSDisconnectCause,
    WSDisconnectKind,
    WSError,
    WSInvalidStatusError,
    WSInvalidURL,
)

FAILED = 1
USAGE = 2
INTERRUPTED = 130

_ORDERLY = (
    WSDisconnectKind.LOCAL_CLOSE,
    WSDisconnectKind.PEER_CLOSE,
    WSDisconnectKind.LOCAL_DISCONNECT,
)
# No code, a normal end, and a peer that goes away (RFC 6455, 7.4.1).
_ORDERLY_CODES = (None, 0, 1000, 1001)
_ENDS = {
    WSDisconnectKind.EOF: "the peer ended the byte stream without a CLOSE",
    WSDisconnectKind.RESET: "the connection was reset",
    WSDisconnectKind.NETWORK_ERROR: "the network gave it up",
    WSDisconnectKind.PING_TIMEOUT: "no sign of life from the peer",
    WSDisconnectKind.CLOSE_TIMEOUT: "the peer did not answer our CLOSE",
    WSDisconnectKind.PROTOCOL_ERROR: "the peer broke the protocol",
    WSDisconnectKind.WRITE_OVERFLOW: "the peer reads too slowly",
}


class Problem(Exception):
    """What is told to the user, instead of a traceback, and the exit code that goes with it."""

    def __init__(self, text: str, exit_code: int = FAILED) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def explain(error: Exception, url: str) -> Problem:
    """Say why there is no connection. What is no failure to connect is raised again."""
    url = _shown(url)
    if isinstance(error, WSInvalidURL):
        return Problem(str(error), USAGE)
    if isinstance(error, WSInvalidStatusError):
        return Problem(_status(error))
    if isinstance(error, asyncio.TimeoutError):
        return Problem(f"{url}: no answer in time; --open-timeout sets the limit")
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message or str(error)
        return Problem(
            f"{url}: the certificate is not accepted: {why} "
            "(--ca FILE trusts an authority, --insecure trusts anybody)"
        )
    if isinstance(error, ssl.SSLError):
        return Problem(f"{url}: TLS failed: {error.reason or error}")
    if isinstance(error, socket.gaierror):
        return Problem(f"{url}: the host is not known: {error.strerror}")
    if isinstance(error, ConnectionRefusedError):
        return Problem(f"{url}: connection refused: nothing listens there")
    if isinstance(error, OSError):
        return Problem(f"{url}: {error.strerror or error}")
    if isinstance(error, WSError):
        return Problem(f"{url}: {error}")
    # What is wrong with an option: said by ws_connect() before anything was sent.
    if isinstance(error, (TypeError, ValueError, ImportError)):
        return Problem(str(error), USAGE)
    raise error


def _shown(url: str) -> str:
    """Leave out what may be secret: user name, password, query and fragment."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return "..."
    host = parts.netloc.rpartition("@")[2]
    return urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", ""))


def _status(error: WSInvalidStatusError) -> str:
    assert error.response is not None
    status = error.response.status
    name = f" {status.phrase}" if isinstance(status, HTTPStatus) else ""
    text = f"the server answered {int(status)}{name}, not 101 Switching Protocols"
    location = error.response.headers.get("Location")
    if location is not None:
        text += f"; Location: {_shown(location)!r}"
    body = (error.raw_body or b"").decode("utf-8", "replace").strip().partition("\n")[0]
    return f"{text}; it says {body[:200]!r}" if body else text


def end_of(cause: WSDisconnectCause | None) -> tuple[str, int]:
    """Say how a connection ended, and which exit code that is."""
    if cause is None:
        return "lost", FAILED
    text = _ENDS.get(cause.kind)
    if text is None:
        text = f"by {'the peer' if cause.initiator == 'peer' else 'us'}"
    if cause.code:
        text += f": {int(cause.code)} {cause.code.name}"
    if cause.reason:
        text += f" {cause.reason!r}"
    orderly = cause.kind in _ORDERLY and cause.code in _ORDERLY_CODES
    return text, 0 if orderly else FAILED
