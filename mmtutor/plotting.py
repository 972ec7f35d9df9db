"""One look for every figure: colours that colour-blind readers can tell apart, on a ground that dark mode leaves alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Okabe and Ito's palette, in an order in which neighbours differ by 12 or more in lightness too (L* of 100), for grey print.
COLORS = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "sky": "#56B4E9",
    "vermilion": "#D55E00",
    "black": "#222222",
    "purple": "#CC79A7",
}
PALETTE = tuple(COLORS.values())
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # never colour alone: each series gets a marker and a line style as well
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1)), (0, (1, 1)))
SEQUENTIAL = "viridis"
DIVERGING = "RdBu_r"


def style(dpi: int = 110) -> None:
    """Set matplotlib's defaults for this book; call it once at the head of a chapter.

    Figures are PNG (their bytes may differ between machines; numbers are tested, pictures are looked at) on an opaque light
    ground, so that they read the same in light and dark mode.
    """
    import matplotlib as mpl
    from cycler import cycler

    mpl.rcParams.update(
        {
            "axes.axisbelow": True,
            "axes.edgecolor": "#555555",
            "axes.facecolor": "white",
            "axes.grid": True,
            "axes.prop_cycle": cycler(color=PALETTE) + cycler(linestyle=LINES),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlesize": "medium",
            "figure.constrained_layout.use": True,
            "figure.dpi": dpi,
            "figure.facecolor": "white",
            "figure.figsize": (6.4, 3.2),
            "font.size": 10,
            "grid.color": "#E5E5E5",
            "image.cmap": SEQUENTIAL,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "savefig.facecolor": "white",
            "svg.hashsalt": "mmtutor",
        }
    )
    try:
        from IPython import get_ipython
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:
        return
    if get_ipython() is not None:
        # A fixed box: a tight one depends on the fonts of the machine.
        set_matplotlib_formats("png", bbox_inches=None)


def intervals(
    ax: Any, x: Sequence[float], summaries: Sequence[Any], label: str | None = None, index: int = 0, **kw: Any
) -> Any:
    """Draw means over seeds with their 95 % intervals: a line with a marker at each point and a bar for each interval.

    Args:
        ax: a matplotlib axis.
        x: positions, as many as summaries.
        summaries: :class:`mmtutor.ledger.Summary` objects.
        label: for the legend.
        index: which colour, marker and line style of the book's series to use.
        kw: passed on to ``ax.errorbar``.

    Raises:
        ValueError: there are not as many positions as summaries.
    """
    if len(x) != len(summaries):
        raise ValueError(
            f"intervals needs one position a summary, got {len(x)} positions and {len(summaries)} summaries"
        )
    means = [s.mean for s in summaries]
    spread = [[s.mean - s.low for s in summaries], [s.high - s.mean for s in summaries]]
    options = dict(
        color=PALETTE[index % len(PALETTE)],
        marker=MARKERS[index % len(MARKERS)],
        linestyle=LINES[index % len(LINES)],
        capsize=3,
        markersize=5,
        label=label,
    )
    return ax.errorbar(x, means, yerr=spread, **(options | kw))
