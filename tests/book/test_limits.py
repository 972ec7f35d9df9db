"""What ``make test`` asks of a chapter's stored outputs, asked of small notebooks whose answer is known."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from bookkit import ROOT
from check_notebooks import problems
from execute_notebooks import NoFigure, execute, limit, merge_streams, tidy


def write(path: Path, source: str, output: str = "", **metadata: object) -> Path:
    cell = nbformat.v4.new_code_cell(source, execution_count=1, metadata=metadata)
    if output:
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=output)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel}), path)
    return path


@pytest.mark.timeout(300)
def test_stored_outputs_are_compared_and_cells_have_limits(tmp_path: Path) -> None:
    shutil.copy(ROOT / "book" / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    write(tmp_path / "fresh.ipynb", "print(6 * 7)", "42\n")
    write(tmp_path / "stale.ipynb", "print(6 * 7)", "43\n")
    write(
        tmp_path / "noisy.ipynb",
        "import random; print(random.random())",
        "0.5\n",
        tags=["nbval-ignore-output"],
    )
    write(
        tmp_path / "slow.ipynb", "import time; time.sleep(30); print(1)", "1\n", tags=["timeout-2"]
    )
    write(
        tmp_path / "silent.ipynb", "import time; time.sleep(7); print(1)", "1\n"
    )  # nbval gives up after 5 s by itself
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval",
        "--nbval-current-env",
        "--nbval-kernel-startup-timeout",
        "180",
        "-p",
        "no:cacheprovider",
        "-q",
        "-rA",
    ]
    run = subprocess.run([*command, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True)
    by_name = {
        name: result
        for result, name in re.findall(r"^(PASSED|FAILED) (\w+)\.ipynb", run.stdout, re.M)
    }
    assert by_name == {
        "fresh": "PASSED",
        "stale": "FAILED",
        "noisy": "PASSED",
        "slow": "FAILED",
        "silent": "PASSED",
    }, run.stdout


@pytest.mark.timeout(120)
def test_execute_stores_tidy_outputs_and_a_failure_leaves_the_old_ones(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.ipynb",
        "import sys\nprint(1)\nsys.stdout.flush()\nprint(2)",
        "old\n",
        collapsed=True,
    )
    execute(path)
    notebook = nbformat.read(path, as_version=4)
    assert notebook.cells[0].outputs == [
        {"name": "stdout", "output_type": "stream", "text": "1\n2\n"}
    ]
    assert notebook.cells[0].execution_count == 1
    assert notebook.cells[0].metadata == {}
    once = path.read_bytes()
    execute(path)
    assert path.read_bytes() == once

    bad = write(tmp_path / "bad.ipynb", "1 / 0", "old\n")
    before = bad.read_bytes()
    with pytest.raises(Exception, match="ZeroDivisionError"):
        execute(bad)
    assert bad.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.ipynb", "bad.ipynb"]


PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"
FIGURE = {"mystnb": {"image": {"alt": "a line"}}}


@pytest.mark.timeout(120)
def test_a_backend_from_outside_keeps_no_figure_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own execution drops it; under papermill, which knows nothing of us, ``plotting.style`` puts it right."""
    import papermill

    monkeypatch.setenv("MPLBACKEND", "Agg")
    styled = "from mmtutor.page import plotting\nplotting.style()\n" + PLOT
    ran = papermill.execute_notebook(
        write(tmp_path / "pm.ipynb", styled, **FIGURE), tmp_path / "out.ipynb", progress_bar=False
    )
    assert "image/png" in ran.cells[0].outputs[-1].data
    path = write(tmp_path / "own.ipynb", PLOT, **FIGURE)
    execute(path)
    assert "image/png" in nbformat.read(path, as_version=4).cells[0].outputs[-1].data


@pytest.mark.timeout(120)
def test_a_figure_that_does_not_come_out_is_a_failure(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.ipynb", "import matplotlib\nmatplotlib.use('Agg')\n" + PLOT, "old\n", **FIGURE
    )
    before = path.read_bytes()
    with pytest.raises(NoFigure, match="no figure came out of cell 1"):
        execute(path)
    assert path.read_bytes() == before
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell("# Title"))
    assert any("cell 2: a figure is described" in problem for problem in problems(notebook))


def test_limits_come_from_tags() -> None:
    cell = nbformat.v4.new_code_cell("1", metadata={"tags": ["parameters", "timeout-240"]})
    assert limit(cell) == 240
    assert limit(nbformat.v4.new_code_cell("1")) == 180


def test_widget_state_and_views_are_not_stored() -> None:
    notebook = nbformat.v4.new_notebook(metadata={"widgets": {"x": 1}, "pycharm": {}})
    view = nbformat.v4.new_output(
        "display_data",
        {
            "text/plain": "IntSlider()",
            "application/vnd.jupyter.widget-view+json": {"model_id": "1"},
        },
    )
    notebook.cells = [
        nbformat.v4.new_code_cell(
            "1", outputs=[view], metadata={"execution": {"iopub.status.busy": "now"}, "tags": ["a"]}
        )
    ]
    tidy(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert set(notebook.cells[0].outputs[0].data) == {"text/plain"}
    assert notebook.cells[0].metadata == {"tags": ["a"]}


def test_streams_are_merged_only_with_their_like() -> None:
    stream = [
        nbformat.v4.new_output("stream", name=n, text=t)
        for n, t in (("stdout", "a"), ("stdout", "b"), ("stderr", "c"))
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=stream)])
    assert [(o.name, o.text) for o in merge_streams(notebook).cells[0].outputs] == [
        ("stdout", "ab"),
        ("stderr", "c"),
    ]


def test_side_car_files_of_a_mac_are_no_pages(tmp_path: Path) -> None:
    """A Mac leaves ``._name`` beside a file on a disk that is not its own: binary, with the same suffix."""
    import yaml
    from sphinx.project import Project

    for name in (
        "book/02_word2vec.ipynb",
        "book/._02_word2vec.ipynb",
        "book/._index.md",
        "._index.md",
        "book/index.md",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\x00\x05\x16\x07\xff\xfe")
    excluded = yaml.safe_load((ROOT / "_config.yml").read_text())["exclude_patterns"]
    found = Project(tmp_path, {".ipynb": "myst-nb", ".md": "markdown"}).discover(excluded)
    assert found == {"book/02_word2vec", "book/index"}
