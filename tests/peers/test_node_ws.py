"""picows_c and ws, the WebSocket implementation of Node.js."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
from pathlib import Path

import pytest
from talk import Implementation, Talk, Theirs

HERE = Path(__file__).resolve().parent
# A message of 1 MiB is a line of 1.4 MB.
LINE_LIMIT = 8 << 20
END_TIMEOUT = 10.0


class Node:
    """A process that tells what happens to it in lines of JSON, and obeys such lines."""

    def __init__(self, process):
        self._process = process
        self._kept = []

    def order(self, verb, **arguments):
        line = json.dumps({"verb": verb, **arguments}) + "\n"
        self._process.stdin.write(line.encode())

    async def event(self, name):
        """Wait for the next event of this name; the others are kept in their order."""
        for i, event in enumerate(self._kept):
            if event["event"] == name:
                return self._kept.pop(i)
        while True:
            line = await self._process.stdout.readline()
            assert line, "node has ended"
            event = json.loads(line)
            assert event["event"] != "error", event["text"]
            if event["event"] == name:
                return event
            self._kept.append(event)


@contextlib.asynccontextmanager
async def running(*arguments):
    process = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_LIMIT,
    )
    try:
        yield Node(process)
    finally:
        process.stdin.close()  # and that is its end
        try:
            await asyncio.wait_for(process.communicate(), END_TIMEOUT)
        except asyncio.TimeoutError:
            process.kill()
            await process.communicate()


def encode(data):
    return base64.b64encode(data).decode()


class NodeEnd(Theirs):
    def __init__(self, node, opened):
        self._node = node
        self._opened = opened
        self._seen = None
        self.answer = opened.get("answer")

    @property
    def compresses(self):
        return self._opened["extensions"] != ""

    def _send(self, parts, ping):
        binary = isinstance(parts[0], bytes)
        if not binary:
            parts = [part.encode() for part in parts]
        self._node.order("send", binary=binary, parts=[encode(part) for part in parts], ping=ping)

    async def send(self, message):
        self._send([message], None)

    async def send_fragments(self, parts, ping):
        self._send(parts, encode(ping))
        assert (await self._node.event("pong"))["bytes"] == encode(ping)

    async def receive(self):
        event = await self._node.event("message")
        return event["text"] if "text" in event else base64.b64decode(event["bytes"])

    async def ping(self, payload):
        self._node.order("ping", payload=encode(payload))
        assert (await self._node.event("pong"))["bytes"] == encode(payload)

    async def close(self, code, reason):
        self._node.order("close", code=code, reason=reason)
        await self.closed()

    async def closed(self):
        if self._seen is None:
            event = await self._node.event("close")
            self._seen = event["code"], event["reason"]
        return self._seen


def deflate(terms):
    """Return the option perMessageDeflate: with threshold 0 whatever is sent is compressed."""
    if terms is None:
        return "false"
    named = {re.sub("_(.)", lambda m: m[1].upper(), name): terms[name] for name in terms}
    return json.dumps({"threshold": 0, **named})


class NodeWs(Implementation):
    def __init__(self, node, pem):
        self._node = node
        self._pem = pem

    @contextlib.asynccontextmanager
    async def connect(self, net, path, terms):
        command = [self._node, str(HERE / "client.mjs"), net.url(path), deflate(terms)]
        if net.scheme == "wss":
            net.certificates.authority.cert_pem.write_to_path(self._pem)
            command.append(str(self._pem))
        async with running(*command) as node:
            yield NodeEnd(node, await node.event("open"))

    @contextlib.asynccontextmanager
    async def serve(self, net, terms):
        command = [self._node, str(HERE / "server.mjs"), deflate(terms)]
        if net.scheme == "wss":
            certificate = net.certificates.authority.issue_cert("127.0.0.1")
            certificate.private_key_and_cert_chain_pem.write_to_path(self._pem)
            command.append(str(self._pem))
        async with running(*command) as node:
            port = (await node.event("listening"))["port"]

            async def accept():
                return NodeEnd(node, await node.event("open"))

            yield port, accept


@pytest.fixture
def other(need, tmp_path):
    node = need.program("node")
    need("npm package ws (npm ci in tests/peers)", (HERE / "node_modules" / "ws").exists())
    return NodeWs(node, tmp_path / "node.pem")


class TestNodeWs(Talk):
    pass
