"""The numbers of RFC 6455 that users meet, as enums."""

from enum import IntEnum
from typing import Optional


class WSMsgType(IntEnum):
    """Opcode of a frame (RFC 6455, 5.2 and 11.8)."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class WSCloseCode(IntEnum):
    """Close code (RFC 6455, 7.4.1, and IANA's registry).

    A number from 3000 to 4999 (7.4.2) has no name here and becomes a member of its own:
    ``WSCloseCode(4000) == 4000``. NO_INFO stands for a CLOSE frame without a code; it and
    ABNORMAL_CLOSURE never travel on the wire.
    """

    NO_INFO = 0
    OK = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    ABNORMAL_CLOSURE = 1006
    INVALID_TEXT = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014

    @classmethod
    def _missing_(cls, value: object) -> "Optional[WSCloseCode]":
        if not isinstance(value, int) or not 3000 <= value <= 4999:
            return None
        member = int.__new__(cls, value)
        member._name_ = f"CODE_{value}"
        member._value_ = int(value)
        return member


class WSAutoPingStrategy(IntEnum):
    """When ``enable_auto_ping`` sends a ping.

    PING_WHEN_IDLE: when nothing was received for ``auto_ping_idle_timeout`` seconds.
    PING_PERIODICALLY: every ``auto_ping_idle_timeout`` seconds.
    """

    PING_WHEN_IDLE = 1
    PING_PERIODICALLY = 2
