"""The content of a response that is no upgrade (RFC 9112, 6 and 7), as it arrives."""

from __future__ import annotations

import re
from typing import Optional

from multidict import CIMultiDict

# Bytes that are kept of it.
MAX_BODY = 64 * 1024

# RFC 9112, 7.1: chunk-size, and the line that it stands in. RFC 9110, 8.6: Content-Length.
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]+)[ \t]*(?:;[^\r\n]*)?")
_MAX_CHUNK_LINE = 4096
_LENGTH = re.compile(r"[0-9]{1,18}")


class Body:
    """What comes behind the head of a response.

    content: what has come, without the framing of chunks; MAX_BODY bytes at most.
    is_complete: there is no more of it, or no more is kept. Where neither says how long it is, it
        ends with the connection.
    """

    __slots__ = ("_is_chunked", "_left", "_waiting", "content", "is_complete")

    def __init__(self, status: int, version: bytes, headers: CIMultiDict[str]) -> None:
        self.content = bytearray()
        self.is_complete = False
        # Received, and no whole line yet.
        self._waiting = bytearray()
        self._is_chunked = _is_chunked(version, headers)
        # Of the content or the chunk; None for not known.
        self._left: Optional[int] = None
        # 6.3: "any response with a 1xx (Informational), 204 (No Content), or 304 (Not Modified)
        # status code is always terminated by the first empty line after the header fields,
        # regardless of the header fields present in the message".
        if status in (204, 304):
            self._left = 0
        elif version != b"HTTP/1.0" and "Transfer-Encoding" in headers:
            pass  # "the Transfer-Encoding overrides the Content-Length"
        else:
            self._left = _length(headers)
        if self._left == 0:
            self.is_complete = True

    def feed(self, data: bytes) -> None:
        """Take what was received."""
        if self.is_complete:
            return
        if self._is_chunked:
            self._waiting += data
            while not self.is_complete and self._next_chunk_part():
                pass
        else:
            self._add(data)
            if self._left == 0:
                self.is_complete = True

    def _add(self, data: bytes) -> int:
        """Keep as much of it as belongs to the content or the chunk; return how much that is."""
        size = len(data) if self._left is None else min(len(data), self._left)
        self.content += data[: min(size, MAX_BODY - len(self.content))]
        if self._left is not None:
            self._left -= size
        if len(self.content) == MAX_BODY:
            self.is_complete = True
        return size

    def _next_chunk_part(self) -> bool:
        """Read a line, or data of a chunk; return whether there was enough."""
        waiting = self._waiting
        if self._left:
            del waiting[: self._add(bytes(waiting))]
            return bool(waiting)
        end = waiting.find(b"\r\n")
        if end < 0:
            # Nothing that breaks the framing becomes content.
            self.is_complete = len(waiting) > _MAX_CHUNK_LINE
            return False
        line = bytes(waiting[:end])
        del waiting[: end + 2]
        if self._left == 0:
            # 7.1: "chunk = chunk-size [ chunk-ext ] CRLF chunk-data CRLF".
            self._left = None
            self.is_complete = line != b""
            return True
        found = _CHUNK_SIZE.fullmatch(line)
        self._left = 0 if found is None else int(found[1], 16)
        # A size of 0 is the last; what may follow it says nothing about the content.
        self.is_complete = self._left == 0
        return True


def _is_chunked(version: bytes, headers: CIMultiDict[str]) -> bool:
    """Return whether the content comes in chunks.

    6.3: "If a Transfer-Encoding header field is present in a response and the chunked transfer
    coding is not the final encoding, the message body length is determined by reading the
    connection until it is closed by the server."
    """
    codings = ",".join(headers.getall("Transfer-Encoding", []))
    final = codings.rpartition(",")[2].strip(" \t").lower()
    return version != b"HTTP/1.0" and final == "chunked"


def _length(headers: CIMultiDict[str]) -> Optional[int]:
    """Return the Content-Length, None where there is none that could be understood.

    RFC 9110, 8.6: a recipient may take a field with several same values for one with that value.
    """
    lengths = ",".join(headers.getall("Content-Length", [])).split(",")
    values = {length.strip(" \t") for length in lengths}
    value = values.pop()
    return int(value) if not values and _LENGTH.fullmatch(value) else None
