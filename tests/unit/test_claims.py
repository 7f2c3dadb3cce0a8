"""Claims are a courtesy: a disk that refuses them stops nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from xai_framework.events import EventLog
from xai_framework.store import Claims, claims


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.ENOLCK])
def test_what_cannot_be_locked_can_be_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fails(*_: Any) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(claims.os, "open", fails)
    made = Claims(tmp_path)
    with pytest.warns(UserWarning, match=rf"cannot be locked here \({os.strerror(number)}\)"):
        assert made.take("a")
    assert made.take("b")  # said once
    made.give_back("a")
    made.close()


def test_a_failing_close_is_no_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(handle: int, real: Any = os.close) -> None:
        real(handle)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    made, log = Claims(tmp_path), EventLog(tmp_path)
    made.take("a")
    log({"event": "run"})
    monkeypatch.setattr(os, "close", fails)
    made.close()
    log.close()
    monkeypatch.undo()
    assert Claims(tmp_path).take("a")
