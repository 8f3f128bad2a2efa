"""What is known of a connection's end: its closing handshake (RFC 6455, 7), and its cause."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Optional

from .enums import WSCloseCode


@dataclass(frozen=True)
class WSCloseInfo:
    """One CLOSE frame.

    code: WSCloseCode.NO_INFO where the frame was empty.
    reason: None where there was none.
    """

    code: WSCloseCode
    reason: Optional[str]


@dataclass(frozen=True)
class WSCloseHandshake:
    """Both CLOSE frames, as far as they were seen.

    recv_then_sent: whether the peer's came before ours was sent.
    """

    recv: Optional[WSCloseInfo]
    sent: Optional[WSCloseInfo]
    recv_then_sent: bool


class WSDisconnectKind(IntEnum):
    """Why a connection ended.

    LOCAL_CLOSE: we sent the first CLOSE.
    PEER_CLOSE: the peer did.
    LOCAL_DISCONNECT: ``disconnect()`` was called, or the server dropped its clients.
    LOCAL_ERROR: a callback raised.
    PROTOCOL_ERROR: the peer's frames broke RFC 6455.
    EOF: the peer ended the byte stream without a CLOSE.
    RESET: the peer, or something on the way, reset the connection.
    NETWORK_ERROR: the system gave the connection up (timeout, no route), or TLS failed.
    PING_TIMEOUT: the peer showed no sign of life after a ping.
    CLOSE_TIMEOUT: the peer did not answer our CLOSE within ``close_timeout``.
    WRITE_OVERFLOW: more than ``max_write_buffer_size`` waited to be written.
    HANDSHAKE_FAILURE: the connection never opened.
    """

    LOCAL_CLOSE = 1
    PEER_CLOSE = 2
    LOCAL_DISCONNECT = 3
    LOCAL_ERROR = 4
    PROTOCOL_ERROR = 5
    EOF = 6
    RESET = 7
    NETWORK_ERROR = 8
    PING_TIMEOUT = 9
    CLOSE_TIMEOUT = 10
    WRITE_OVERFLOW = 11
    HANDSHAKE_FAILURE = 12


@dataclass(frozen=True)
class WSDisconnectCause:
    """Who ended a connection, and why; the first cause wins.

    kind: WSDisconnectKind.
    initiator: ``"local"``, ``"peer"`` or ``"system"``.
    code: the close code that goes with it (RFC 6455, 7.4), None where there is none.
    reason: the text that goes with it, None where there is none.
    exception: what was raised, None where nothing was.
    """

    kind: WSDisconnectKind
    initiator: str
    code: Optional[WSCloseCode] = None
    reason: Optional[str] = None
    exception: Optional[BaseException] = None
