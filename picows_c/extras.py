"""Packages that only some options need."""

from __future__ import annotations

import importlib
from typing import Any


def import_extra(module: str, extra: str, option: str) -> Any:
    """Import a package. Raises ImportError that names our extra and who asked for it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{option} needs {module.partition('.')[0]}: pip install picows_c[{extra}]"
        ) from error
