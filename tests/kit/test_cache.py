"""The cache: where it lies, whatever the environment says, and that clearing takes all that is ours and nothing else."""

from __future__ import annotations

import errno
import os
import re
import stat
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path

import pytest

from mmtutor.kit import cache

linux = pytest.mark.skipif(sys.platform != "linux", reason="the rules of the XDG specification")
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX users and links")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting from outside, and the warning that there is no home is given anew."""
    for variable in (cache.VARIABLE, "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    cache._stand_in.cache_clear()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    return tmp_path / "home"


# --- Where it is ----------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "home/.cache/mmtutor"),
        ({"XDG_CACHE_HOME": "/x/y"}, "/x/y/mmtutor"),
        ({"XDG_CACHE_HOME": "~/stash"}, "home/stash/mmtutor"),
        ({"XDG_CACHE_HOME": "~"}, "home/mmtutor"),
        ({"XDG_CACHE_HOME": "relative/stash"}, "home/.cache/mmtutor"),
        ({"XDG_CACHE_HOME": "."}, "home/.cache/mmtutor"),
        ({"XDG_CACHE_HOME": ""}, "home/.cache/mmtutor"),
        ({"XDG_CACHE_HOME": " \t"}, "home/.cache/mmtutor"),
        ({"MMTUTOR_CACHE": "/x/z"}, "/x/z"),
        ({"MMTUTOR_CACHE": "~/z"}, "home/z"),
        ({"MMTUTOR_CACHE": "~"}, "home"),
        ({"MMTUTOR_CACHE": " /x/z "}, "/x/z"),
        ({"MMTUTOR_CACHE": "/x/z", "XDG_CACHE_HOME": "/x/y"}, "/x/z"),
        ({"MMTUTOR_CACHE": "", "XDG_CACHE_HOME": "/x/y"}, "/x/y/mmtutor"),
        ({"MMTUTOR_CACHE": "  ", "XDG_CACHE_HOME": "  "}, "home/.cache/mmtutor"),
    ],
)
def test_settings(
    home: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    assert cache.cache_dir() == home.parent / expected  # an absolute path stays itself


def no_home_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", refuse)
    monkeypatch.setattr(Path, "expanduser", refuse)


@linux
@pytest.mark.parametrize(
    "variables", [{}, {"MMTUTOR_CACHE": "~/z"}, {"XDG_CACHE_HOME": "~/z"}, {"XDG_CACHE_HOME": "z"}]
)
def test_no_home_is_a_folder_of_the_user_and_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    no_home_at_all(monkeypatch)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    with pytest.warns(
        cache.CacheWarning, match=re.escape(str(tmp_path)) + ".*MMTUTOR_CACHE"
    ) as record:
        found = {cache.cache_dir() for _ in range(3)}
    assert len(record) == 1
    (folder,) = found
    assert folder.parent == tmp_path
    assert str(os.getuid()) in folder.name
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    cache._stand_in.cache_clear()
    with pytest.warns(cache.CacheWarning):
        assert cache.cache_dir() == folder  # the next process finds it again


@linux
@pytest.mark.parametrize("value", ["", "  ", "relative"])
def test_a_home_that_names_nothing_is_no_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("HOME", value)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.warns(cache.CacheWarning, match="MMTUTOR_CACHE"):
        assert cache.cache_dir().parent == tmp_path
    monkeypatch.setenv(cache.VARIABLE, "~/z")  # Python itself would answer /z
    assert cache.cache_dir().parent == tmp_path


@linux
def test_no_home_does_not_matter_where_another_place_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Path, "home", lambda: pytest.fail("the home was asked for"))
    monkeypatch.setenv(cache.VARIABLE, "/x/z")
    assert cache.cache_dir() == Path("/x/z")
    monkeypatch.delenv(cache.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x/y")
    assert cache.cache_dir() == Path("/x/y/mmtutor")


@posix
@pytest.mark.parametrize("trap", ["a link", "a file", "another user's"])
def test_a_folder_that_somebody_else_laid_out_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trap: str
) -> None:
    no_home_at_all(monkeypatch)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    laid = tmp_path / f"mmtutor-{os.getuid()}"
    if trap == "a link":
        (tmp_path / "theirs").mkdir()
        laid.symlink_to(tmp_path / "theirs")
    elif trap == "a file":
        laid.write_text("")
    else:
        laid.mkdir()
        real = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: real + 1)
        laid.rename(tmp_path / f"mmtutor-{real + 1}")
        laid = tmp_path / f"mmtutor-{real + 1}"
    with pytest.warns(cache.CacheWarning):
        folder = cache.cache_dir()
    assert folder != laid
    assert folder.is_dir()
    assert not folder.is_symlink()
    assert folder.parent == tmp_path


def test_nowhere_at_all_is_an_answer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    no_home_at_all(monkeypatch)

    def refuse() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", refuse)
    monkeypatch.setattr(
        Path, "mkdir", lambda *_args, **_kwargs: (_ for _ in ()).throw(PermissionError(13, "no"))
    )
    with pytest.warns(cache.CacheWarning):
        assert cache.cache_dir().is_absolute()


@linux
def test_everything_works_without_a_home(tmp_path: Path) -> None:
    """Data sets, corpora, speech and features in a process whose user has no entry and no HOME."""
    code = """
import os, sys, warnings, pathlib, tempfile
def refuse(*a): raise RuntimeError("Could not determine home directory.")
pathlib.Path.home = pathlib.Path.expanduser = refuse
tempfile.tempdir = sys.argv[1]
warnings.simplefilter("always")
import numpy as np
from mmtutor import world
from mmtutor.kit import vision
with warnings.catch_warnings(record=True) as record:
    assert len(world.load("scenes", size=2)) == 2
    assert world.corpus("kjv")[:3] == ["in", "the", "beginning"]
    assert world.speak("Hello.").seconds > 0.1
    vision.features(np.zeros((1, 64, 64, 3), np.uint8), vision.ImageEncoder(pretrained=False))
    assert world.clear_cache() > 0
print([w.category.__name__ for w in record if "MMTUTOR_CACHE" in str(w.message)])
"""
    environment = {
        k: v for k, v in os.environ.items() if k not in ("HOME", "MMTUTOR_CACHE", "XDG_CACHE_HOME")
    }
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, env=environment
    )
    assert run.stderr == ""
    assert run.stdout.strip() == "['CacheWarning']"


# --- To write into it -----------------------------------------------------------------------------


def test_threads_that_write_the_same_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Both are between begin and end at the same time; the last one wins, and nothing is left over."""
    path, both, errors = tmp_path / "file", threading.Barrier(2), []

    def write(content: bytes) -> None:
        try:
            with cache.replacing(path) as partial:
                partial.write_bytes(content[:1])
                both.wait(100)
                partial.write_bytes(content)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(content,)) for content in (b"one", b"two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert path.read_bytes() in (b"one", b"two")
    assert list(tmp_path.iterdir()) == [path]


def test_sweeping_for_one_file_leaves_what_others_are_writing(tmp_path: Path) -> None:
    for name in (
        "a.txt.1.partial",
        "ab.txt.2.partial",
        "a.txt",
        "a.partial.txt",
        "folder/x.3.partial",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    cache.sweep(tmp_path / "a.txt")
    assert {path.name for path in tmp_path.iterdir()} == {
        "ab.txt.2.partial",
        "a.txt",
        "a.partial.txt",
        "folder",
    }
    cache.sweep(tmp_path / "folder")
    assert not list((tmp_path / "folder").iterdir())


def test_a_lock_that_is_held_is_said_to_be_held(tmp_path: Path) -> None:
    with (
        cache.locked(tmp_path / "x"),
        pytest.raises(TimeoutError),
        cache.locked(tmp_path / "x", wait=False),
    ):
        pass
    with cache.locked(tmp_path / "x", wait=False):
        pass


def test_a_folder_that_vanishes_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another process clears the cache at that moment."""
    import filelock

    real, calls = filelock.FileLock.acquire, []

    def acquire(self: filelock.FileLock, *args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) < 3:
            (tmp_path / "folder").rmdir()
            raise FileNotFoundError(2, "No such file or directory")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with cache.locked(tmp_path / "folder" / "x"):
        assert (tmp_path / "folder" / "x.lock").exists()
    assert len(calls) == 3


# --- To empty it ----------------------------------------------------------------------------------

# What lies beside ours and looks a little like it.
FOREIGN = (
    "letter.txt",
    "world",  # replaced by a folder where the package has one
    "world/atlas.pdf",
    "world/scenes-1-3f/train-0/0000000-250.arrow",
    "world/scenes-1-0123456789ab/notes.txt",
    "world/scenes-1-0123456789ab/train-0/notes.arrow",
    "hub/switch.conf",
    "corpora/notes.txt",
    "corpora/notes-2024-draft.txt",
    "features/list.md",
    "features/mine.npy",
    "features/tmpdata.npy",
    "espeak-ng/README",
    "espeak-ngsource/data/README",
    "espeak-0123456789ab/README",
    "other/world/scenes-1-0123456789ab/train-0/0000000-250.arrow",
    "something.partial",
    "something.lock",
)


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache directory with something of every kind that the package stores, made by the package itself."""
    import numpy as np
    from PIL import Image

    from mmtutor import hub, world
    from mmtutor.kit import vision
    from mmtutor.world import speech

    root = tmp_path / "c"
    monkeypatch.setenv(cache.VARIABLE, str(root))
    for split, options in [("train", {}), ("test", {}), ("train", {"pixels": 96})]:
        world.load("dishes", split, size=3, processes=1, **options)
    world.load("portraits", size=2, processes=1).map(lambda row: {"long": len(row["name"])})
    world.corpus("kjv")
    speech._short_data.cache_clear()
    world.speak("Hello.")
    vision.features(
        np.zeros((2, 64, 64, 3), np.uint8), vision.ImageEncoder(layer="vector", pretrained=False)
    )
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "pictures" / "one.png")
    hub.folder(tmp_path / "pictures", pixels=32)
    # what killed builds leave
    (shards,) = (
        path for path in root.glob("world/portraits-*/train-0-*pixels=64*") if path.is_dir()
    )
    (shards / "0000250-250.arrow.1a2b3c4d.partial").write_bytes(bytes(7))
    (shards.parent / "train-7").mkdir()
    (shards.parent / "train-8.lock").write_bytes(b"")
    (text,) = root.glob("corpora/kjv-*.txt")
    text.with_name(text.name + ".4321.partial").write_bytes(bytes(7))
    (array,) = root.glob("features/*.npy")
    array.with_name(array.name + ".0f0f0f0f.partial").write_bytes(bytes(7))
    begun = root / "espeak-ab_d3f9h" / "data"
    (begun / "lang" / "gmw").mkdir(parents=True)
    (begun / "lang" / "gmw" / "en").write_bytes(bytes(7))
    return root


def everything(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*")}


def add_foreign(root: Path) -> set[str]:
    for name in FOREIGN:
        path = root / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("mine")
    return {name for name in FOREIGN if (root / name).is_file()}


def size(root: Path) -> int:
    return sum(
        path.lstat().st_size for path in root.rglob("*") if path.is_symlink() or path.is_file()
    )


def test_clearing_empties_all_that_is_stored(filled: Path) -> None:
    kinds = {path.split("/")[0].split("-")[0] for path in everything(filled)}
    assert {"world", "hub", "corpora", "features"} <= kinds  # and espeak, where links can be made
    assert any("cache-" in path for path in everything(filled))
    expected = size(filled)
    assert cache.clear() == expected > 4_000_000
    assert everything(filled) == set()
    assert cache.clear() == 0


def test_clearing_leaves_what_is_not_ours(filled: Path) -> None:
    ours = size(filled)
    mine = add_foreign(filled)
    assert len(mine) == len(FOREIGN) - 1
    assert cache.clear() == ours
    assert {path for path in everything(filled) if (filled / path).is_file()} == mine
    folders = {path for path in everything(filled) if (filled / path).is_dir()}
    assert folders == {
        str(parent) for name in mine for parent in Path(name).parents if str(parent) != "."
    }


def test_a_file_in_the_place_of_a_folder_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    for name in ("world", "features", "espeak-0123456789ab"):
        (tmp_path / name).write_text("mine")
    assert cache.clear() == 0
    assert everything(tmp_path) == {"world", "features", "espeak-0123456789ab"}


@posix
def test_links_are_not_followed_out_of_the_cache(filled: Path, tmp_path: Path) -> None:
    """The voices are links to the installed ones; a link to a folder is somebody's arrangement, and what it hides stays."""
    installed = [path.resolve() for path in filled.rglob("phondata")]
    away = tmp_path / "away" / "scenes-1-0123456789ab" / "train-0"
    away.mkdir(parents=True)
    (away / "0000000-250.arrow").write_text("mine")
    (filled / "world" / "scenes-1-0123456789ab").symlink_to(away.parent)
    cache.clear()
    assert (away / "0000000-250.arrow").read_text() == "mine"
    assert all(path.exists() for path in installed)
    (filled / "world" / "scenes-1-0123456789ab").unlink()
    (filled / "world").rmdir()
    (filled / "world").symlink_to(
        away.parents[1]
    )  # the whole folder lies on another disk: that is ours
    assert cache.clear() == 4
    assert (filled / "world").is_symlink()


def test_clearing_one_name_takes_every_version_split_and_option_of_it(filled: Path) -> None:
    from mmtutor import world

    old = filled / "world" / "dishes-0-0123456789ab" / "train-0-pixels=64"
    near = filled / "world" / "side_dishes-1-0123456789ab" / "train-0"
    for folder in (old, near):
        folder.mkdir(parents=True)
        (folder / "0000000-250.arrow").write_bytes(bytes(9))
    before = everything(filled)
    doomed = {path for path in before if path.startswith("world/dishes-")}
    assert len([path for path in doomed if path.endswith(".arrow")]) == 4
    freed = sum((filled / path).stat().st_size for path in doomed if (filled / path).is_file())
    assert world.clear_cache("dishes") == freed
    assert everything(filled) == before - doomed
    assert len(world.load("dishes", size=3)) == 3
    assert world.clear_cache("kjv") > 3_000_000
    assert not list(filled.glob("corpora/kjv*"))
    with pytest.raises(ValueError, match="did you mean 'dishes'"):
        world.clear_cache("dishe")
    for wrong in (3, ["kjv"]):
        with pytest.raises(TypeError, match="must be a string"):
            world.clear_cache(wrong)


def test_what_another_process_builds_is_left_alone(filled: Path) -> None:
    (shards,) = (
        path for path in filled.glob("world/portraits-*/train-0-*pixels=64*") if path.is_dir()
    )
    hold = (
        "import sys; from pathlib import Path; from mmtutor.kit import cache\n"
        "with cache.locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.readline()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(shards)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "held\n"
        inside = everything(shards)
        assert inside
        with pytest.warns(
            cache.CacheWarning,
            match=f"is building world/{shards.parent.name}/{shards.name}; left alone",
        ):
            cache.clear()
        assert everything(shards) == inside
        assert shards.with_name(
            f"{shards.name}.lock"
        ).exists()  # or the next builder would not wait for this one
        assert {path.split("/")[0] for path in everything(filled)} == {"world"}
    finally:
        holder.communicate("\n", timeout=300)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.clear() > 0
    assert everything(filled) == set()


def test_no_cache_is_nothing_to_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "nowhere"))
    assert cache.clear() == 0
    assert not (tmp_path / "nowhere").exists()


def test_a_file_system_without_locks_is_cleared_too(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import filelock

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    cache.clear()
    assert everything(filled) == set()


def test_a_directory_removed_between_two_looks_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``mkdir(exist_ok=True)`` says "exists" when what it found is gone at its second look."""
    make, said = os.mkdir, []

    def torn(path: str, *rest: int) -> None:
        if len(said) < 5:
            said.append(path)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        make(path, *rest)

    monkeypatch.setattr(os, "mkdir", torn)
    with cache.locked(tmp_path / "one" / "data"):
        assert (tmp_path / "one").is_dir()
    assert len(said) == 5
    said.clear()
    with cache.replacing(tmp_path / "two" / "data") as partial:
        partial.write_bytes(b"whole")
    assert (tmp_path / "two" / "data").read_bytes() == b"whole"
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError), cache.locked(tmp_path / "file" / "data"):
        pass


def test_builds_go_on_while_the_cache_is_cleared_again_and_again(tmp_path: Path) -> None:
    """Two builders and one who clears, at once: right samples, and no warning but "left alone"."""
    code = """
import hashlib, sys, warnings
warnings.simplefilter("error")
from mmtutor import world
for turn in range(6):
    data = world.load("dishes", size=6, processes=1)
    print(hashlib.sha256(data[:]["image"].tobytes()).hexdigest(), flush=True)
"""
    environment = {**os.environ, cache.VARIABLE: str(tmp_path)}
    builders = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "another process is building", cache.CacheWarning)
        patch.setenv(cache.VARIABLE, str(tmp_path))
        while any(builder.poll() is None for builder in builders):
            cache.clear()
    answers = [builder.communicate() for builder in builders]
    assert [error for _, error in answers] == ["", ""]
    lines = "".join(out for out, _ in answers).split()
    assert len(lines) == 12
    assert len(set(lines)) == 1
