"""What ``make`` calls: set everything up, build the book, prove it. Standard library only.

Whatever goes wrong for a reason that a reader can mend (no network, a full disk, a missing part of Python or a missing
browser) ends in one line that says what to do; the noise of the tools goes to files under ``.house/``.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / ".house"
HTML = ROOT / "_build" / "html"
NEED_BYTES = (
    65 * 10**8
)  # the locked packages put in by groups, no copies kept, without GPU_ONLY: measured 5.6
ROOMY_BYTES = (
    11 * 10**9
)  # from here on pip may keep its copies, so that the next install downloads nothing
COLAB_BYTES = 9 * 10**9  # Colab's versions go in at once, as a chapter's first cell puts them in
MAKE_VENV = ("-m", "venv", "--clear")
# The chapters that train longest: CI begins with them, so that neither core waits for the other at the end.
LONGEST = (
    "11_text_to_image",
    "09_show_attend_tell",
    "16_cocktail_party",
    "10_video_captioning",
    "15_sound_localization",
    "13_vqa",
    "05_recipes",
    "06_soundnet",
    "14_vlbert",
)
THREADS = "2"  # the budget's two cores; the same for stored and for fresh outputs, so that both add in the same order


class Trouble(Exception):
    """Something that the reader can mend; the message is the one line that is shown."""


def say(text: str) -> None:
    print(text, flush=True)


# --- The environment ------------------------------------------------------------------------------


def venv_dir() -> Path:
    """Where the packages go: ``.venv``, or the folder that ``MMTUTOR_VENV`` names."""
    return Path(os.environ.get("MMTUTOR_VENV") or ROOT / ".venv").expanduser().absolute()


def venv_python() -> Path:
    folder = venv_dir()
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def check_python(
    version: Sequence[int] = sys.version_info, find: Callable = importlib.util.find_spec
) -> None:
    """One clear line for a Python that is too old or comes without venv."""
    if tuple(version[:2]) < (3, 11):
        raise Trouble(
            f"Python {version[0]}.{version[1]} is too old; the book needs Python 3.11 or newer"
        )
    for module in ("venv", "ensurepip"):
        if find(module) is None:
            raise Trouble(
                f"this Python comes without {module}; on Debian and Ubuntu install it with: apt-get install python3-venv"
            )


def check_room(folder: Path, need: int = NEED_BYTES, usage: Callable = shutil.disk_usage) -> int:
    """The free bytes where ``folder`` is or will be; one clear line for a disk without enough room."""
    while not folder.exists():
        folder = folder.parent
    free = usage(folder).free
    if free < need:
        raise Trouble(
            f"only {free / 1e9:.1f} GB are free at {folder}; the packages need about {need / 1e9:.1f} GB "
            "(make room, or set MMTUTOR_VENV to a folder on another disk)"
        )
    return free


#: Large, and loaded only by what runs on a GPU: torch.compile, solvers, kernels that are compiled as they are needed.
GPU_ONLY = ("triton", "nvidia-cusolver", "nvidia-cuda-nvrtc")


def sees_gpu() -> bool:
    """Whether this machine has an NVIDIA card, as far as can be told without torch."""
    return Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None


def groups(lock: str, small: int = 50) -> list[list[str]]:
    """The lock's requirements in groups, the heaviest first.

    Pip holds every file of a call until its end. Group after group, the room for these copies is given back before the
    next one needs it: 7 GB at the most instead of 8.7.

    Args:
        lock: the text of the lock file, one requirement with its marker a line.
        small: requirements in a group of the light ones.
    """
    lines = re.findall(r"^[A-Za-z0-9][^\n#]*[^\s#]", lock, re.M)
    cuda = [line for line in lines if line.startswith("nvidia-")]
    torch = [line for line in lines if re.match(r"(torch|triton)==", line)]
    light = [line for line in lines if line not in cuda and line not in torch]
    parts = [cuda, torch, *(light[at : at + small] for at in range(0, len(light), small))]
    return [part for part in parts if part]


def digest(*paths: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def wanted_stamp(root: Path = ROOT) -> dict[str, str]:
    """What the environment was made from; if any of it changes, it is brought up to date."""
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "lock": digest(root / "requirements.lock"),
        "package": digest(root / "pyproject.toml"),
        "root": str(root),
    }


def read_stamp(folder: Path) -> dict[str, str]:
    try:
        stamp = json.loads((folder / "mmtutor-stamp.json").read_text())
        return stamp if isinstance(stamp, dict) else {}
    except (OSError, ValueError):
        return {}


def write_atomically(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def explain_pip(output: str, code: int, log: Path) -> str:
    """Pip's failure in one line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if re.search(
        r"No space left on device|Errno 28\b|Disk quota exceeded|not enough space on the disk",
        output,
        re.I,
    ):
        return f"the disk is full; the packages need about {NEED_BYTES / 1e9:.1f} GB (pip's log: {log})"
    if re.search(
        r"NewConnectionError|NameResolutionError|Temporary failure in name resolution|Name or service not known|"
        r"Network is unreachable|No route to host|Connection refused|ConnectTimeout|ReadTimeout|Read timed out|"
        r"timed out\.|Max retries exceeded|ProxyError|SSLError|getaddrinfo failed|nodename nor servname",
        output,
    ):
        return f"no network: pip cannot reach its package index; connect, or set pip's index or proxy (pip's log: {log})"
    missing = re.search(r"No matching distribution found for (\S+)", output)
    if missing and "(from versions: none)" in output:
        return f"no network, or a package index without {missing[1]} (pip's log: {log})"
    if missing:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        return f"pip's index has no {missing[1]} for Python {version} on {sys.platform} (pip's log: {log})"
    if re.search(r"Permission denied|Errno 13\b", output):
        return f"no permission to write into {venv_dir()} (pip's log: {log})"
    errors = [line for line in lines if line.upper().startswith("ERROR")]
    last = (errors or lines or ["no output"])[-1]
    return f"pip failed with exit code {code}: {last[:200]} (pip's log: {log})"


def run_logged(
    command: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None, note: str = ""
) -> int:
    """Run a command with its output in a file; a line every minute says that it still runs."""
    with log.open("a", encoding="utf-8", errors="replace") as file:
        file.write(f"$ {' '.join(command)}\n")
        file.flush()
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT, env=env
        )
        start = time.monotonic()
        try:
            while True:
                try:
                    return process.wait(timeout=60)
                except subprocess.TimeoutExpired:
                    say(
                        f"  … {note or 'still running'} ({(time.monotonic() - start) / 60:.0f} min)"
                    )
        except BaseException:
            process.terminate()
            process.wait()
            raise


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one process at a time sets the environment up."""
    try:
        import fcntl
    except ImportError:  # Windows: the reader starts one at a time
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("Another make is setting the environment up; waiting for it.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def install(pip_command: Sequence[str] | None = None) -> None:
    """Make ``.venv`` hold exactly what the lock file says; nothing to do if it does already.

    A stamp written last tells a finished environment. A mark written first tells an interrupted one, which is then made
    anew from an empty folder.
    """
    folder, wanted = venv_dir(), wanted_stamp()
    if read_stamp(folder) == wanted and venv_python().exists():
        return
    with locked(LOGS / "install.lock"):
        stamp = read_stamp(folder)
        if stamp == wanted and venv_python().exists():  # another process has just done it
            return
        check_python()
        LOGS.mkdir(exist_ok=True)
        log, mark = LOGS / "pip.log", LOGS / "installing"
        log.write_text("")
        fresh = (
            mark.exists()
            or not venv_python().exists()
            or (stamp and stamp.get("python") != wanted["python"])
        )
        tight = check_room(folder, NEED_BYTES if fresh else 0) < ROOMY_BYTES
        if fresh:
            mark.write_text("")
            say(f"Making {short(folder)} …")
            if run_logged([sys.executable, *MAKE_VENV, str(folder)], log) != 0:
                raise Trouble(explain_venv(log.read_text(errors="replace"), log))
        pip = list(pip_command or [str(venv_python()), "-m", "pip"])
        common = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
        env = {**os.environ, "PYTHONUNBUFFERED": "1"}
        if fresh or stamp.get("lock") != wanted["lock"]:
            mark.write_text("")
            (folder / "mmtutor-stamp.json").unlink(missing_ok=True)
            say(
                f"Installing the locked packages (some minutes and 6 GB the first time; log: {short(log)}) …"
            )
            # the lock names every package there is, so pip need not look for more; Python compiles what it imports
            exactly = [*common, "--no-deps", "--no-compile", *(["--no-cache-dir"] if tight else [])]
            parts = groups((ROOT / "requirements.lock").read_text(encoding="utf-8"))
            if tight and not sees_gpu():
                say(f"  Little room here, and no GPU: {', '.join(GPU_ONLY)} stay out.")
                parts = [
                    [line for line in part if line.partition("==")[0] not in GPU_ONLY]
                    for part in parts
                ]
            for part in parts:
                listed = LOGS / "requirements.txt"
                listed.write_text("\n".join(part) + "\n", encoding="utf-8")
                pip_step([*pip, "install", *exactly, "-r", str(listed)], log, env)
            done = {
                key: wanted[key] for key in ("python", "lock")
            }  # a slip in the next step does not cost this one
            write_atomically(folder / "mmtutor-stamp.json", json.dumps(done, indent=1) + "\n")
            mark.unlink(missing_ok=True)
        pip_step(
            [*pip, "install", *common, "--no-deps", "--no-build-isolation", "-e", str(ROOT)],
            log,
            env,
        )
        write_atomically(folder / "mmtutor-stamp.json", json.dumps(wanted, indent=1) + "\n")
        say("The environment is ready.")


def pip_step(command: Sequence[str], log: Path, env: Mapping[str, str]) -> None:
    before = log.stat().st_size
    code = run_logged(command, log, env=env, note="pip is still at work")
    if code != 0:
        with log.open(encoding="utf-8", errors="replace") as file:
            file.seek(before)
            raise Trouble(explain_pip(file.read(), code, log))


def explain_venv(output: str, log: Path) -> str:
    if "ensurepip" in output:
        return "this Python comes without ensurepip; on Debian and Ubuntu: apt-get install python3-venv"
    if re.search(r"No space left|Errno 28", output):
        return "the disk is full"
    return f"python -m venv failed (log: {log})"


def short(path: Path) -> str:
    """A path as the reader would type it."""
    try:
        return str(path.relative_to(ROOT))
    except ValueError:
        return str(path)


# --- Colab ----------------------------------------------------------------------------------------

COLAB_TOOLS = ("nbval>=0.11", "pytest-timeout>=2.3")  # what compares; Colab has no nbval


def colab_dir() -> Path:
    """Where Colab's versions go: ``.venv-colab``, or the folder that ``MMTUTOR_COLAB_VENV`` names."""
    return (
        Path(os.environ.get("MMTUTOR_COLAB_VENV") or ROOT / ".venv-colab").expanduser().absolute()
    )


def colab_versions(path: Path = ROOT / "scripts" / "colab.txt") -> dict[str, str]:
    """Name and version of each package in the list; names in their normal form."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;#]+)", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins}


def colab_environment() -> Path:
    """Make an environment with the versions of Colab and this package in it, kept for the next time; return its Python.

    The package goes in as the set-up cell of a chapter puts it in, after everything else.

    Raises:
        Trouble: a package cannot be installed, or installing this one replaced a version that Colab has.
    """
    folder, log = colab_dir(), LOGS / "colab.log"
    interpreter = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    versions = ROOT / "scripts" / "colab.txt"
    wanted = {
        "python": ".".join(map(str, sys.version_info[:3])),
        "colab": digest(versions),
        "tools": " ".join(COLAB_TOOLS),
    }
    common = [
        str(interpreter),
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        "--progress-bar",
        "off",
    ]
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    LOGS.mkdir(exist_ok=True)
    with locked(LOGS / "colab.lock"):
        log.write_text("")
        if read_stamp(folder) != wanted or not interpreter.exists():
            check_python()
            check_room(folder, COLAB_BYTES)
            say(
                f"Making {short(folder)} with Colab's versions (some minutes and 6 GB the first time; log: {short(log)}) …"
            )
            if run_logged([sys.executable, *MAKE_VENV, str(folder)], log) != 0:
                raise Trouble(explain_venv(log.read_text(errors="replace"), log))
            pip_step([*common, "-r", str(versions), *COLAB_TOOLS], log, env)
            write_atomically(folder / "mmtutor-stamp.json", json.dumps(wanted, indent=1) + "\n")
        pip_step([*common, f"{ROOT}[corpora]"], log, env)
        pip_step(
            [*common, "--force-reinstall", "--no-deps", str(ROOT)], log, env
        )  # the package as it is now
        listing = subprocess.run(
            [*common[:3], "list", "--format", "json"], capture_output=True, text=True, env=env
        )
        found = {
            re.sub(r"[-_.]+", "-", one["name"]).lower(): one["version"]
            for one in json.loads(listing.stdout)
        }
        replaced = [
            f"{name} {version} became {found.get(name, 'nothing')}"
            for name, version in colab_versions(versions).items()
            if found.get(name, "").partition("+")[0] != version
        ]
        if replaced:  # made anew next time
            (folder / "mmtutor-stamp.json").unlink(missing_ok=True)
            raise Trouble("installing the package replaced what Colab has: " + ", ".join(replaced))
    say(
        f"Installing the package replaced none of Colab's {len(colab_versions(versions))} listed versions."
    )
    return interpreter


# --- The browser ----------------------------------------------------------------------------------

# the shell without windows opens a page in two thirds of the time
SHELL = "chromium-headless-shell"
BROWSERS = (
    SHELL,
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
)
PLACES = (
    "/usr/bin/chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
)


def find_chromium(which: Callable = shutil.which) -> str | None:
    """Chromium or Chrome: what ``MMTUTOR_CHROMIUM`` names, else on the PATH, else in the usual places."""
    named = os.environ.get("MMTUTOR_CHROMIUM")
    if named:
        return named if Path(named).exists() else which(named)
    for name in BROWSERS:
        found = which(name)
        if found:
            return found
    return next((place for place in PLACES if Path(place).exists()), None)


def get_chromium(
    which: Callable = shutil.which,
    is_root: Callable[[], bool] = lambda: hasattr(os, "geteuid") and os.geteuid() == 0,
    run: Callable[..., int] = run_logged,
) -> str:
    """The browser for the page tests; installed by apt where we may, else one line that says how."""
    found = find_chromium(which)
    if found:
        return found
    apt = which("apt-get")
    if apt is None or not is_root():
        how = "sudo apt-get install chromium" if apt else "install Chromium or Chrome"
        raise Trouble(
            f"the page tests need Chromium: {how} (or set MMTUTOR_CHROMIUM to its program)"
        )
    say("Installing Chromium for the page tests (apt) …")
    LOGS.mkdir(exist_ok=True)
    log = LOGS / "apt.log"
    log.write_text("")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    note = "apt is still at work"
    run([apt, "update"], log, env=env, note=note)
    install = [apt, "install", "-y", "--no-install-recommends", "fonts-liberation"]
    # older systems have no package of the shell
    if all(run([*install, name], log, env=env, note=note) != 0 for name in (SHELL, "chromium")):
        raise Trouble(f"apt could not install chromium; is there a network? (apt's log: {log})")
    found = find_chromium(which)
    if not found:
        raise Trouble(f"apt installed chromium, but it is not on the PATH (apt's log: {log})")
    return found


# --- Running things -------------------------------------------------------------------------------


def run_env(threads: str = THREADS, python: Path | None = None) -> dict[str, str]:
    """The environment of everything that runs a chapter or a test: the same everywhere, and never on the network."""
    # A backend from outside would keep figures out of notebooks; optimised Python (-O) would skip every assertion.
    # Told to write no bytecode, each kernel would compile torch and its friends anew: eight seconds a chapter.
    dropped = (
        *("PYTHONPATH", "PYTHONHOME", "MPLBACKEND", "PYTHONOPTIMIZE"),
        *("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"),
    )
    env = {key: value for key, value in os.environ.items() if key not in dropped}
    env.update(
        PYTHONHASHSEED="0",
        MMTUTOR_PROGRESS="0",
        OMP_NUM_THREADS=threads,
        MKL_NUM_THREADS=threads,
        OPENBLAS_NUM_THREADS=threads,
        HF_HUB_OFFLINE="1",
        HF_DATASETS_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        PYDEVD_DISABLE_FILE_VALIDATION="1",
    )
    env["PATH"] = os.pathsep.join([str((python or venv_python()).parent), env.get("PATH", "")])
    return env


def python(*arguments: str, env: Mapping[str, str] | None = None) -> int:
    """Run the environment's Python on these arguments, in the book's folder."""
    return subprocess.call([str(venv_python()), *arguments], cwd=ROOT, env=dict(env or run_env()))


def chapters(root: Path = ROOT) -> list[Path]:
    """The notebooks that the table of contents names, in its order."""
    text = (root / "_toc.yml").read_text(encoding="utf-8")
    names = re.findall(r"^\s*(?:-\s*)?(?:file|root):\s*(\S+)\s*$", text, re.M)
    paths = [
        root / f"{name.strip(chr(34) + chr(39)).removesuffix('.ipynb')}.ipynb" for name in names
    ]
    return [path for path in paths if path.exists()]


def build(*, strict: bool) -> int:
    """Build the HTML; strict means from nothing, and that a warning or a broken reference is an error."""
    LOGS.mkdir(exist_ok=True)
    log = LOGS / "book.log"
    log.write_text("")
    command = [
        str(venv_python()),
        "-c",
        "from jupyter_book.cli.main import main; main()",
        "build",
        ".",
    ]
    if strict:
        command += ["--all", "-W", "-n", "--keep-going"]
    env = {**run_env(), "NO_COLOR": "1", "FORCE_COLOR": "0"}
    index = HTML / "index.html"
    index.unlink(missing_ok=True)  # a tool that builds nothing must not pass for one that has built
    code = run_logged(command, log, env=env, note="the book is being built")
    if code != 0 or not index.exists():
        text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace"))
        bad = [
            line
            for line in text.splitlines()
            if re.search(r"WARNING|ERROR|Error|No space left", line)
        ]
        for line in bad[:40] or text.splitlines()[-15:]:
            say(line)
        if re.search(r"No space left on device|Errno 28", text):
            raise Trouble("the disk is full")
        raise Trouble(f"the book was not built (log: {short(log)})")
    return 0


def pytest(*arguments: str, threads: str = THREADS, **extra: str) -> int:
    return python("-m", "pytest", *arguments, env={**run_env(threads), **extra})


def lint() -> int:
    """Style, and who may import whom (the contracts stand in pyproject.toml)."""
    contracts = "from importlinter.cli import lint_imports_command as main; main(['--no-logo', '--no-cache'])"
    steps = [
        ("-m", "ruff", "check", "."),
        ("-m", "ruff", "format", "--check", "."),
        ("-c", contracts),
    ]
    return max([python(*step) for step in steps])


def unit_tests(*arguments: str) -> int:
    workers = min(os.cpu_count() or 1, 4)
    parallel = ["-n", str(workers), "--dist", "loadfile"] if workers > 1 else []
    return pytest(
        "tests", "--ignore", "tests/book", *parallel, *arguments, threads="1", MPLBACKEND="Agg"
    )


def hygiene() -> int:
    return pytest("tests/book/test_notebooks.py")


def stored_outputs() -> int:
    paths = chapters()
    if not paths:
        raise Trouble("the table of contents names no notebook")
    if gone := set(LONGEST) - {path.stem for path in paths}:
        raise Trouble(f"LONGEST names chapters that are not there: {sorted(gone)}")
    paths.sort(key=lambda path: LONGEST.index(path.stem) if path.stem in LONGEST else len(LONGEST))
    found = [str(path.relative_to(ROOT)) for path in paths]
    # Two chapters at a time, each on one thread: in little more than half the time of one after another on two.
    # A slow machine is no fault of the chapter: the longest cell took 90 to 490 s in CI.
    limits = ["--nbval-cell-timeout", "900", "--nbval-kernel-startup-timeout", "180"]
    limits += ["--timeout", "2400"]
    order = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
    parallel = order if (os.cpu_count() or 1) > 1 else []
    options = [*limits, *parallel, "--durations", "20", "-p", "no:randomly"]
    return pytest("--nbval", "--nbval-current-env", *options, *found, threads="1")


def page_tests(chromium: str) -> int:
    workers = ["-n", "2"] if (os.cpu_count() or 1) > 1 else []
    files = ["tests/book", "--ignore", "tests/book/test_notebooks.py"]
    return pytest(*files, *workers, threads="1", MMTUTOR_CHROMIUM=chromium)


# --- The commands ---------------------------------------------------------------------------------


def command_book(arguments: Sequence[str]) -> int:
    """set everything up, build the book, print the file to open"""
    install()
    start = time.monotonic()
    build(strict=False)
    say(
        f"The book is built ({time.monotonic() - start:.0f} s). Open it in a browser:\n  {(HTML / 'index.html').as_uri()}"
    )
    return 0


def command_test(arguments: Sequence[str]) -> int:
    """set everything up and prove it: style, unit tests, notebooks, strict build, pages in a real browser"""
    install()
    chromium = get_chromium()
    steps: list[tuple[str, Callable[[], int]]] = [
        ("style (ruff)", lint),
        ("unit tests", unit_tests),
        ("notebook hygiene", hygiene),
        ("stored outputs are fresh outputs (nbval)", stored_outputs),
        ("strict build of the book", lambda: build(strict=True)),
        ("pages in Chromium", lambda: page_tests(chromium)),
    ]
    results = []
    for name, step in steps:
        say(f"\n=== {name}")
        start = time.monotonic()
        try:
            code = step()
        except Trouble as trouble:
            say(f"mmtutor: {trouble}")
            code = 1
        results.append((name, code, time.monotonic() - start))
    say("\n=== summary")
    for name, code, seconds in results:
        say(f"{'ok    ' if code == 0 else 'FAILED'} {seconds:6.0f} s  {name}")
    return int(any(code for _, code, _ in results))


def command_execute(arguments: Sequence[str]) -> int:
    """re-run the chapters and store their outputs; a name (word2vec) runs that chapter only"""
    install()
    return python(
        str(ROOT / "scripts" / "execute_notebooks.py"), *map(str, wanted_chapters(arguments))
    )


def wanted_chapters(arguments: Sequence[str]) -> list[Path]:
    """The chapters that these names mean; all where none is given."""
    wanted, found = [name for name in arguments if name], chapters()
    if wanted:
        found = [path for path in found if any(matches(path, name) for name in wanted)]
        for name in wanted:
            if not any(matches(path, name) for path in found):
                raise Trouble(
                    f"no chapter {name!r}; there are {', '.join(path.stem for path in chapters())}"
                )
    return found


def matches(path: Path, name: str) -> bool:
    """Whether a chapter's file goes by this name: ``02_word2vec`` is also ``word2vec`` and ``02``."""
    return name.removesuffix(".ipynb").rpartition("/")[2] in (path.stem, *path.stem.split("_", 1))


def command_colab_check(arguments: Sequence[str]) -> int:
    """run the chapters on the versions that Colab has (scripts/colab.txt); a name (word2vec) runs that chapter only"""
    found = wanted_chapters(arguments)
    colab = colab_environment()
    with tempfile.TemporaryDirectory(
        prefix="mmtutor-colab-"
    ) as name:  # nothing of the checkout is at hand there, as in Colab
        folder = Path(name)
        for path in [*found, ROOT / "book" / "conftest.py"]:
            shutil.copy(path, folder)
        (folder / "pytest.ini").write_text("[pytest]\n")
        limits = ["--nbval-cell-timeout", "300", "--nbval-kernel-startup-timeout", "180"]
        results = []
        for path in found:
            say(f"\n=== {path.stem}, on Colab's versions")
            start = time.monotonic()
            command = [
                str(colab),
                "-m",
                "pytest",
                "--nbval",
                "--nbval-current-env",
                *limits,
                "-q",
                "-p",
                "no:cacheprovider",
                path.name,
            ]
            code = subprocess.call(command, cwd=folder, env=run_env(python=colab))
            results.append((path.stem, code, time.monotonic() - start))
    say("\n=== summary")
    for stem, code, seconds in results:
        say(f"{'ok    ' if code == 0 else 'FAILED'} {seconds:6.0f} s  {stem}")
    return int(any(code for _, code, _ in results))


def command_ledger(arguments: Sequence[str]) -> int:
    """run the experiments behind the claims (hours if need be; goes on where it stopped) and store their results"""
    install()
    fresh = ["--replicate"] if os.environ.get("REPLICATE", "0") not in ("", "0") else []
    return python("-m", "mmtutor.page.ledger", "run", *fresh, *[a for a in arguments if a])


def command_live(arguments: Sequence[str]) -> int:
    """train the models that run in the pages, unless they lie in build/live, and write their files"""
    install()
    return python("scripts/live_models.py") or python("scripts/export_live.py")


def command_bench(arguments: Sequence[str]) -> int:
    """run every benchmark and print its table"""
    install()
    paths = sorted(p for p in (ROOT / "benchmarks").glob("[!._]*.py"))
    names = [a for a in arguments if a]
    if names:
        paths = [path for path in paths if path.stem in names]
    if not paths:
        raise Trouble("no such benchmark in benchmarks/")
    code = 0
    for path in paths:
        say(f"\n=== {path.stem}")
        code = python(str(path), env={**run_env(), "MPLBACKEND": "Agg"}) or code
    return code


def command_lint(arguments: Sequence[str]) -> int:
    """check style (ruff) and the hygiene of the notebooks"""
    install()
    code = lint()
    return hygiene() or code


def command_serve(arguments: Sequence[str]) -> int:
    """serve the built pages on this machine, http://127.0.0.1:8000"""
    if not (HTML / "index.html").exists():
        raise Trouble("there is no built book yet; run make book first")
    port = free_port(next((a for a in arguments if a), "8000"))
    say(f"Serving the book at http://127.0.0.1:{port}/ (stop with Ctrl-C)")
    return subprocess.call(
        [sys.executable, "-m", "http.server", port, "--bind", "127.0.0.1", "--directory", str(HTML)]
    )


def free_port(text: str) -> str:
    """The port, if it can be used.

    Raises:
        Trouble: no number from 1 to 65535, a port that another program uses, or one that this user may not use.
    """
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise Trouble(f"the port must be a number from 1 to 65535, got {text!r}")
    with socket.socket() as probe:
        if (
            os.name != "nt"
        ):  # as http.server does: a port that was used a moment ago is free (on Windows it means another thing)
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(text)))
        except OSError as error:
            why = (
                "is used by another program"
                if error.errno == errno.EADDRINUSE
                else f"cannot be used ({error.strerror})"
            )
            raise Trouble(f"port {text} {why}; choose another: make serve PORT=8001") from None
    return text


def command_lock(arguments: Sequence[str]) -> int:
    """write requirements.lock anew from pyproject.toml (needs uv)"""
    uv = shutil.which("uv")
    if uv is None:
        raise Trouble("make lock needs uv; install it with: python3 -m pip install uv")
    extras = [part for extra in ("book", "test", "corpora") for part in ("--extra", extra)]
    command = [
        uv,
        "pip",
        "compile",
        "--universal",
        "--python-version",
        "3.11",
        "pyproject.toml",
        *extras,
    ]
    return subprocess.call(
        [*command, "--custom-compile-command", "make lock", "-o", "requirements.lock"], cwd=ROOT
    )


def command_clean(arguments: Sequence[str]) -> int:
    """remove what was built (the environment stays)"""
    empty(ROOT / "_build")
    for log in LOGS.glob("*.log"):  # the mark of an interrupted install stays
        log.unlink()
    return 0


BUILT = (
    "html",
    ".doctrees",
    ".jupyter_cache",
    "jupyter_execute",
    ".page",
)  # what a build puts into _build


def empty(build: Path) -> None:
    """Remove the build. Where ``_build`` is a link (to a larger disk, say), the link stays and what was built behind it goes."""
    if build.is_symlink():
        for name in BUILT:
            if (build / name).is_dir() and not (build / name).is_symlink():
                shutil.rmtree(build / name)
    elif build.exists():
        shutil.rmtree(build)


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "book": command_book,
    "test": command_test,
    "execute": command_execute,
    "colab-check": command_colab_check,
    "ledger": command_ledger,
    "live": command_live,
    "bench": command_bench,
    "lint": command_lint,
    "serve": command_serve,
    "lock": command_lock,
    "clean": command_clean,
}


def usage() -> str:
    lines = [f"  {name:<11} {function.__doc__}" for name, function in COMMANDS.items()]
    return "usage: python3 scripts/house.py COMMAND\n" + "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        say(usage())
        return 0 if arguments else 2
    command = COMMANDS.get(arguments[0])
    if command is None:
        sys.stderr.write(f"mmtutor: no command {arguments[0]!r}; there are {', '.join(COMMANDS)}\n")
        return 2
    try:
        check_python()
        return command(arguments[1:])
    except Trouble as trouble:
        sys.stderr.write(f"mmtutor: {trouble}\n")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            sys.stderr.write(f"mmtutor: the disk is full ({error.filename or ROOT})\n")
        elif error.errno in (errno.EACCES, errno.EROFS):
            sys.stderr.write(f"mmtutor: no permission to write {error.filename or ROOT}\n")
        else:
            raise
    except KeyboardInterrupt:
        sys.stderr.write("\nmmtutor: stopped\n")
        return 130
    return 1
