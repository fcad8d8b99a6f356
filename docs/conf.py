"""Settings of the documentation; build it with ``make docs``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from docutils import nodes
from docutils.parsers.rst import Directive

import astro_sr_plugin
from astro_sr_plugin.cli.program import build_parser

if TYPE_CHECKING:
    import argparse

    from sphinx.application import Sphinx

project = "astro_sr_plugin"
author = "The astro_sr_plugin developers"
copyright = f"2026, {author}"
version = release = astro_sr_plugin.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax", "numpydoc"]
exclude_patterns = ["_build", "api/generated/*.rst.txt"]
default_role = "py:obj"
autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

html_theme = "furo"
html_title = f"astro_sr_plugin {version}"


def parser_of(words: list[str]) -> argparse.ArgumentParser:
    """Return the parser of a command such as ``["models", "show"]``."""
    parser = build_parser()
    for word in words:
        actions = (action for action in parser._actions if action.choices is not None)
        commands = next(action.choices for action in actions if isinstance(action.choices, dict))
        parser = commands[word]
    return parser


class CommandHelp(Directive):
    """Show what ``astro-sr COMMAND --help`` prints."""

    optional_arguments = 2
    has_content = False

    def run(self) -> list[nodes.Node]:
        os.environ["COLUMNS"] = "88"
        text = parser_of(self.arguments).format_help()
        return [nodes.literal_block(text, text, language="text")]


def setup(app: Sphinx) -> None:
    app.add_directive("command-help", CommandHelp)
