"""TLS that calls back: every callback of these contexts reaches the session that is running."""

from __future__ import annotations

import ssl
from typing import Any, Optional

# The Moves of the session that is running, None between two of them.
running: Any = None

# "objects": methods of an SSLObject; "inner": of what it wraps; "messages": of OpenSSL's
# messages; "names": of the server's name.
KINDS = ["objects", "inner", "messages", "names"]


def inside(where: str) -> None:
    if running is not None:
        running.inside(where)


class HookedObject(ssl.SSLObject):
    """What ``SSLContext.sslobject_class`` makes: each method calls back, before and behind."""

    def do_handshake(self) -> None:
        inside("do_handshake")
        try:
            super().do_handshake()
        finally:
            inside("do_handshake")

    # (The names are those of ssl.SSLObject.)
    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        inside("read")
        try:
            if running is not None and running.shrinks(buffer):
                data, target = super().read(len), buffer.obj
                buffer.release()
                del target[1:]
                return memoryview(data).nbytes
            return super().read(len) if buffer is None else super().read(len, buffer)
        finally:
            inside("read")

    def write(self, data: Any) -> int:
        inside("write")
        n = super().write(data if running is None else running.part_of(data))
        inside("write")
        return n

    def pending(self) -> int:
        inside("pending")
        return super().pending()

    def unwrap(self) -> Any:
        inside("unwrap")
        try:
            return super().unwrap()
        finally:
            inside("unwrap")


class Inner:
    """What an SSLObject wraps, in Python: it counts what goes through it."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def read(self, *args: Any) -> Any:
        inside("inner read")
        if running is not None:
            running.inner_reads += 1
        return self._real.read(*args)

    def write(self, data: Any) -> Any:
        inside("inner write")
        if running is not None:
            running.inner_writes += 1
        return self._real.write(data)


class InnerObject(ssl.SSLObject):
    """One that inherits every method, and wraps a Python object."""

    @classmethod
    def _create(cls, *args: Any, **kwargs: Any) -> Any:
        made = super()._create(*args, **kwargs)
        made._sslobj = Inner(made._sslobj)
        return made


def message(*args: object) -> None:
    inside("message")


def name(*args: object) -> Optional[int]:
    inside("name")
    return None


ENTRIES = {
    each.__code__
    for each in (
        HookedObject.do_handshake,
        HookedObject.read,
        HookedObject.write,
        HookedObject.pending,
        HookedObject.unwrap,
        Inner.read,
        Inner.write,
        message,
        name,
    )
}


def hook(context: Any, kind: str) -> Any:
    """Have ``context`` call back; of what its side never calls nothing comes."""
    if kind == "objects":
        context.sslobject_class = HookedObject
    elif kind == "inner":
        context.sslobject_class = InnerObject
    elif kind == "messages":
        context._msg_callback = message
    elif context.protocol == ssl.PROTOCOL_TLS_SERVER:
        context.sni_callback = name
    return context
