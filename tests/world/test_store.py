"""The store: right answers whatever happens to the disk, the processes and the arguments.

Most tests use a toy data set that writes one line to a log for every sample it builds, so that a test can see what was
built, how often and by which process.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import inspect
import json
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtutor import world
from mmtutor.kit import cache
from mmtutor.world import _store, rows

TOY = """
import os, time
import numpy as np
from mmtutor.world._dice import rng
from mmtutor.world._store import Builder

def wait(ready):
    end = time.monotonic() + 300
    while not ready():
        time.sleep(0.01)
        if time.monotonic() > end:
            raise TimeoutError("nobody came")

def build(split, indices, seed, pixels=4):
    meet, hold = os.environ.get("TOY_MEET"), os.environ.get("TOY_HOLD")
    if meet and indices[0]:  # after its first shard nobody goes on before two processes are at work
        open(f"{meet}/{os.getpid()}", "w").close()
        wait(lambda: len(os.listdir(meet)) == 2)
    if hold and indices[0] >= 30:  # nobody goes further before there is this file
        wait(lambda: os.path.exists(hold))
    columns = {"image": [], "mask": [], "caption": [], "boxes": [], "wave": [], "index": [], "things": []}
    for index in indices:
        random = rng("toy", split, seed, index)
        columns["image"].append(random.integers(0, 256, (pixels, pixels, 3), dtype=np.uint8))
        columns["mask"].append(random.integers(0, 2, (pixels, pixels), dtype=np.uint8))
        columns["caption"].append(f"{split} {seed} {index}")
        columns["boxes"].append(random.integers(0, 64, (index % 3 + 1, 4)).tolist())
        columns["wave"].append(random.normal(size=5 + index % 4).astype(np.float32))
        columns["index"].append(index)
        columns["things"].append([{"name": "dog", "size": 0.5}] * (index % 2))
        time.sleep(float(os.environ.get("TOY_SECONDS", 0)))
    with open(os.environ["TOY_LOG"], "a") as log:
        log.write("".join(f"{os.getpid()} {index}\\n" for index in indices))
    return columns

def features(pixels=4):
    import datasets as d
    return d.Features({
        "image": d.Array3D((pixels, pixels, 3), "uint8"), "mask": d.Array2D((pixels, pixels), "uint8"),
        "caption": d.Value("string"), "boxes": d.Sequence(d.Sequence(d.Value("int32"), length=4)),
        "wave": d.Sequence(d.Value("float32")), "index": d.Value("int32"),
        "things": [{"name": d.Value("string"), "size": d.Value("float32")}],
    })

DATASETS = {"toy": Builder("toy", 1, build, features, {"train": 40, "test": 10}, {"train": 95, "test": 20}, "A toy",
                           options={"pixels": (4, 8)}, chunk=10)}
"""

# A fresh interpreter that loads the toy and prints a fingerprint of all its values.
LOAD = """
import sys, hashlib
sys.path.insert(0, sys.argv[1])
from mmtutor.world import _store
_store.MODULES["toy"] = "toy_world"
_store._WORTH_A_HELPER = 0
data = _store.load("toy", size=int(sys.argv[2]), processes=int(sys.argv[3]))
print(hashlib.md5(repr(data.with_format(None).to_dict()).encode()).hexdigest())
"""


class Toy:
    """The toy data set in its own folder, with its own cache and log."""

    def __init__(self, home: Path) -> None:
        self.home, self.cache, self.log = home, home / "cache", home / "log"
        (home / "toy_world.py").write_text(TOY)

    def built(self) -> Counter[int]:
        """How often each sample was built."""
        return Counter(int(line.split()[1]) for line in self._lines())

    def builders(self) -> set[str]:
        return {line.split()[0] for line in self._lines()}

    def _lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def shards(self) -> list[Path]:
        return sorted(self.cache.rglob("*.arrow"))

    def start(self, size: int, processes: int = 1, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", LOAD, str(self.home), str(size), str(processes)],
            env={
                **os.environ,
                "MMTUTOR_CACHE": str(self.cache),
                "TOY_LOG": str(self.log),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    toy = Toy(tmp_path)
    monkeypatch.setenv("MMTUTOR_CACHE", str(toy.cache))
    monkeypatch.setenv("TOY_LOG", str(toy.log))
    monkeypatch.setitem(_store.MODULES, "toy", "toy_world")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield toy
    sys.modules.pop("toy_world", None)


def fingerprint(data) -> str:
    return hashlib.md5(repr(data.with_format(None).to_dict()).encode()).hexdigest()


def direct(size: int, split: str = "train", seed: int = 0, **options) -> dict[str, list]:
    """What the builder itself makes, without the store."""
    return importlib.import_module("toy_world").build(split, range(size), seed, **options)


# --- What comes back ------------------------------------------------------------------------------


def test_values_are_the_builders_values(toy: Toy) -> None:
    data, expected = world.load("toy", size=37), direct(37)
    assert len(data) == 37
    for index in range(37):
        row = data[index]
        np.testing.assert_array_equal(row["image"], expected["image"][index])
        np.testing.assert_array_equal(row["mask"], expected["mask"][index])
        np.testing.assert_array_equal(row["wave"], expected["wave"][index])
        np.testing.assert_array_equal(row["boxes"], expected["boxes"][index])
        assert (row["caption"], row["index"]) == (f"train 0 {index}", index)
        assert row["things"] == expected["things"][index]


def test_columns_of_numbers_are_arrays_in_their_own_type(toy: Toy) -> None:
    data = world.load("toy", size=12)
    row = data[3]
    assert row["image"].dtype == row["mask"].dtype == np.uint8
    assert (row["image"].shape, row["mask"].shape) == ((4, 4, 3), (4, 4))
    assert row["wave"].dtype == np.float32
    assert row["boxes"].dtype == np.int32
    assert isinstance(row["caption"], str)
    assert isinstance(row["index"], int)
    assert isinstance(row["things"], list)
    whole = data[:]
    assert whole["image"].shape == (12, 4, 4, 3)
    assert whole["image"].dtype == np.uint8
    np.testing.assert_array_equal(whole["image"], np.stack(direct(12)["image"]))


def test_it_is_an_ordinary_hugging_face_data_set(toy: Toy) -> None:
    import pickle

    import datasets

    data = world.load("toy", size=20)
    assert isinstance(data, datasets.Dataset)
    assert data.split == "train"
    assert data.info.description == "A toy"
    assert data.shuffle(seed=1).select([0, 1])[0]["image"].dtype == np.uint8
    assert pickle.loads(pickle.dumps(data))[5]["caption"] == "train 0 5"
    assert data.filter(lambda index: index % 2 == 0, input_columns="index").num_rows == 10
    tensor = data.with_format("torch", columns=["image"], dtype=None)[:]["image"]
    assert tuple(tensor.shape) == (20, 4, 4, 3)
    again = world.load("toy", size=20)
    assert again._fingerprint == data._fingerprint
    assert world.load("toy", size=19)._fingerprint != data._fingerprint


def test_default_size_split_seed_and_options(toy: Toy) -> None:
    assert len(world.load("toy")) == 40
    assert len(world.load("toy", "test")) == 10
    assert world.load("toy", "test")[0]["caption"] == "test 0 0"
    one, two = world.load("toy", size=5, seed=1), world.load("toy", size=5, seed=2)
    assert one[0]["caption"] == "train 1 0"
    assert (one[:]["image"] != two[:]["image"]).any()
    assert world.load("toy", size=5, pixels=8)[0]["image"].shape == (8, 8, 3)
    assert (
        world.load("toy", size=5, pixels=np.int64(8)).cache_files
        == world.load("toy", size=5, pixels=8).cache_files
    )
    assert world.load("toy", size=np.int64(5), seed=np.int32(1))[:]["caption"] == one[:]["caption"]


def test_largest_size_is_reached(toy: Toy) -> None:
    assert world.load("toy", size=95)[94]["index"] == 94  # 95 is no multiple of the shard's 10


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 95), min_size=1, max_size=5))
def test_any_order_of_sizes_gives_prefixes_of_one_sequence(
    tmp_path_factory, sizes: list[int]
) -> None:
    toy = Toy(tmp_path_factory.mktemp("toy"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMTUTOR_CACHE", str(toy.cache))
        patch.setenv("TOY_LOG", str(toy.log))
        patch.setitem(_store.MODULES, "toy", "toy_world")
        patch.syspath_prepend(str(toy.home))
        expected = direct(95)
        toy.log.unlink()
        for size in sizes:
            data = world.load("toy", size=size)
            assert data.with_format(None)["index"][:] == list(range(size))
            np.testing.assert_array_equal(data[:]["image"], np.stack(expected["image"][:size]))
        # a sample is built at most twice: once in a short shard, once when the shard was completed
        assert max(toy.built().values()) <= 2
        sys.modules.pop("toy_world", None)


def test_second_load_builds_nothing(toy: Toy) -> None:
    first = world.load("toy", size=40)
    second, third = world.load("toy", size=40), world.load("toy", size=25)
    assert toy.built() == Counter(range(40))
    assert fingerprint(first) == fingerprint(second)
    assert fingerprint(third) == fingerprint(first.select(range(25)))
    world.load("toy", size=60)
    assert toy.built() == Counter(range(60))  # only what was missing


# --- Processes ------------------------------------------------------------------------------------


def test_process_count_does_not_change_a_byte(toy: Toy, tmp_path: Path) -> None:
    answers, files = [], []
    for processes in (1, 2):
        toy.cache, toy.log = tmp_path / f"cache{processes}", tmp_path / f"log{processes}"
        meet = tmp_path / f"meet{processes}"
        meet.mkdir()
        environment = {"TOY_MEET": str(meet)} if processes == 2 else {}
        out, err = toy.start(90, processes, **environment).communicate(timeout=400)
        assert err == ""
        assert toy.built() == Counter(range(90))
        assert len(toy.builders()) == processes  # the helper did take part
        answers.append(out)
        files.append([(path.name, path.read_bytes()) for path in toy.shards()])
    assert answers[0] == answers[1]
    assert files[0] == files[1]
    assert len(files[0]) == 9


def test_two_processes_at_once_share_one_build(toy: Toy) -> None:
    running = [toy.start(60, TOY_SECONDS="0.01") for _ in range(2)]
    answers = [process.communicate(timeout=400) for process in running]
    assert answers[0] == answers[1]
    assert answers[0][0].strip() == fingerprint(world.load("toy", size=60))
    assert answers[0][1] == ""
    assert toy.built() == Counter(range(60))


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_build_is_taken_up_where_it_stopped(toy: Toy, processes: int) -> None:
    go_on = toy.home / "go_on"
    victim = toy.start(60, processes, TOY_HOLD=str(go_on))
    deadline = time.monotonic() + 300
    while len(toy.shards()) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert len(toy.shards()) == 3  # killed in the middle of the work
    go_on.touch()  # a helper that lives on finishes what it has in hand, as it pleases
    data = world.load(
        "toy", size=60
    )  # neither waits for a dead owner's lock nor trusts half a file
    assert fingerprint(data) == fingerprint(world.load("toy", size=60))
    np.testing.assert_array_equal(data[:]["image"], np.stack(direct(60)["image"]))
    assert not [
        path for path in toy.cache.rglob("*.partial") if path.stat().st_mtime < time.time() - 30
    ]
    for shard in toy.shards():
        assert _store.read_shard(shard) is not None


def test_waits_for_a_builder_that_holds_the_lock(toy: Toy) -> None:
    folder = _store._folder(_store._builder("toy"), "train", 0, {"pixels": 4})
    with cache.locked(folder):
        waiting = toy.start(10)
        time.sleep(1.0)
        assert waiting.poll() is None
        assert not toy.shards()
    out, err = waiting.communicate(timeout=400)
    assert (out.strip(), err) == (fingerprint(world.load("toy", size=10)), "")


def test_helper_that_cannot_start_or_dies_is_made_good(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_store, "_WORTH_A_HELPER", 0)
    monkeypatch.setenv("TOY_SECONDS", "0.01")
    expected = np.stack(direct(80)["image"])
    for seed, executable in enumerate(["/nowhere/python", "/bin/false", "/bin/cat"]):
        monkeypatch.setattr(sys, "executable", executable)
        data = world.load("toy", size=80, processes=2)
        assert data.with_format(None)["index"][:] == list(range(80)), seed
        np.testing.assert_array_equal(data[:]["image"], expected)
        world.clear_cache()


def test_error_in_a_builder_is_raised_and_stores_nothing_wrong(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_SECONDS", "not a number")
    with pytest.raises(ValueError, match="could not convert"):
        world.load("toy", size=30)
    assert not toy.shards()
    monkeypatch.setenv("TOY_SECONDS", "0")
    assert len(world.load("toy", size=30)) == 30


# --- Damage ---------------------------------------------------------------------------------------


def _noise(content: bytes, start: int, stop: int) -> bytes:
    middle = bytes(byte ^ 0x5A for byte in content[start:stop])
    return content[:start] + middle + content[stop:]


DAMAGE = {
    "cut in the middle": lambda c: c[: len(c) // 2],
    "cut by one byte": lambda c: c[:-1],
    "empty": lambda c: b"",
    "only the checksum": lambda c: c[-24:],
    "one bit": lambda c: _noise(c, len(c) // 2, len(c) // 2 + 1),
    "noise in the header": lambda c: _noise(c, 0, 64),
    "noise in the checksum": lambda c: _noise(c, len(c) - 20, len(c) - 16),
    "all noise": lambda c: np.random.default_rng(0).bytes(len(c)),
    "something appended": lambda c: c + b"x",
    "zeros, as after a crash": lambda c: bytes(len(c)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_shard_is_noticed_and_repaired(toy: Toy, damage: str) -> None:
    good = fingerprint(world.load("toy", size=40))
    contents = [path.read_bytes() for path in toy.shards()]
    victim = toy.shards()[1]
    victim.write_bytes(DAMAGE[damage](contents[1]))
    assert fingerprint(world.load("toy", size=40)) == good
    assert [path.read_bytes() for path in toy.shards()] == contents  # repaired, byte for byte
    assert toy.built() == Counter(
        [*range(40), *range(10, 20)]
    )  # and only that shard was built again


def test_missing_shards_and_foreign_files(toy: Toy) -> None:
    good = fingerprint(world.load("toy", size=40))
    shards = toy.shards()
    shards[2].unlink()
    (shards[0].parent / "0000000-x.arrow").write_text("not ours")
    (shards[0].parent / "0000030-10.arrow.99.partial").write_text("half")
    assert fingerprint(world.load("toy", size=40)) == good
    assert not list(toy.cache.rglob("*.partial"))


def test_open_data_set_survives_repair_and_clearing(toy: Toy) -> None:
    data = world.load("toy", size=20)
    before = fingerprint(data)
    world.load("toy", size=40)
    assert world.clear_cache("toy") > 0
    assert not toy.shards()
    if sys.platform != "win32":
        assert fingerprint(data) == before
    assert fingerprint(world.load("toy", size=20)) == before


def test_changed_source_is_never_answered_from_an_old_cache(toy: Toy) -> None:
    first = toy.start(10).communicate(timeout=400)[0]
    (toy.home / "toy_world.py").write_text(
        TOY.replace('f"{split} {seed} {index}"', 'f"changed {index}"')
    )
    second = toy.start(10).communicate(timeout=400)[0]
    (toy.home / "toy_world.py").write_text(TOY)
    assert toy.start(10).communicate(timeout=400)[0] == first != second
    assert toy.built()[0] == 2  # the third came from the cache of the first


def test_every_source_of_samples_is_in_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever file is edited that draws, plays, speaks or gathers rows: the key of every data set is another one."""
    copy = tmp_path / "world"
    shutil.copytree(
        Path(_store.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__")
    )
    builder = _store._builder("scenes")
    home = Path(_store.__file__).parent
    monkeypatch.setattr(_store, "__file__", str(copy / "_store.py"))
    real = inspect.getfile
    monkeypatch.setattr(inspect, "getfile", lambda it: str(copy / Path(real(it)).relative_to(home)))

    def key() -> str:
        _store._source_digest.cache_clear()
        return _store._fingerprint(builder)

    before = key()
    sources = [path for path in copy.rglob("*.py") if path.name not in _store._NOT_SAMPLES]
    assert {"scenes.py", "_dice.py", "speech.py"} <= {path.name for path in sources}
    assert copy / "rows" / "voices.py" in sources
    for source in sources:
        content = source.read_bytes()
        source.write_bytes(content + b"# edited\n")
        assert key() != before, source
        source.write_bytes(content)
    assert key() == before
    _store._source_digest.cache_clear()


# --- A disk that refuses --------------------------------------------------------------------------


def test_cache_directory_that_cannot_exist(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    good = fingerprint(world.load("toy", size=20))
    (toy.home / "file").write_text("a file, not a directory")
    monkeypatch.setenv("MMTUTOR_CACHE", str(toy.home / "file" / "cache"))
    with pytest.warns(
        cache.CacheWarning, match=r"file/cache/world.*environment variable MMTUTOR_CACHE"
    ):
        data = world.load("toy", size=20)
    assert fingerprint(data) == good


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_read_only_file_system(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    good = fingerprint(world.load("toy", size=20))
    monkeypatch.setenv("MMTUTOR_CACHE", "/proc/mmtutor")  # nobody, not even root, can write here
    with pytest.warns(cache.CacheWarning, match="MMTUTOR_CACHE"):
        assert fingerprint(world.load("toy", size=20)) == good


def test_read_only_cache_that_holds_the_data_is_simply_read(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = fingerprint(world.load("toy", size=20))

    def refuse(*_args, **_kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(cache, "locked", refuse)
    monkeypatch.setattr(cache, "replacing", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fingerprint(world.load("toy", size=20)) == good
    with pytest.warns(cache.CacheWarning, match="Read-only file system"):
        assert len(world.load("toy", size=30)) == 30


@pytest.mark.skipif(sys.platform == "win32", reason="resource limits are POSIX")
@pytest.mark.parametrize("processes", [1, 2])
def test_disk_that_takes_no_more(toy: Toy, processes: int) -> None:
    """The kernel itself refuses the writes: no file may grow beyond 3 kB."""
    script = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n" + LOAD
    run = subprocess.run(
        [sys.executable, "-W", "always", "-c", script, str(toy.home), "60", str(processes)],
        # Python would keep bytecode cut off at 3 kB, and fail on it for ever after
        env={**os.environ, "TOY_SECONDS": "0.005", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=400,
        check=True,
    )
    assert "CacheWarning" in run.stderr
    assert "MMTUTOR_CACHE" in run.stderr
    assert run.stderr.count("CacheWarning") == 1
    assert not list(toy.cache.rglob("*.partial"))
    assert run.stdout.strip() == fingerprint(world.load("toy", size=60))


def test_file_system_without_locks(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    import filelock

    def refuse(*_args, **_kwargs):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with pytest.warns(cache.CacheWarning, match="MMTUTOR_CACHE"):
        assert len(world.load("toy", size=20)) == 20


def test_no_space_left_after_the_first_shard(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = os.replace, []

    def replace(source, target):
        calls.append(target)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.warns(cache.CacheWarning, match="No space left on device") as record:
        data = world.load("toy", size=40)
    assert len(record) == 1
    monkeypatch.undo()
    np.testing.assert_array_equal(data[:]["image"].shape, (40, 4, 4, 3))
    assert data.with_format(None)["index"][:] == list(range(40))


# --- Quiet and tidy -------------------------------------------------------------------------------


def test_writes_nowhere_else_and_says_nothing(toy: Toy) -> None:
    home = toy.home / "home"
    home.mkdir()
    places = {
        name: str(home) for name in ("HOME", "USERPROFILE", "XDG_CACHE_HOME", "TMPDIR", "HF_HOME")
    }
    for _ in range(2):
        _, err = toy.start(40, 2, **places).communicate(timeout=400)
        assert err == ""
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_importing_the_world_loads_nothing_heavy() -> None:
    code = "import sys; from mmtutor import world; world.names(); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "datasets", "pyarrow", "PIL", "pandas", "pretty_midi"} & set(loaded)


# --- Wrong arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": "tyo"}, ValueError, r"no data set 'tyo'; did you mean 'toy'\? there are .*'toy'"),
        ({"name": "kjv"}, ValueError, r"text corpus: use world.corpus\('kjv'\)"),
        ({"name": None}, TypeError, "must be a string, not NoneType"),
        ({"split": "val"}, ValueError, r"no split 'val'; it has 'train', 'test'"),
        ({"split": None}, ValueError, r"no split None"),
        ({"size": 0}, ValueError, "size must be 1 or more, not 0"),
        ({"size": -3}, ValueError, "size must be 1 or more, not -3"),
        ({"size": 96}, ValueError, "at most 95 samples in split 'train'; 96 were asked for"),
        ({"size": 10**30}, ValueError, "at most 95"),
        ({"size": 10.0}, TypeError, "size must be an integer, not float"),
        ({"size": True}, TypeError, "size must be an integer, not bool"),
        ({"size": "10"}, TypeError, "size must be an integer, not str"),
        ({"seed": -1}, ValueError, "seed must be an integer from 0"),
        ({"seed": 2**63}, ValueError, "seed must be an integer from 0"),
        ({"seed": None}, TypeError, "seed must be an integer, not NoneType"),
        ({"seed": False}, TypeError, "seed must be an integer, not bool"),
        ({"processes": 0}, ValueError, "processes must be 1 or more"),
        ({"pixel": 4}, ValueError, r"no option 'pixel'; did you mean 'pixels'\?"),
        ({"pixels": 5}, ValueError, "pixels=5 is not possible; choose one of 4, 8"),
        ({"pixels": 4.0}, ValueError, r"pixels=4\.0 is not possible; choose one of 4, 8"),
        ({"pixels": [4]}, ValueError, r"pixels=\[4\] is not possible"),
    ],
)
def test_wrong_arguments(toy: Toy, arguments: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        world.load(**{"name": "toy", **arguments})
    assert not toy.cache.exists()


def test_info(toy: Toy) -> None:
    info = world.info("toy")
    assert info["heading"] == "A toy"
    assert info["default_size"] == {"train": 40, "test": 10}
    assert info["max_size"] == {"train": 95, "test": 20}
    assert info["options"] == {"pixels": [4, 8]}
    assert set(info["columns"]) == {"image", "mask", "caption", "boxes", "wave", "index", "things"}
    with pytest.raises(ValueError, match="did you mean 'toy'"):
        world.info("toyy")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('columns["extra"] = list(indices)', "built columns"),
        ('columns["caption"].pop()', "column 'caption' has 9 values, not 10"),
        ('columns["image"][0] = columns["image"][0][:2]', "inhomogeneous|shape"),
        (
            'columns["image"] = [image[:2] for image in columns["image"]]',
            r"arrays of shape \(2, 4, 3\) where \(4, 4, 3\)",
        ),
    ],
)
def test_builder_that_breaks_its_promise(toy: Toy, change: str, message: str) -> None:
    source = TOY.replace(
        "    return columns", textwrap.indent(change, "    ") + "\n    return columns"
    )
    (toy.home / "toy_world.py").write_text(source)
    importlib.invalidate_caches()
    with pytest.raises(ValueError, match=message):
        world.load("toy", size=10)
    assert not toy.shards()


# --- The real data sets ---------------------------------------------------------------------------


def test_registry_lists_exactly_what_the_modules_define() -> None:
    found = {}
    for module in pkgutil.iter_modules(rows.__path__, "mmtutor.world.rows."):
        for name, builder in importlib.import_module(module.name).DATASETS.items():
            assert builder.name == name
            found[name] = module.name
    assert found == _store.MODULES
    assert world.names() == list(_store.MODULES)


# What is drawn or synthesised may differ in a last bit between processors and library versions; what is true may not.
RENDERED = {
    "image",
    "canonical",
    "frames",
    "owner",
    "mask",
    "boxes",
    "wave",
    "opening",
    "roundness",
}
RENDERED |= {"phonemes", "starts", "ends", "start", "end", "begins"}  # told by the synthesiser
TRUTH = Path(__file__).parent / "truth.json"


def truth_hashes(name: str) -> dict[str, str]:
    """A fingerprint of the truth of the first samples of each split: texts, whole numbers, numbers to 3 decimals."""

    def plain(value):
        if isinstance(value, float):
            return f"{value:.3f}"
        if isinstance(value, list):
            return [plain(item) for item in value]
        return value

    found = {"version": str(world.info(name)["version"])}
    for split in world.info(name)["default_size"]:
        data = world.load(name, split, size=8, seed=3).with_format(None)
        data = data.select_columns(
            [column for column in data.column_names if column not in RENDERED]
        )
        rows = [{column: plain(value) for column, value in row.items()} for row in data]
        text = json.dumps(rows, sort_keys=True, ensure_ascii=False)
        found[split] = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return found


@pytest.fixture
def real_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMTUTOR_CACHE", str(tmp_path_factory.getbasetemp() / "real-cache"))


@pytest.mark.parametrize("name", world.names())
def test_truth_is_the_same_on_every_machine(name: str, real_cache: None) -> None:
    """If a change is meant: raise the builder's version, then ``python tests/world/test_store.py`` writes the hashes."""
    assert truth_hashes(name) == json.loads(TRUTH.read_text())[name]


def test_truth_is_kept_for_every_data_set() -> None:
    assert set(json.loads(TRUTH.read_text())) == set(world.names())


@pytest.mark.parametrize("name", world.names())
def test_a_sample_does_not_depend_on_its_neighbours(name: str) -> None:
    """So that shards, sizes and process counts cannot change it: whole, in pieces, and alone it is the same."""
    builder = _store._builder(name)
    whole = builder.build("train", range(2, 7), 1, **_store._defaults(builder))
    for piece in (range(2, 4), range(4, 7), range(5, 6)):
        part = builder.build("train", piece, 1, **_store._defaults(builder))
        assert set(part) == set(whole)
        for column, values in part.items():
            for index, value in zip(piece, values, strict=True):
                np.testing.assert_equal(
                    np.asarray(value), np.asarray(whole[column][index - 2]), err_msg=column
                )


@pytest.mark.parametrize("name", world.names())
def test_splits_and_seeds_are_other_samples(name: str, real_cache: None) -> None:
    """The splits share no sample, and another seed is another draw."""
    rows = {}
    for split, seed in [("train", 3), ("test", 3), ("train", 4)]:
        data = world.load(name, split, size=8, seed=seed)
        drawn = [column for column in ("image", "frames", "wave") if column in data.column_names]
        rows[split, seed] = {
            b"".join(row[column].tobytes() for column in drawn)
            for row in data.select_columns(drawn)
        }
        assert len(rows[split, seed]) == 8
    assert not rows["train", 3] & rows["test", 3]
    assert not rows["train", 3] & rows["train", 4]


if __name__ == "__main__":
    TRUTH.parent.mkdir(exist_ok=True)
    TRUTH.write_text(
        json.dumps({name: truth_hashes(name) for name in world.names()}, indent=1) + "\n"
    )
