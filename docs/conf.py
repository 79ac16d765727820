"""Sphinx configuration."""

from pytest_loopsafe import __version__

project = "pytest-loopsafe"
author = "The pytest-loopsafe authors"
copyright = "2026, The pytest-loopsafe authors"  # noqa: A001
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
html_theme = "furo"
html_title = f"pytest-loopsafe {version}"
exclude_patterns = ["_build"]
html_extra_path = ["../pytest_loopsafe/_report/schema.json"]  # its address is in the schema
myst_heading_anchors = 3
autodoc_member_order = "bysource"
nitpicky = False
