"""Sphinx configuration."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "Roost"
author = "The Roost developers"
copyright = "2026, the Roost developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "site_tables"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_title = "Roost"
html_theme_options = {
    "description": "Interactive HTC and HPC for JupyterHub",
    "page_width": "70em",
    "fixed_sidebar": True,
}
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
napoleon_google_docstring = False
