"""Draw what a terminal showed: ANSI text on standard input, SVG on standard output.

    tmux capture-pane -e -p | python tools/terminal_picture.py "make run" > docs/images/start.svg

The picture fetches nothing: fonts are named, not linked.
"""

from __future__ import annotations

import io
import re
import sys

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

THEME = TerminalTheme(
    (24, 26, 32),
    (216, 220, 228),
    [
        (24, 26, 32), (224, 108, 117), (126, 192, 108), (224, 180, 96),
        (97, 160, 232), (190, 132, 216), (86, 182, 194), (216, 220, 228),
    ],
    [
        (122, 130, 144), (240, 128, 134), (150, 212, 130), (240, 200, 120),
        (120, 180, 250), (208, 152, 232), (110, 200, 212), (255, 255, 255),
    ],
)  # fmt: skip
FONT_FACE = re.compile(r"@font-face\s*\{.*?\}\s*", re.DOTALL)
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def picture(ansi: str, title: str) -> str:
    """Return the SVG of ``ansi``, in a window with ``title``, as wide as the longest line."""
    text = Text.from_ansi(ansi.rstrip())
    width = max(line.cell_len for line in text.split())
    console = Console(record=True, width=width, file=io.StringIO(), legacy_windows=False)
    console.print(text)
    svg = console.export_svg(title=title, theme=THEME, unique_id="terminal")
    svg = FONT_FACE.sub("", svg)
    return re.sub(r"font-family: (?:Fira Code, monospace|arial)", f"font-family: {FONTS}", svg)


if __name__ == "__main__":
    sys.stdout.write(picture(sys.stdin.read(), sys.argv[1] if sys.argv[1:] else ""))
