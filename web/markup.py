"""HTML from nested calls in which everything is escaped that is not markup already.

Forgetting something fails safely: a text that is put together from markup is a plain string, and
is escaped.
"""

from __future__ import annotations

from html import escape
from typing import Final

VOID: Final = frozenset({"link", "meta"})
"""Elements that are never closed."""


class Markup(str):
    """A string that is HTML. Made by ``element`` only."""

    __slots__ = ()


def element(tag: str, /, *children: object, **attributes: object) -> Markup:
    """Return an element: children that are no markup are escaped, those that are None left out.

    Attributes: ``class_`` is ``class``, ``data_label`` is ``data-label``; None leaves one out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if tag in VOID:
        return Markup(f"<{tag}{written}>")
    inner = "".join(_html(child) for child in children if child is not None)
    return Markup(f"<{tag}{written}>{inner}</{tag}>")


def _html(child: object) -> str:
    return child if isinstance(child, Markup) else escape(str(child))
