"""One look for every figure: colours that colour-blind readers can tell apart, on a ground that
dark mode leaves alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmtutor.kit.decoding import BeamTree, Node

# Okabe and Ito's palette, in an order in which neighbours differ by 12 or more in lightness too (L*
# of 100), for grey print.
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
MARKERS = (
    "o",
    "s",
    "^",
    "D",
    "v",
    "P",
    "X",
)  # never colour alone: each series gets a marker and a line style as well
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1)), (0, (1, 1)))
SEQUENTIAL = "viridis"
DIVERGING = "RdBu_r"


def style(dpi: int = 110) -> None:
    """Set matplotlib's defaults for this book; call it once at the head of a chapter.

    Figures are PNG (their bytes may differ between machines; numbers are tested, pictures are
    looked at) on an opaque light ground, so that they read the same in light and dark mode.
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
            # Narrow enough that text of this size is legible on a phone, where a figure of any width
            # fills the screen: the rule is font size (points) ≥ 1.8 × width (inches).
            "figure.figsize": (5.8, 3.0),
            "font.size": 10.5,
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
    shell = get_ipython()
    if shell is not None:
        if getattr(shell, "kernel", None) is not None and mpl.get_backend().lower() == "agg":
            # In a notebook, a backend without a screen (MPLBACKEND=Agg, as on servers) would keep
            # every figure out of it.
            shell.run_line_magic("matplotlib", "inline")
        # A fixed box: a tight one depends on the fonts of the machine.
        set_matplotlib_formats("png", bbox_inches=None)
        from matplotlib.figure import Figure

        # Beside the picture stands how small its smallest text is, so that a test can read it.
        shell.display_formatter.formatters["image/png"].for_type(Figure, _png)


TEXT_KEY = "mmtutor-text"  # in a PNG: pixels of the smallest text, and of the picture's width


def smallest_text(figure: Any) -> tuple[float, float]:
    """The height of the smallest text of a figure and the width of the figure, both in pixels at
    the figure's own resolution; a figure without text has an infinite height."""
    from matplotlib.axes import Axes
    from matplotlib.text import Text

    figure.draw_without_rendering()  # tick labels get their text as they are drawn
    hidden: set[int] = set()
    for axes in figure.findobj(Axes):
        unseen = [] if axes.axison else [axes.xaxis, axes.yaxis]
        for one in unseen if axes.get_visible() else [axes]:
            hidden |= {id(text) for text in one.findobj(Text)}
    sizes = [
        text.get_fontsize()
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and id(text) not in hidden
    ]
    dots = figure.dpi / 72
    return min(sizes, default=float("inf")) * dots, figure.get_figwidth() * figure.dpi


def _png(figure: Any) -> str | None:
    """A figure as base64 PNG, as IPython makes it, with the size of its text beside it."""
    from IPython.core.pylabtools import print_figure

    height, width = smallest_text(figure)
    return print_figure(
        figure,
        fmt="png",
        base64=True,
        bbox_inches=None,
        metadata={TEXT_KEY: f"{height:.2f} {width:.0f}"},
    )


def intervals(
    ax: Any,
    x: Sequence[float],
    summaries: Sequence[Any],
    label: str | None = None,
    index: int = 0,
    **kw: Any,
) -> Any:
    """Draw means over seeds with their 95 % intervals: a line with a marker at each point and a bar
    for each interval.

    Args:
        ax: a matplotlib axis.
        x: positions, as many as summaries.
        summaries: :class:`mmtutor.page.ledger.Summary` objects.
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


def draw_beam_tree(tree: BeamTree, words: Iterable[str], ax: Any = None) -> Any:
    """Draw a beam search from left to right, one column a word.

    A frame: kept in the beam. Italics, no frame and a dotted line: pruned. A double frame: the
    caption ended here, with its rank beside it; the path to the best one is drawn thick. The grey
    number under a word is the log-probability of the path to it. A caption of ten words needs about
    the width of a page; a beam of three with ``n_best=1`` is easiest to read.

    Args:
        tree: from :func:`mmtutor.kit.decoding.beam_tree`.
        words: the words of all ids in their order, for example a
            :class:`mmtutor.kit.text.Vocabulary`.
        ax: a matplotlib axis; a new figure of a fitting size if not given.

    Returns:
        the axis.

    Raises:
        ValueError: ``words`` is too short for an id of the tree.
    """
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    words = list(words)
    largest = max(max(node.ids, default=tree.bos) for node in tree.nodes)
    if largest >= len(words):
        raise ValueError(f"the tree holds the id {largest}, but there are only {len(words)} words")
    x, y = _tree_layout(tree.nodes)
    if ax is None:
        ax = plt.subplots(figsize=(0.98 * max(x) + 1.9, 0.52 * (max(y) - min(y)) + 1.4))[1]
    i = next((i for i, node in enumerate(tree.nodes) if node.rank == 1), -1)
    best_path = set()
    while i >= 0:
        best_path.add(i)
        i = tree.nodes[i].parent

    grey, ink, blue = "#6B6B6B", COLORS["black"], COLORS["blue"]
    for i, node in enumerate(tree.nodes):
        word = words[node.ids[-1] if node.ids else tree.bos]
        finished = node.ids[-1:] == (tree.eos,)
        colour = blue if finished else ink if node.kept else grey
        if node.ids:
            line = dict(
                linestyle="-" if node.kept else ":", linewidth=2.6 if i in best_path else 1.0
            )
            start = node.parent
            ax.plot(
                [x[start], x[i]],
                [y[start], y[i]],
                color=ink if node.kept else grey,
                zorder=1,
                **line,
            )
        look = dict(ha="center", va="center", fontsize=9, style="normal" if node.kept else "italic")
        frame = dict(facecolor="white", edgecolor=colour if node.kept else "white", linewidth=1.0)
        if finished:  # a wider frame behind the first
            ax.text(
                x[i],
                y[i],
                word,
                color="none",
                zorder=2,
                bbox=dict(boxstyle="round,pad=0.45", **frame),
                **look,
            )
        ax.text(
            x[i],
            y[i],
            word,
            color=colour,
            zorder=3,
            bbox=dict(boxstyle="round,pad=0.2", **frame),
            **look,
        )
        note = dict(textcoords="offset points", va="center", zorder=4)
        if node.ids:
            number = f"{node.logprob:.2f}".replace("-", "−")
            below = (0, -15 if finished else -13)
            blank = dict(
                boxstyle="square,pad=0.05", facecolor="white", edgecolor="none"
            )  # lines pass behind it
            ax.annotate(
                number, (x[i], y[i]), below, ha="center", fontsize=7, color=grey, bbox=blank, **note
            )
        if node.rank is not None:
            mark = f"{node.rank}." if finished else f"{node.rank}. (cut off)"
            ax.annotate(
                mark,
                (x[i], y[i]),
                (25, 0),
                ha="left",
                fontsize=9,
                weight="bold",
                color=colour,
                **note,
            )
    ax.legend(
        handles=[
            Patch(facecolor="white", edgecolor=ink, label="kept in the beam"),
            Line2D([], [], color=grey, linestyle=":", label="pruned (italics)"),
            Patch(facecolor="white", edgecolor=blue, linewidth=3, label="finished, with its rank"),
            Line2D([], [], color=ink, linewidth=2.6, label="the best caption"),
        ],
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, fontsize=8, frameon=False, handlelength=1.6,
    )  # fmt: skip
    ax.set(xlim=(-0.55, max(x) + 1.1), ylim=(min(y) - 0.7, max(y) + 0.6))
    ax.axis("off")
    return ax


def _tree_layout(nodes: Sequence[Node]) -> tuple[list[int], list[float]]:
    """Columns by depth. Within a column the order of a walk through the tree, so that no two lines
    cross."""
    children: list[list[int]] = [[] for _ in nodes]
    for i, node in enumerate(nodes[1:], start=1):
        children[node.parent].append(i)
    columns: dict[int, list[int]] = {}
    stack = [0]
    while stack:
        i = stack.pop()
        columns.setdefault(len(nodes[i].ids), []).append(i)
        stack += sorted(
            children[i], key=lambda j: nodes[j].logprob
        )  # the most probable child is visited first
    y = [0.0] * len(nodes)
    for column in columns.values():
        for row, i in enumerate(column):
            y[i] = (len(column) - 1) / 2 - row
    return [len(node.ids) for node in nodes], y
