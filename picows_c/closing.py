"""What is known of a connection's closing handshake (RFC 6455, 7)."""

from __future__ import annotations

from dataclasses import dataclass
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
