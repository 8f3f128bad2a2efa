"""Who logs what, and to whom: logger_name in all its forms."""

from __future__ import annotations

import logging

import pytest
from helpers import Recorder
from raw import ROLES, TEXT, against, soon


class Collecting(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class Failing(Recorder):
    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        raise RuntimeError("one callback failed")


class Adapter(logging.LoggerAdapter):
    def process(self, msg, kwargs):
        return f"adapted: {msg}", kwargs


async def logged(net, role, **options) -> None:
    """Run one connection on which one callback fails."""
    listener = Failing()
    async with against(net, role, listener, **options) as peer:
        peer.send(TEXT, b"x")
        await peer.expect_close(1011)
        await peer.gone()
        await soon(listener.disconnected.wait())


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("option", "name"), [(None, None), ("own", "own"), ("a.b", "a.b")])
async def test_logger_by_name(net, role, caplog, option, name):
    caplog.set_level(logging.INFO)
    await logged(net, role, logger_name=option)
    records = [r for r in caplog.records if r.name.startswith("picows_c")]
    assert {r.name for r in records} == {f"picows_c.{name or role}"}
    levels = [r.levelno for r in records]
    # Established or accepted, the exception, the end.
    assert levels.count(logging.ERROR) == 1
    assert levels.count(logging.INFO) >= 2
    assert "Disconnected" in records[-1].message
    assert all("127.0.0.1" in r.message for r in records)


@pytest.mark.parametrize("role", ROLES)
async def test_own_logger(plain, role, caplog):
    handler = Collecting()
    logger = logging.Logger("quite.different", logging.INFO)
    logger.addHandler(handler)
    await logged(plain, role, logger_name=logger)
    assert {r.name for r in handler.records} == {"quite.different"}
    assert len([r for r in handler.records if r.levelno == logging.ERROR]) == 1
    assert not [r for r in caplog.records if r.name.startswith("picows_c")]


@pytest.mark.parametrize("role", ROLES)
async def test_own_adapter(plain, role):
    handler = Collecting()
    logger = logging.Logger("quite.different", logging.ERROR)
    logger.addHandler(handler)
    await logged(plain, role, logger_name=Adapter(logger, {}))
    (record,) = handler.records
    assert record.getMessage().startswith("adapted: [")


@pytest.mark.parametrize("role", ROLES)
async def test_levels_are_obeyed(plain, role, caplog):
    caplog.set_level(logging.CRITICAL, "picows_c")
    await logged(plain, role)
    assert not [r for r in caplog.records if r.name.startswith("picows_c")]


async def test_quiet_connection_logs_nothing_above_info(net, caplog):
    for role in ROLES:
        listener = Recorder()
        async with against(net, role, listener) as peer:
            peer.write(peer.close_frame(1000))
            await peer.expect_close(1000)
            await peer.gone() if role == "server" else peer.abort()
    assert not [r for r in caplog.records if r.levelno > logging.INFO]
