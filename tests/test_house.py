"""The bootstrap: what a reader sees when something is missing, and that an interrupted install is made anew."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
import _house as house  # noqa: E402

Usage = namedtuple("Usage", "total used free")


def no_traceback(text: str) -> None:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("mmtutor: ")


# --- Python ---------------------------------------------------------------------------------------


def test_an_old_python_is_told_so() -> None:
    with pytest.raises(
        house.Trouble, match=r"Python 3\.9 is too old; the book needs Python 3\.11 or newer"
    ):
        house.check_python((3, 9, 1))
    house.check_python((3, 11, 0))
    house.check_python((4, 0, 0))


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_python_without_its_parts_is_told_so(module: str) -> None:
    with pytest.raises(house.Trouble, match=f"without {module}; .*apt-get install python3-venv"):
        house.check_python((3, 12), find=lambda name: None if name == module else object())


def test_the_entry_says_it_in_one_line_even_to_an_old_python() -> None:
    """The version is looked at before anything that an old Python cannot read or import."""
    program = "import sys; sys.version_info = (3, 8, 0); exec(open('scripts/house.py').read())"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 1
    no_traceback(run.stderr)
    assert "3.8 is too old" in run.stderr


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not here")
def test_make_without_python_says_it_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "python3").write_text(
        "#!/bin/sh\nexit 1\n"
    )  # a Python that is too old answers the same way
    (tmp_path / "python3").chmod(0o755)
    env = {"PATH": str(tmp_path)}
    run = subprocess.run(
        [shutil.which("make"), "book", "SHELL=/bin/sh"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=env,
    )
    assert run.returncode != 0
    assert len(run.stderr.strip().splitlines()) == 1
    assert "needs Python 3.11 or newer" in run.stderr


def test_an_unknown_command_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert house.main(["bake"]) == 2
    assert "no command 'bake'; there are book, test, execute" in capsys.readouterr().err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert house.main(["help"]) == 0
    shown = capsys.readouterr().out
    makefile = (ROOT / "Makefile").read_text()
    for name in house.COMMANDS:
        assert f"  {name} " in shown
        assert f"\n{name}: ##" in makefile


# --- Room and network -----------------------------------------------------------------------------


def test_a_full_disk_is_told_before_the_install(tmp_path: Path) -> None:
    with pytest.raises(
        house.Trouble, match=r"only 1\.5 GB are free .* need about 6\.5 GB .*MMTUTOR_VENV"
    ):
        house.check_room(
            tmp_path / "not" / "yet", usage=lambda folder: Usage(10**11, 0, 15 * 10**8)
        )
    assert house.check_room(tmp_path, usage=lambda folder: Usage(10**11, 0, 10**11)) == 10**11


PIP = {
    "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device": "the disk is full",
    "WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError(...): Failed to establish a new "
    "connection: [Errno -3] Temporary failure in name resolution'\nERROR: Could not find a version that satisfies the "
    "requirement torch==2.11.0\nERROR: No matching distribution found for torch==2.11.0": "no network",
    "pip._vendor.urllib3.exceptions.ReadTimeoutError: Read timed out.": "no network",
    "ERROR: Could not find a version that satisfies the requirement a==1 (from versions: none)\n"
    "ERROR: No matching distribution found for a==1": "no network, or a package index without a==1",
    "ERROR: No matching distribution found for torch==2.11.0": "pip's index has no torch==2.11.0 for Python",
    "error: [Errno 13] Permission denied: '/x'": "no permission",
    "Collecting a\nERROR: something else entirely": "exit code 1: ERROR: something else entirely",
    "": "no output",
}


@pytest.mark.parametrize("output", PIP)
def test_pips_noise_becomes_one_line(output: str) -> None:
    line = house.explain_pip(output, 1, Path("pip.log"))
    assert PIP[output] in line
    assert "pip.log" in line
    assert "\n" not in line


def test_a_full_disk_anywhere_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(arguments: object) -> int:
        raise OSError(28, "No space left on device", "/some/file")

    monkeypatch.setitem(house.COMMANDS, "book", full)
    assert house.main(["book"]) == 1
    no_traceback(capsys.readouterr().err)


# --- The environment ------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project of its own, with real venvs and a pip that only writes down what it was asked."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "requirements.lock").write_text("a==1\n")
    (root / "pyproject.toml").write_text("[project]\nname='a'\n")
    monkeypatch.setattr(house, "ROOT", root)
    monkeypatch.setattr(house, "LOGS", root / ".house")
    monkeypatch.setattr(house, "wanted_stamp", lambda: real_stamp(root))
    monkeypatch.setattr(house, "check_room", lambda folder, need: 10**12)
    monkeypatch.setattr(
        house, "MAKE_VENV", ("-m", "venv", "--clear", "--without-pip")
    )  # pip is faked below
    monkeypatch.delenv("MMTUTOR_VENV", raising=False)
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return root


real_stamp = house.wanted_stamp


def pip(home: Path, body: str = "") -> list[str]:
    """A pip that notes its arguments and then does what ``body`` says."""
    script = home.parent / "pip.py"
    script.write_text(
        "import os, sys\nopen(os.environ['CALLS'], 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
        + textwrap.dedent(body)
    )
    return [sys.executable, str(script)]


def calls(home: Path) -> list[str]:
    path = home.parent / "calls"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def test_install_then_nothing_then_only_what_changed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    house.install(pip(home))
    lock, package = calls(home)
    assert lock.endswith(f"-r {home / '.house' / 'requirements.txt'}")
    assert "--no-cache-dir" not in lock
    assert (home / ".house" / "requirements.txt").read_text() == "a==1\n"
    assert package.endswith(f"-e {home}")
    assert (home / ".venv" / "bin" / "python").exists()
    assert json.loads((home / ".venv" / "mmtutor-stamp.json").read_text())["root"] == str(home)

    capsys.readouterr()
    house.install(pip(home))
    assert calls(home) == []
    assert capsys.readouterr().out == ""

    (home / "requirements.lock").write_text("a==2\n")
    house.install(pip(home))
    assert len(calls(home)) == 2

    (home / "pyproject.toml").write_text("[project]\nname='b'\n")
    house.install(pip(home))
    assert [" -r " in call for call in calls(home)] == [False]


LOCK = (
    "# written by a program\na==1\n    # via b\nnvidia-x==1 ; sys_platform == 'linux'\n"
    "torch==2\n    # via\n    #   a\ntorch-like==1\ntriton==3 ; sys_platform == 'linux'\nz==1\n"
)


def test_the_groups_hold_the_whole_lock_the_heaviest_first() -> None:
    nvidia = "nvidia-x==1 ; sys_platform == 'linux'"
    triton = "triton==3 ; sys_platform == 'linux'"
    assert house.groups(LOCK, small=1) == [
        [nvidia],
        ["torch==2", triton],
        ["a==1"],
        ["torch-like==1"],
        ["z==1"],
    ]
    real = (ROOT / "requirements.lock").read_text()
    together = [line for group in house.groups(real) for line in group]
    assert {line.partition("==")[0] for line in together} > set(house.GPU_ONLY)
    assert sorted(together) == sorted(re.findall(r"^[A-Za-z0-9].*$", real, re.M))
    assert max(map(len, house.groups(real))) <= 50


@pytest.mark.parametrize(("free", "gpu"), [(7.7, False), (7.7, True), (20.0, False)])
def test_a_small_disk_keeps_no_copies_and_no_triton(
    home: Path, monkeypatch: pytest.MonkeyPatch, free: float, gpu: bool
) -> None:
    (home / "requirements.lock").write_text(LOCK)
    monkeypatch.setattr(house, "check_room", lambda folder, need: free * 1e9)
    monkeypatch.setattr(house, "sees_gpu", lambda: gpu)
    body = "print(open(sys.argv[-1]).read() if '-r' in sys.argv else '')"
    house.install(pip(home, body))
    *lock, package = calls(home)
    assert len(lock) == 3  # nvidia, torch, the light ones
    assert all("--no-deps" in call for call in lock)
    assert all(("--no-cache-dir" in call) == (free < 11) for call in lock)
    log = (home / ".house" / "pip.log").read_text()
    assert ("triton==3" in log) == (gpu or free > 11)
    for line in ("a==1", "nvidia-x==1", "torch==2", "z==1"):
        assert line in log
    assert package.endswith(f"-e {home}")


def test_the_lock_names_all_that_its_packages_need() -> None:
    """Pip is told not to look for more, so nothing may be missing."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = [
        line for group in house.groups((ROOT / "requirements.lock").read_text()) for line in group
    ]
    locked = {}
    for requirement in map(Requirement, lines):
        if requirement.marker is None or requirement.marker.evaluate():
            locked[canonicalize_name(requirement.name)] = str(requirement.specifier)[2:]
    needs: dict[str, list[Requirement]] = {}
    for name in locked:
        try:
            needs[name] = [Requirement(text) for text in metadata.requires(name) or []]
        except metadata.PackageNotFoundError:
            assert name in house.GPU_ONLY, name  # stays out where there is little room

    def holds(need: Requirement, extras: set[str]) -> bool:
        return need.marker is None or any(need.marker.evaluate({"extra": e}) for e in extras)

    asked: dict[str, set[str]] = {name: {""} for name in locked}  # the extras that others ask for
    for need in (need for each in needs.values() for need in each if need.extras):
        if holds(need, {""}):
            asked.setdefault(canonicalize_name(need.name), {""}).update(need.extras)
    missing = []
    for name, each in needs.items():
        for need in each:
            version = locked.get(canonicalize_name(need.name))
            if holds(need, asked[name]) and (
                version is None or not need.specifier.contains(version, prereleases=True)
            ):
                missing.append(f"{name} needs {need}, locked is {version}")
    assert len(locked) > 150
    assert missing == []


@pytest.mark.parametrize(
    "body", ["os._exit(1)", "import signal; os.kill(os.getpid(), signal.SIGKILL)"]
)
def test_an_interrupted_install_is_made_anew(home: Path, body: str) -> None:
    house.install(pip(home))
    calls(home)
    (home / "requirements.lock").write_text("a==2\n")
    with pytest.raises(house.Trouble, match="pip failed with exit code"):
        house.install(pip(home, body))
    leftover = home / ".venv" / "half-installed"
    leftover.write_text("")
    calls(home)
    house.install(pip(home))
    assert len(calls(home)) == 2
    assert not leftover.exists()
    assert house.read_stamp(home / ".venv") == real_stamp(home)


def test_a_slip_in_the_last_step_does_not_cost_the_long_one(home: Path) -> None:
    with pytest.raises(house.Trouble, match="exit code 3"):
        house.install(pip(home, "sys.exit(3 if '-e' in sys.argv else 0)"))
    assert len(calls(home)) == 2
    house.install(pip(home))
    assert [" -e " in call for call in calls(home)] == [True]
    assert house.read_stamp(home / ".venv") == real_stamp(home)


def test_a_failure_names_its_cause_and_the_log(home: Path) -> None:
    body = "print('ERROR: [Errno 28] No space left on device'); sys.exit(1)"
    with pytest.raises(house.Trouble, match=r"the disk is full.*pip\.log"):
        house.install(pip(home, body))
    assert "No space left" in (home / ".house" / "pip.log").read_text()


def test_a_real_pip_without_network_says_so(home: Path) -> None:
    """pip itself, sent to a port of this machine where nothing listens."""
    command = [sys.executable, "-m", "pip"]
    offline = [
        "--isolated",
        "--index-url",
        "http://127.0.0.1:9/simple",
        "--retries",
        "1",
        "--timeout",
        "2",
    ]
    run = subprocess.run(
        [*command, "download", *offline, "no-such-package"],
        capture_output=True,
        text=True,
        cwd=home,
    )
    assert run.returncode != 0
    assert house.explain_pip(run.stdout + run.stderr, run.returncode, Path("pip.log")).startswith(
        "no network"
    )


def test_a_damaged_stamp_is_no_stamp(tmp_path: Path) -> None:
    for text in ("", "{", "[1]"):
        (tmp_path / "mmtutor-stamp.json").write_text(text)
        assert house.read_stamp(tmp_path) == {}


# --- The browser ----------------------------------------------------------------------------------


@pytest.fixture
def no_browser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MMTUTOR_CHROMIUM", raising=False)
    monkeypatch.setattr(house, "PLACES", ())
    monkeypatch.setattr(house, "LOGS", tmp_path / "logs")


def test_chromium_is_found_on_the_path(no_browser: None) -> None:
    found = house.get_chromium(
        which=lambda name: f"/bin/{name}" if name == "google-chrome" else None
    )
    assert found == "/bin/google-chrome"


def test_without_rights_it_says_how_to_get_chromium(no_browser: None) -> None:
    with pytest.raises(house.Trouble, match="need Chromium: sudo apt-get install chromium"):
        house.get_chromium(
            which=lambda name: "/usr/bin/apt-get" if name == "apt-get" else None,
            is_root=lambda: False,
        )
    with pytest.raises(house.Trouble, match="install Chromium or Chrome"):
        house.get_chromium(which=lambda name: None, is_root=lambda: True)


def test_as_root_apt_brings_chromium(no_browser: None) -> None:
    have, ran = {"apt-get": "/usr/bin/apt-get"}, []

    def run(command: list[str], log: Path, **more: object) -> int:
        ran.append(command[1])
        if command[1] == "install":
            have["chromium"] = "/usr/bin/chromium"
        return 0

    assert house.get_chromium(which=have.get, is_root=lambda: True, run=run) == "/usr/bin/chromium"
    assert ran == ["update", "install"]

    # an older system, without the shell
    have, asked = {"apt-get": "/usr/bin/apt-get"}, []

    def older(command: list[str], log: Path, **more: object) -> int:
        asked.append(command[-1])
        if command[-1] == "chromium":
            have["chromium"] = "/usr/bin/chromium"
        return int(command[-1] == house.SHELL)

    found = house.get_chromium(which=have.get, is_root=lambda: True, run=older)
    assert (found, asked) == ("/usr/bin/chromium", ["update", house.SHELL, "chromium"])
    with pytest.raises(house.Trouble, match="is there a network"):
        house.get_chromium(
            which={"apt-get": "x"}.get, is_root=lambda: True, run=lambda *a, **k: 100
        )


# --- The rest -------------------------------------------------------------------------------------


def test_chapters_go_by_several_names() -> None:
    path = Path("book/02_word2vec.ipynb")
    for name in ("02_word2vec", "word2vec", "02", "book/02_word2vec.ipynb", "02_word2vec.ipynb"):
        assert house.matches(path, name)
    assert not house.matches(path, "word")


def test_the_environment_of_runs_is_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("MPLBACKEND", "Agg")  # it would keep figures out of the notebooks
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # each kernel would compile torch anew
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", "/nowhere/to/write")
    env = house.run_env()
    assert "PYTHONPATH" not in env
    assert not {"PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"} & set(env)
    assert "MPLBACKEND" not in env
    assert env["PYTHONHASHSEED"] == env["MMTUTOR_PROGRESS"] == "0"
    assert env["OMP_NUM_THREADS"] == env["MKL_NUM_THREADS"]
    assert env["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize(
    "failing", [None, "lint", "unit_tests", "hygiene", "stored_outputs", "page_tests", "build"]
)
def test_every_step_of_the_test_command_counts(
    failing: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step that fails fails the whole, and the steps after it still run."""
    ran = []

    def step(name: str) -> object:
        def run(*arguments: object, **options: object) -> int:
            ran.append(name)
            if name == failing == "build":
                raise house.Trouble("the book was not built")
            return int(name == failing)

        return run

    monkeypatch.setattr(house, "install", lambda: None)
    monkeypatch.setattr(house, "get_chromium", lambda: "/usr/bin/chromium")
    steps = ["lint", "unit_tests", "hygiene", "stored_outputs", "build", "page_tests"]
    for name in steps:
        monkeypatch.setattr(house, name, step(name))
    assert house.main(["test"]) == (0 if failing is None else 1)
    assert ran == steps
    assert capsys.readouterr().out.count("FAILED") == (0 if failing is None else 1)


def test_serve_needs_a_book(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(house, "HTML", tmp_path)
    assert house.main(["serve"]) == 1
    no_traceback(capsys.readouterr().err)


@pytest.mark.parametrize("port", ["0", "65536", "99999", "-1", "80a", "8 0", "١٢", "1e3"])
def test_an_impossible_port_is_told_so(port: str) -> None:
    with pytest.raises(house.Trouble, match="a number from 1 to 65535"):
        house.free_port(port)


def test_a_busy_port_is_told_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import socket

    (tmp_path / "index.html").write_text("<p>here</p>")
    monkeypatch.setattr(house, "HTML", tmp_path)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        assert house.main(["serve", port]) == 1
        told = capsys.readouterr().err
    no_traceback(told)
    assert f"port {port} is used by another program; choose another: make serve PORT=8001" in told
    assert house.free_port(port) == port


def test_clean_empties_a_build_behind_a_link_and_keeps_the_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far, home = tmp_path / "far", tmp_path / "home"
    for name in ("html", ".doctrees"):
        (far / name).mkdir(parents=True)
        (far / name / "a").write_text("built")
    (far / "mine.txt").write_text("not built")
    home.mkdir()
    (home / "_build").symlink_to(far)
    monkeypatch.setattr(house, "ROOT", home)
    monkeypatch.setattr(house, "LOGS", tmp_path / "none")
    assert house.main(["clean"]) == 0
    assert (home / "_build").is_symlink()
    assert sorted(path.name for path in far.iterdir()) == ["mine.txt"]
    (home / "_build").unlink()
    (home / "_build" / "html").mkdir(parents=True)
    assert house.main(["clean"]) == 0
    assert not (home / "_build").exists()
    assert house.main(["clean"]) == 0  # nothing to do is no trouble


# --- Colab ----------------------------------------------------------------------------------------


def test_colabs_versions_stand_in_one_file() -> None:
    versions = house.colab_versions()
    assert {
        "torch",
        "torchvision",
        "torchaudio",
        "datasets",
        "numpy",
        "ipython",
        "ipywidgets",
    } <= set(versions)
    assert all(part[0].isdigit() for part in versions.values())
    others = [
        ROOT / name
        for name in ("pyproject.toml", "CONTRIBUTING.md", "README.md", ".github/workflows/book.yml")
    ]
    for path in others:
        assert "ipython==" not in path.read_text(), path


def test_the_floors_admit_what_colab_has() -> None:
    from packaging.requirements import Requirement

    versions = house.colab_versions()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in map(Requirement, project["dependencies"]):
        version = versions.get(requirement.name.replace("_", "-").lower())
        assert version is None or requirement.specifier.contains(version), (
            f"{requirement}, but Colab has {version}"
        )


@pytest.mark.parametrize("installed", ["2.1.3", "2.3.0"])
def test_a_version_that_the_package_replaces_is_told(
    installed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pip that answers with one version or another stands in for the real one."""
    home = tmp_path / "home"
    (home / "scripts").mkdir(parents=True)
    (home / "scripts" / "colab.txt").write_text("# what Colab has\nnumpy==2.1.3\n")
    pip = home / ".venv-colab" / "bin" / "python"
    script = f"""#!/bin/sh
case "$*" in *list*) echo '[{{"name": "NumPy", "version": "{installed}"}}]' ;; esac
"""

    def run(command: list[str], log: Path, **more: object) -> int:
        pip.parent.mkdir(parents=True, exist_ok=True)
        pip.write_text(script)
        pip.chmod(0o755)
        return 0

    monkeypatch.delenv("MMTUTOR_COLAB_VENV", raising=False)
    monkeypatch.setattr(house, "ROOT", home)
    monkeypatch.setattr(house, "LOGS", home / ".house")
    monkeypatch.setattr(house, "run_logged", run)
    monkeypatch.setattr(house, "check_room", lambda folder, need: 10**12)
    monkeypatch.setattr(house.colab_versions, "__defaults__", (home / "scripts" / "colab.txt",))
    if installed == "2.1.3":
        assert house.colab_environment() == pip
    else:
        with pytest.raises(
            house.Trouble, match=r"replaced what Colab has: numpy 2\.1\.3 became 2\.3\.0"
        ):
            house.colab_environment()
        assert house.read_stamp(home / ".venv-colab") == {}  # made anew next time


# --- The rooms ------------------------------------------------------------------------------------


def test_the_contracts_name_every_system() -> None:
    """A new file beside the systems is a system: it has to enter the contracts, and its tests and experiments their aisles."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    systems = {path.stem for path in (ROOT / "mmtutor").glob("[!._]*.py")} - {"finder", "sound"}
    named = next(c for c in contracts if c["type"] == "independence")["modules"]
    assert {name.removeprefix("mmtutor.") for name in named} == systems
    for contract in contracts[1:3]:
        assert named in (contract["source_modules"], contract["forbidden_modules"])
    for system in systems:
        assert (ROOT / "tests" / f"test_{system}.py").exists()
        if any((ROOT / "book").glob(f"[0-9]*_{system}.ipynb")):  # a chapter brings its experiments
            assert (ROOT / "experiments" / f"{system}.py").exists()
    rooms = {
        path.parent.name
        for path in (ROOT / "mmtutor").glob("*/__init__.py")
        if not path.parent.is_symlink()
    }
    assert rooms == {"cli", "hub", "kit", "page", "world"}


def test_every_package_travels_in_the_wheel() -> None:
    listed = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    )
    there = {
        ".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "mmtutor").rglob("__init__.py")
    }
    assert listed == there | {"mmtutor.experiments", "mmtutor.results", "mmtutor.live"}


def test_conda_gets_what_pip_gets() -> None:
    """environment.yml names no package of its own: it installs this package with all the extras of pyproject.toml."""
    import yaml

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    extras = ",".join(sorted(project["optional-dependencies"]))
    assert conda["dependencies"] == [
        f"python{project['requires-python']}",
        "pip",
        {"pip": [f"-e .[{extras}]"]},
    ]


def test_the_lock_holds_every_dependency_in_range() -> None:
    import re

    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = dict(
        re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", (ROOT / "requirements.lock").read_text(), re.M)
    )
    pins = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins.items()}
    asked = project["dependencies"] + [
        r for extra in project["optional-dependencies"].values() for r in extra
    ]
    for requirement in map(Requirement, asked):
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        assert name in pins, f"{name} is not in requirements.lock: run make lock"
        assert requirement.specifier.contains(pins[name], prereleases=True), (
            f"{requirement}, but the lock has {pins[name]}"
        )


def test_continuous_integration_calls_the_one_command() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert script.rstrip().endswith("make test")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    workflow = (ROOT / ".github" / "workflows" / "book.yml").read_text()
    assert "make test" in workflow


def test_continuous_integration_tries_the_oldest_python_and_colabs() -> None:
    """By the package's own word, and with nothing in it that says otherwise."""
    workflow = (ROOT / ".github" / "workflows" / "book.yml").read_text()
    tried = re.findall(r'"(3\.\d+)"', re.search(r"python: \[(.*)\]", workflow)[1])
    assert tried == ["3.11", "3.13"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"
    assert "- python>=3.11\n" in (ROOT / "environment.yml").read_text()
