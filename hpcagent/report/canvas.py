"""The one door to matplotlib: a fixed style, deterministic SVG, and its form inside a page.

The colours of data are those of Okabe and Ito, which stay apart under the common colour-vision
deficiencies (Wong, "Points of view: Color blindness", Nature Methods 8, 441, 2011); marks differ
in shape as well.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hpcagent.report import wording

INK = "#1b1f24"
PAPER = "#ffffff"
GRID = "#d0d7de"
GREY = "#6e7781"
BLUE = "#0072b2"
ORANGE = "#d55e00"
GREEN = "#009e73"

# Inside a page a colour is a CSS variable, so that the page's dark scheme can change it.
_VARIABLES = {
    INK: "ink",
    PAPER: "paper",
    GRID: "grid",
    GREY: "grey",
    BLUE: "blue",
    ORANGE: "orange",
    GREEN: "green",
}
WIDTH_IN = 5.0
_MONOSPACE = "DejaVu Sans Mono"


@contextmanager
def style(name: str) -> Iterator[None]:
    """Matplotlib as it comes, whatever the user's settings are, plus this style."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "font.family": "DejaVu Sans",
                "font.size": 9,
                "axes.labelsize": 9,
                "legend.fontsize": 8,
                "legend.frameon": False,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.axisbelow": True,
                "axes.grid": True,
                "grid.color": GRID,
                "grid.linewidth": 0.6,
                "text.color": INK,
                "text.parse_math": False,
                "axes.edgecolor": GREY,
                "axes.labelcolor": INK,
                "xtick.color": INK,
                "ytick.color": INK,
                "axes.facecolor": "none",
                "figure.facecolor": PAPER,
                "svg.fonttype": "path",
                "svg.hashsalt": name,
            }
        )
        yield


def blank(height_in: float) -> tuple[Any, Any]:
    """A figure without a window or global state, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    return figure, figure.subplots()


def save(figure: Any) -> str:
    """The figure as SVG text: the same figure gives the same bytes."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": "hpcagent"})
    return buffer.getvalue()


def label(text: str, length: int) -> str:
    """Outside text for a figure: what the font has, on one line, of a bounded length."""
    ascii_only = wording.visible(text).encode("ascii", "backslashreplace").decode("ascii")
    return wording.middle(ascii_only, length)


def row_labels(axes: Any, labels: Sequence[str], bold: frozenset[int] = frozenset()) -> None:
    """Names of the rows 0, 1, ... from the top, in a font of fixed width."""
    axes.set_yticks(range(len(labels)), labels=labels, fontfamily=_MONOSPACE, fontsize=8)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    for place, text in enumerate(axes.get_yticklabels()):
        if place in bold:
            text.set_fontweight("bold")


def write(axes: Any, x: float, y: float, text: str, size: float = 8) -> None:
    """Text in a font of fixed width, starting at a point of the data."""
    axes.text(x, y, text, fontfamily=_MONOSPACE, fontsize=size, va="center", color=INK)


def ratio_scale(axes: Any, values: Sequence[float]) -> None:
    """Linear where the ratios are close together, logarithmic where one is far off."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

    if values and max(values) > 4.0 * min(values):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.ticklabel_format(axis="x", useOffset=False, style="plain")


def legend(figure: Any, axes: Any, columns: int = 3) -> None:
    """Above the plot, so that it never covers data."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper center", ncols=columns)


def inline(name: str, svg: str, caption: str) -> str:
    """The SVG for the inside of an HTML page.

    Without prologue and namespaces (HTML knows them), with ids of its own, colours as CSS
    variables and a name that a screen reader speaks.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.S)
    head, rest = body.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    rest = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', rest)
    rest = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", rest)
    rest = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{name}-\1"', rest)
    for colour, variable in _VARIABLES.items():
        rest = rest.replace(colour, f"var(--fig-{variable})")
    spoken = html.escape(wording.visible(caption), quote=True)
    shape = box.group() if box else ""
    return f'<svg {shape} role="img" aria-label="{spoken}">{rest}'
