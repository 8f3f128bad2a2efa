"""What went through a connection."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WSTransportStats:
    """Figures of one connection since its opening handshake.

    Bytes are those of whole frames, heads included, before TLS. A message counts with its last
    fragment; control frames are frames, not messages.

    messages_dropped: messages that ``on_write_overflow="drop"`` dropped.
    buffered: bytes that wait to be written now.
    """

    frames_sent: int
    messages_sent: int
    bytes_sent: int
    frames_received: int
    messages_received: int
    bytes_received: int
    messages_dropped: int
    buffered: int
