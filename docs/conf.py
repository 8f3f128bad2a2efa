"""Sphinx: ``make docs``."""

import picows_c

project = "picows_c"
author = "The picows_c authors"
copyright = "2026, The picows_c authors"
version = release = picows_c.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["side-by-side.css"]
html_extra_path = ["llms.txt"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"
nitpicky = False
