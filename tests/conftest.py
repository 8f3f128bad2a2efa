"""What all tests share: both event loops, plain and TLS, and a word for what is missing.

An ``async def`` test runs on each event loop of the platform; it fails when it leaves a task
behind, or when the loop had to report an exception that nobody handled.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.util
import inspect
import itertools
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from proxies import Proxies
from served import close_raw_sockets

import picows_c
from picows_c import ws_connect, ws_create_server
from picows_c.poller import has_poller

# Bounds what hangs; the longest test takes a tenth of it on a quiet machine.
TEST_TIMEOUT = 240.0
REQUIRE_ALL = os.environ.get("REQUIRE_ALL") == "1"

LOOPS = ["asyncio"] if sys.platform == "win32" else ["asyncio", "uvloop"]
LOOPS = os.environ.get("PICOWS_C_LOOPS", " ".join(LOOPS)).split()
_missing: dict[str, list[str]] = {}
_finished = itertools.count(1)


# ---- what is missing ----


def require(what: str, found: object, test: str) -> Any:
    """Skip a test for want of something, and remember it; REQUIRE_ALL=1 lets none pass."""
    if found:
        return found
    _missing.setdefault(what, []).append(test)
    if REQUIRE_ALL:
        pytest.fail(f"REQUIRE_ALL=1, but {what} is missing")
    pytest.skip(f"needs {what}")


@pytest.fixture
def need(request: pytest.FixtureRequest) -> Any:
    """Name what a test needs: ``need(what, found)`` or ``need.program(name)``."""

    def check(what: str, found: object) -> Any:
        return require(what, found, request.node.nodeid)

    check.program = lambda name: check(name, shutil.which(name))  # type: ignore[attr-defined]
    return check


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not _missing:
        return
    terminalreporter.section("skipped for want of a program")
    width = max(map(len, _missing))
    for what, tests in sorted(_missing.items()):
        terminalreporter.line(f"{what:<{width}}  {len(tests)} tests")


def pytest_sessionfinish(session: pytest.Session) -> None:
    # A worker of pytest-xdist tells the process that prints.
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["missing"] = _missing


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    for what, tests in getattr(node, "workeroutput", {}).get("missing", {}).items():
        _missing.setdefault(what, []).extend(tests)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Any:
    report = yield
    # Lone surrogates in a log cannot be told to another process.
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folders = item.path.parts
        if {"peers", "differential"} & set(folders) or item.path.name == "test_compliance.py":
            item.add_marker(pytest.mark.peer)


def pytest_collection_finish(session: pytest.Session) -> None:
    # Each test ends with a collection: what is there before the first one need not be walked.
    gc.collect()
    gc.freeze()


def pytest_runtest_logfinish() -> None:
    # Nor what pytest keeps of each test: it grows from test to test, and so would the time.
    if next(_finished) % 50 == 0:
        gc.collect()
        gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def expected_build() -> None:
    """A run against a special build must not pick up another one."""
    expected = os.environ.get("PICOWS_C_EXPECT")
    if expected:
        assert os.path.abspath(expected) in os.path.abspath(picows_c._core.__file__)


# ---- event loops ----


def new_loop(kind: str) -> asyncio.AbstractEventLoop:
    if kind == "uvloop":
        import uvloop

        return uvloop.new_event_loop()
    return asyncio.new_event_loop()


def run_on(kind: str, main: Any, timeout: float = TEST_TIMEOUT) -> Any:
    """Run a coroutine on a new loop; nothing may be left, and nothing unhandled."""
    loop = new_loop(kind)
    problems: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: problems.append(context))
    try:
        result = loop.run_until_complete(asyncio.wait_for(main, timeout))
        gc.collect()
        loop.run_until_complete(asyncio.sleep(0))
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
    assert not left, f"tasks left behind: {left}"
    assert not problems, f"unhandled in the loop: {problems}"
    return result


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if inspect.iscoroutinefunction(metafunc.function) or "loop_kind" in metafunc.fixturenames:
        if "loop_kind" not in metafunc.fixturenames:
            metafunc.fixturenames.append("loop_kind")
        metafunc.parametrize("loop_kind", LOOPS)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Any:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    run_on(pyfuncitem.callspec.params["loop_kind"], pyfuncitem.obj(**arguments))
    return True


@pytest.fixture(autouse=True)
def loop_is_there(request: pytest.FixtureRequest) -> None:
    spec = getattr(request.node, "callspec", None)
    if spec is not None and spec.params.get("loop_kind") == "uvloop":
        require("uvloop", importlib.util.find_spec("uvloop"), request.node.nodeid)


# ---- TLS ----


class Certificates:
    """A certificate for 127.0.0.1, ::1 and localhost, and contexts that use it."""

    def __init__(self, folder: Path) -> None:
        import trustme

        self.authority = trustme.CA()
        self._cert = self.authority.issue_cert("127.0.0.1", "::1", "localhost")

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._cert.configure_cert(context)
        return context

    def client(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.authority.configure_trust(context)
        return context

    def write(self, authority: Path, server: Path) -> None:
        self.authority.cert_pem.write_to_path(authority)
        self._cert.private_key_and_cert_chain_pem.write_to_path(server)


class SelfSigned:
    """The same from the openssl program, where trustme's dependencies have no wheel yet."""

    def __init__(self, folder: Path) -> None:
        self._key, self._cert = folder / "key.pem", folder / "cert.pem"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        command += ["-keyout", str(self._key), "-out", str(self._cert), "-subj", "/CN=localhost"]
        command += ["-addext", "subjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost"]
        subprocess.run(command, check=True, capture_output=True)

    @property
    def authority(self) -> Any:
        return require("trustme", None, "a test with an authority of its own")

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._cert, self._key)
        return context

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self._cert))

    def write(self, authority: Path, server: Path) -> None:
        authority.write_bytes(self._cert.read_bytes())
        server.write_bytes(self._key.read_bytes() + self._cert.read_bytes())


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Any:
    kind = Certificates if importlib.util.find_spec("trustme") else SelfSigned
    if kind is SelfSigned:
        require("trustme, or the openssl program", shutil.which("openssl"), "the tests with TLS")
    return kind(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def pem_files(certificates: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what another process needs to serve TLS, and to trust the server."""
    folder = tmp_path_factory.mktemp("pem")
    certificates.write(folder / "ca.pem", folder / "server.pem")
    return folder


# ---- proxies ----


@pytest.fixture(scope="session")
def proxies(certificates: Any) -> Iterator[Proxies]:
    """Real proxies of every kind."""
    for name in ("tiny_proxy", "python_socks"):
        require(name.replace("_", "-"), importlib.util.find_spec(name), "the tests with proxies")
    with Proxies(certificates.server()).run() as running:
        yield running


# ---- a server and its clients ----


class Net:
    """Serves and connects on 127.0.0.1, plain or over TLS, either way of the bytes."""

    def __init__(self, scheme: str, way: str, certificates: Certificates) -> None:
        self.scheme = scheme
        self.way = way
        self.certificates = certificates
        self.port = 0

    @contextlib.asynccontextmanager
    async def serve(
        self, factory: Any, host: str = "127.0.0.1", **options: Any
    ) -> AsyncIterator[Any]:
        """Run a picows_c server; afterwards wait until its connections are gone."""
        if self.scheme == "wss":
            options.setdefault("ssl", self.certificates.server())
        options.setdefault("transport", self.way)
        server = await ws_create_server(factory, host, 0, **options)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield server
        finally:
            server.close()
            server.abort_clients()
            await server.wait_closed()

    def skip_lossy_peer(self) -> None:
        """Skip where the test's own end is at fault: asyncio's streams over TLS before 3.11.

        They lose what they have not read yet when the end of the connection comes.
        """
        loops = type(asyncio.get_running_loop()).__module__
        if self.scheme == "wss" and sys.version_info < (3, 11) and loops.startswith("asyncio"):
            pytest.skip("asyncio's streams over TLS lose data before CPython 3.11")

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    async def connect(
        self, factory: Any, path: str = "/", host: str = "127.0.0.1", **options: Any
    ) -> Any:
        if self.scheme == "wss":
            options.setdefault("ssl_context", self.certificates.client())
        options.setdefault("transport", self.way)
        return await ws_connect(factory, self.url(path, host), **options)

    async def open(
        self, host: str = "127.0.0.1"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a raw byte stream to the server."""
        context = self.certificates.client() if self.scheme == "wss" else None
        return await asyncio.open_connection(host, self.port, ssl=context)


@pytest.fixture(params=["auto", "loop"] if has_poller() else ["loop"])
def way(request: pytest.FixtureRequest) -> str:
    """The way of the bytes: our poller (where there is one), or the loop's own transports."""
    return request.param


@pytest.fixture(params=["ws", "wss"])
def net(request: pytest.FixtureRequest, way: str, certificates: Certificates) -> Net:
    return Net(request.param, way, certificates)


@pytest.fixture
def plain(way: str, certificates: Certificates) -> Net:
    """A Net without TLS, for what does not depend on it."""
    return Net("ws", way, certificates)


@pytest.fixture
def ours(certificates: Certificates) -> Net:
    """A Net on the poller."""
    return Net("ws", "auto", certificates)


@pytest.fixture
def secure(certificates: Certificates) -> Net:
    return Net("wss", "auto", certificates)


@pytest.fixture(autouse=True)
def no_raw_socket_stays() -> Iterator[None]:
    """Close what served.close_later() was given, whatever the test did."""
    yield
    close_raw_sockets()
