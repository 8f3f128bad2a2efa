"""Packages that only some options need."""

from __future__ import annotations

import importlib
from typing import Any, Optional


def import_extra(module: str, extra: str, option: str) -> Any:
    """Import a package. Raises ImportError that names our extra and who asked for it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{option} needs {module.partition('.')[0]}: pip install picows_c[{extra}]"
        ) from error


def import_where_installed(module: str) -> Any:
    """Import a package that something is better with; None without it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def import_aiofastnet(use: Optional[bool]) -> Any:
    """Return the package where ``use_aiofastnet=`` asks for it, else None.

    Raises TypeError for another value, ImportError.
    """
    if use is not None and not isinstance(use, bool):
        raise TypeError(f"use_aiofastnet must be bool or None, not {use!r}")
    return import_extra("aiofastnet", "aiofastnet", "use_aiofastnet=True") if use else None
