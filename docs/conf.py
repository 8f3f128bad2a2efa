"""Sphinx: ``make docs``."""

import picows_c

project = "picows_c"
author = "The picows_c authors"
copyright = "2026, The picows_c authors"
version = release = picows_c.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
nitpicky = False
