"""Run notebooks from the first cell to the last and store their outputs, in a form that two runs share.

``make execute`` calls it in the locked environment. The notebook's folder is the working folder, as in Jupyter, nbval and
Colab. A notebook is replaced in one step and only if every cell ran, so that a failure or a kill leaves the old one.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from check_notebooks import lacks_figure, setup_source
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

KEPT_NOTEBOOK_METADATA = ("kernelspec", "language_info")
VOLATILE_CELL_METADATA = (
    "execution",
    "ExecuteTime",
    "collapsed",
    "scrolled",
    "outputId",
    "colab",
    "pycharm",
)
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE = {
    "name": "python",
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "pygments_lexer": "ipython3",
}


class NoFigure(ValueError):
    """A cell ran, but the figure that it describes did not come out."""


def tidy(notebook: Any) -> Any:
    """Remove what differs between two runs or belongs to an editor: timings, widget state, versions, views of widgets."""
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNELSPEC, "language_info": LANGUAGE})
    for cell in notebook.cells:
        for key in VOLATILE_CELL_METADATA:
            cell.metadata.pop(key, None)
        for output in cell.get("outputs", []):
            if "data" in output:
                output["data"].pop("application/vnd.jupyter.widget-view+json", None)
    return notebook


def merge_streams(notebook: Any) -> Any:
    """Put neighbouring pieces of one stream together: how a kernel cuts its output is a matter of luck."""
    for cell in notebook.cells:
        merged: list[Any] = []
        for output in cell.get("outputs", []):
            before = merged[-1] if merged else None
            if (
                before is not None
                and output.output_type == "stream" == before.output_type
                and before.name == output.name
            ):
                before.text += output.text
            else:
                merged.append(output)
        if "outputs" in cell:
            cell.outputs = merged
    return notebook


def limit(cell: Any, default: int = 180) -> int:
    """Seconds that a cell may take: its tag ``timeout-N``, else the default."""
    for tag in cell.metadata.get("tags", []):
        if tag.startswith("timeout-"):
            return int(tag.removeprefix("timeout-"))
    return default


def execute(path: Path) -> float:
    """Execute one notebook in place and return the seconds that it took.

    Raises:
        CellExecutionError: a cell failed; the file on disk is unchanged.
        NoFigure: a cell that describes a figure gave none; the file on disk is unchanged.
    """
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if "setup" in cell.metadata.get("tags", []):
            cell.source = setup_source()  # the repository's address comes from pyproject.toml
    os.environ.pop(
        "MPLBACKEND", None
    )  # a backend from outside would keep the figures out of the notebook
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        timeout_func=limit,
        startup_timeout=180,
        record_timing=False,
        store_widget_state=False,
    )
    start = time.perf_counter()
    client.execute()
    seconds = time.perf_counter() - start
    bare = [number for number, cell in enumerate(notebook.cells, 1) if lacks_figure(cell)]
    if bare:
        raise NoFigure(
            f"no figure came out of cell {', '.join(map(str, bare))}, which describes one (mystnb.image.alt)"
        )
    notebook = merge_streams(tidy(notebook))
    nbformat.validate(notebook)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            nbformat.write(notebook, file)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return seconds


def main(arguments: list[str]) -> int:
    failed = 0
    for name in arguments:
        path = Path(name)
        try:
            seconds = execute(path)
        except (CellExecutionError, NoFigure) as error:
            failed += 1
            print(
                f"{path.name}: not stored, the notebook is unchanged\n{error}",
                file=sys.stderr,
                flush=True,
            )
            continue
        print(f"{path.name}: {seconds:.0f} s, {path.stat().st_size / 1e6:.2f} MB", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
