"""WebSocket client and server for asyncio, with the data path in C (RFC 6455)."""

import os as _os

from . import _core
from ._core import WSFrame, broadcast
from .c_api import get_include
from .client import ws_connect
from .closing import WSCloseHandshake, WSCloseInfo, WSDisconnectCause, WSDisconnectKind
from .deflate import PermessageDeflate
from .enums import WSAutoPingStrategy, WSCloseCode, WSMsgType
from .errors import (
    WSError,
    WSHandshakeError,
    WSInvalidHeaderError,
    WSInvalidMessageError,
    WSInvalidStatusError,
    WSInvalidUpgradeError,
    WSInvalidURL,
    WSProtocolError,
    WSProxyError,
)
from .handshake import WSUpgradeRequest, WSUpgradeResponse, WSUpgradeResponseWithListener
from .listener import WSListener
from .listening import WSServer, WSServerStats
from .options import PICOWS_DEBUG_LL
from .reconnect import WSBackoff, is_lasting_error, reconnect
from .server import ws_create_server, ws_create_unix_server
from .stats import WSTransportStats
from .transport import WSTransport
from .url import WSParsedURL
from .version import __version__

__all__ = [
    "PICOWS_DEBUG_LL",
    "PermessageDeflate",
    "WSAutoPingStrategy",
    "WSBackoff",
    "WSCloseCode",
    "WSCloseHandshake",
    "WSCloseInfo",
    "WSDisconnectCause",
    "WSDisconnectKind",
    "WSError",
    "WSFrame",
    "WSHandshakeError",
    "WSInvalidHeaderError",
    "WSInvalidMessageError",
    "WSInvalidStatusError",
    "WSInvalidURL",
    "WSInvalidUpgradeError",
    "WSListener",
    "WSMsgType",
    "WSParsedURL",
    "WSProtocolError",
    "WSProxyError",
    "WSServer",
    "WSServerStats",
    "WSTransport",
    "WSTransportStats",
    "WSUpgradeRequest",
    "WSUpgradeResponse",
    "WSUpgradeResponseWithListener",
    "__version__",
    "broadcast",
    "get_include",
    "is_lasting_error",
    "reconnect",
    "ws_connect",
    "ws_create_server",
    "ws_create_unix_server",
]

# A forked child must not hand out the masking keys that its parent does (RFC 6455, 10.3).
if hasattr(_os, "register_at_fork"):
    _os.register_at_fork(after_in_child=_core._forked)
