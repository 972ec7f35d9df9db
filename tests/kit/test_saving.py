"""Saved models: every system of the house comes back as it was; what is damaged, foreign or half-written is told apart."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from small_disk import fill, small_disk
from torch import nn

from mmtutor import (
    joint_embedding,
    recipes,
    show_and_tell,
    show_attend_tell,
    sound_localization,
    soundnet,
    text_to_image,
    video_captioning,
    vqa,
    word2vec,
)
from mmtutor.kit import saving

COUNTS = torch.arange(1.0, 31.0)
SYSTEMS = {
    "joint_embedding": lambda: joint_embedding.JointEmbedding(joint_embedding.Config.world(30)),
    "joint_embedding, nce": lambda: joint_embedding.JointEmbedding(
        joint_embedding.Config.world(30, loss="nce", text="sum")
    ),
    "recipes": lambda: recipes.RecipeEmbedding(recipes.Config.world(20, 30, 4)),
    "show_and_tell": lambda: show_and_tell.ShowAndTell(show_and_tell.Config.world(30)),
    "show_attend_tell": lambda: show_attend_tell.ShowAttendTell(show_attend_tell.Config.world(30)),
    "show_attend_tell, bound": lambda: show_attend_tell.ShowAttendTell(
        show_attend_tell.Config.bound(30, (7, 4, 9))
    ),
    "show_attend_tell, hard and bound": lambda: show_attend_tell.ShowAttendTell(
        show_attend_tell.Config.bound(30, (5,), mode="hard", beside=0, point=3)
    ),
    "sound_localization": lambda: sound_localization.SoundLocalizer(
        sound_localization.Config.world(hears="spectrogram")
    ),
    "soundnet": lambda: soundnet.SoundNet(soundnet.Config.world((("things", 9),))),
    "text_to_image": lambda: text_to_image.TextToImage(text_to_image.Config.world(30)),
    "text_to_image, spectral": lambda: text_to_image.TextToImage(
        text_to_image.Config.world(30, size=8, spectral=True, average=0.0, pairs=1.0)
    ),
    "video_captioning": lambda: video_captioning.VideoCaptioner(
        video_captioning.Config.world(30, 12)
    ),
    "video_captioning, bound": lambda: video_captioning.VideoCaptioner(
        video_captioning.Config.bound(30, 12, (7, 4, 9))
    ),
    "vqa": lambda: vqa.VQA(vqa.Config.world(30, 12)),
    "word2vec": lambda: word2vec.SkipGram(word2vec.Config.world(), COUNTS),
}


@dataclass(frozen=True)
class Config:
    """Of the small models here."""

    width: int = 3
    grid: tuple[int, int] = (2, 2)
    nested: tuple[tuple[int, ...], ...] = ((1,), ())
    rate: float = 0.1
    name: str | None = None
    made: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width must be at least 1, got {self.width}")


class Tied(nn.Module):
    """Shared weights, a buffer, one that is not kept, a transposed weight, two views of one memory."""

    def __init__(self, config: Config | None = None) -> None:
        super().__init__()
        self.config = config or Config()
        w = self.config.width
        self.words = nn.Embedding(5, w)
        self.out = nn.Linear(w, 5, bias=False)
        self.out.weight = self.words.weight
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("never", torch.tensor(float("nan")))
        self.register_buffer("grid", torch.ones(2, 2), persistent=False)
        self.turned = nn.Parameter(torch.arange(6.0).reshape(2, 3).T)
        memory = torch.arange(4.0)
        self.register_buffer("first", memory[:3])
        self.register_buffer("second", memory[1:])


class Other(Tied):
    pass


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)


def equal(a: nn.Module, b: nn.Module) -> None:
    first, second = a.state_dict(), b.state_dict()
    assert list(first) == list(second)
    for name, value in first.items():
        assert value.dtype == second[name].dtype, name
        torch.testing.assert_close(value, second[name], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_comes_back(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = SYSTEMS[name]()
    arguments = {"counts": torch.ones(30)} if name == "word2vec" else {}
    saving.save(model, tmp_path / "model", words=["a", "강아지", "<pad>"], k=5)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again, more = saving.load(type(model), tmp_path / "model", **arguments)
    assert torch.equal(torch.get_rng_state(), before)
    assert again.config == model.config
    assert not again.training
    assert more == {"words": ["a", "강아지", "<pad>"], "k": 5}
    equal(model, again)
    assert saving.class_of(tmp_path / "model") == f"{type(model).__module__}.{type(model).__name__}"


def test_a_loaded_model_answers_as_the_saved_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = SYSTEMS["joint_embedding"]().eval()
    texts = torch.tensor([[4, 5, 0], [6, 7, 8]])
    saving.save(model, tmp_path)
    again = saving.load(joint_embedding.JointEmbedding, tmp_path).model
    assert torch.equal(model.embed_texts(texts), again.embed_texts(texts))
    other = SYSTEMS["joint_embedding"]().eval()
    assert not torch.equal(model.embed_texts(texts), other.embed_texts(texts))  # so it can fail


def test_a_loaded_captioner_points_and_knows_its_names(tmp_path: Path) -> None:
    """The ids of the names are settings: they come back as they were, and name the same cells."""
    torch.manual_seed(0)
    model = SYSTEMS["show_attend_tell, bound"]().eval()
    x, cells = torch.randn(2, 112, 6, 6), torch.randint(-1, 3, (2, 36))
    captions = torch.tensor([[1, 4, 9, 2], [1, 7, 2, 0]])
    saving.save(model, tmp_path)
    again = saving.load(show_attend_tell.ShowAttendTell, tmp_path).model
    assert again.config.names == (7, 4, 9)
    assert again.names.tolist() == [7, 4, 9]
    assert torch.equal(again(x, captions), model(x, captions))
    assert torch.equal(again.pointed(x, captions), model.pointed(x, captions))
    batch = {"features": x, "captions": captions, "cells": cells}
    assert torch.equal(again.naming(batch), model.naming(batch))
    assert torch.equal(again.train().loss(batch)["loss"], model.train().loss(batch)["loss"])
    about = json.loads((tmp_path / saving.ABOUT).read_text("utf-8"))
    about["config"]["names"] = [7, 7, 9]
    (tmp_path / saving.ABOUT).write_text(json.dumps(about), "utf-8")
    with pytest.raises(ValueError, match="naming needs the ids of the names, each once"):
        saving.load(show_attend_tell.ShowAttendTell, tmp_path)


def test_shared_tensors_views_and_buffers(tmp_path: Path) -> None:
    model = Tied(Config(width=4))
    with torch.no_grad():
        model.words.weight[0, 0] = 42
        model.seen += 7
        model.second[0] = 9
    saving.save(model, tmp_path)
    again = saving.load(Tied, tmp_path).model
    equal(model, again)
    assert again.out.weight is again.words.weight
    assert again.out.weight[0, 0] == 42
    assert again.first[1] == again.second[0] == 9
    assert torch.equal(again.grid, torch.ones(2, 2))  # not kept, so made by the constructor
    assert again.config == Config(width=4)
    assert again.config.nested == ((1,), ())
    (file,) = tmp_path.glob("*.safetensors")
    from safetensors.torch import load_file

    assert "model.out.weight" not in load_file(file)  # the shared weight is there once


def test_precision_is_kept(tmp_path: Path) -> None:
    model = Tied().half()
    saving.save(model, tmp_path)
    equal(model, saving.load(Tied, tmp_path).model)


def test_tensors_beside_the_model(tmp_path: Path) -> None:
    vectors = torch.randn(5, 4)
    whole = torch.arange(10)
    saving.save(
        Tied(), tmp_path, vectors=vectors, every_second=whole[::2], nothing=None, pair=(1, 2)
    )
    more = saving.load(Tied, tmp_path).more
    assert torch.equal(more["vectors"], vectors)
    assert more["every_second"].tolist() == [0, 2, 4, 6, 8]
    assert more["nothing"] is None
    assert more["pair"] == [1, 2]


def test_saving_again_replaces_and_leaves_the_rest(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    model = Tied()
    saving.save(model, tmp_path)
    first = {path.name for path in tmp_path.iterdir()}
    with torch.no_grad():
        model.words.weight.zero_()
    saving.save(model, tmp_path)
    second = {path.name for path in tmp_path.iterdir()}
    assert len(first) == len(second) == 3
    assert first & second == {"notes.txt", "model.json"}
    equal(model, saving.load(Tied, tmp_path).model)
    saving.save(model, tmp_path)  # the same again
    assert {path.name for path in tmp_path.iterdir()} == second


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        torch.manual_seed(3)
        saving.save(Tied(), tmp_path / name, k=1)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize("broken", ["weights", "about"])
def test_a_save_that_is_broken_off_leaves_the_old_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    old = Tied()
    saving.save(old, tmp_path)
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        if (Path(target).name == saving.ABOUT) == (broken == "about"):
            raise OSError(28, "No space left on device")
        real(source, target)

    new = Tied()
    with torch.no_grad():
        new.words.weight.fill_(3)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(OSError, match="No space left"):
            saving.save(new, tmp_path)
    equal(old, saving.load(Tied, tmp_path).model)
    assert not list(tmp_path.glob("*.partial"))
    saving.save(new, tmp_path)
    equal(new, saving.load(Tied, tmp_path).model)


@pytest.mark.parametrize("left", [0, 2_000, 8_192])  # 8,192: room for the weights, not for the rest
def test_a_really_full_disk_leaves_the_old_model_and_nothing_else(
    tmp_path: Path, left: int
) -> None:
    old, new = Tied(), Tied()
    with torch.no_grad():
        new.words.weight.fill_(3)
    with small_disk(tmp_path / "disk", 200_000) as disk:
        saving.save(old, disk / "model")
        before = sorted(path.name for path in (disk / "model").iterdir())
        rest = fill(disk, left)
        with pytest.raises(
            OSError, match=r"the disk is full .* takes about .* as it was"
        ) as caught:
            saving.save(new, disk / "model", note="n" * 20_000)
        assert caught.value.errno == errno.ENOSPC
        assert sorted(path.name for path in (disk / "model").iterdir()) == before
        equal(old, saving.load(Tied, disk / "model").model)
        rest.unlink()
        saving.save(new, disk / "model", note="n" * 20_000)
        equal(new, saving.load(Tied, disk / "model").model)


def test_another_process_loads_it_without_pickle(tmp_path: Path) -> None:
    """A fresh interpreter in which pickle cannot be used at all."""
    model = SYSTEMS["joint_embedding"]()
    saving.save(model, tmp_path)
    code = """
import sys, torch, pickle, pickletools
from mmtutor.kit import saving
from mmtutor.joint_embedding import JointEmbedding
def no(*a, **k): raise RuntimeError("pickle was used")
torch.load = pickle.load = pickle.loads = pickle.Unpickler = no
print(float(saving.load(JointEmbedding, sys.argv[1]).model.image.weight.sum()))
"""
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert float(run.stdout) == float(model.image.weight.detach().sum())


# --- What is wrong --------------------------------------------------------------------------------


def edit(folder: Path, **changes: object) -> None:
    path = folder / saving.ABOUT
    about = json.loads(path.read_text("utf-8"))
    about |= changes
    path.write_text(json.dumps({k: v for k, v in about.items() if v is not ...}), "utf-8")


def test_another_class(tmp_path: Path) -> None:
    saving.save(Tied(), tmp_path)
    with pytest.raises(
        ValueError, match=r"holds a .*test_saving\.Tied, not a .*test_saving\.Other"
    ):
        saving.load(Other, tmp_path)
    with pytest.raises(ValueError, match=r"not a mmtutor\.recipes\.RecipeEmbedding"):
        saving.load(recipes.RecipeEmbedding, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "has the format 2, and this mmtutor reads up to 1; .*upgrade"),
        ({"format": "1"}, "is damaged .its format is no number"),
        ({"format": ...}, "is damaged"),
        ({"config": {"width": 3, "depth": 1}}, "settings that Tied does not know: depth"),
        ({"config": {"width": 0}}, "are none for Tied: width must be at least 1"),
        ({"config": {"width": 5}}, r"words.weight is \(5, 5\), was saved as \(5, 3\)"),
        ({"config": [1]}, "'config' is missing or no dict"),
        ({"config": ...}, "'config' is missing"),
        ({"weights": "../model-0123456789abcdef.safetensors"}, "no name of a file of weights"),
        ({"weights": "other.bin"}, "no name of a file of weights"),
        ({"digest": "0"}, "its bytes are not those that were written"),
        ({"same": {"out.weight": "nothing"}}, "there is no 'nothing'"),
        ({"same": {"out.weight": ["words.weight"]}}, "is damaged: there is no"),
        ({"same": {}}, r"out.weight is \(5, 3\), was saved as nothing"),
    ],
)
def test_a_note_that_does_not_fit(tmp_path: Path, changes: dict, message: str) -> None:
    saving.save(Tied(), tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        saving.load(Tied, tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", pytest.param(b"[" * 100_000, id="deep"), b"3"]
)
def test_a_note_that_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    saving.save(Tied(), tmp_path)
    (tmp_path / saving.ABOUT).write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.json' is damaged"):
        saving.load(Tied, tmp_path)
    saving.save(Tied(), tmp_path)  # and can be replaced
    saving.load(Tied, tmp_path)


def test_weights_that_are_damaged_or_gone(tmp_path: Path) -> None:
    saving.save(Tied(), tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    content = bytearray(file.read_bytes())
    for changed in (content[:-1], b"", content[:-1] + bytes([content[-1] ^ 1])):
        file.write_bytes(changed)
        with pytest.raises(ValueError, match=f"{file.name}' is damaged"):
            saving.load(Tied, tmp_path)
    file.write_bytes(b"noise")
    edit(tmp_path, digest=saving._digest(b"noise"))
    with pytest.raises(ValueError, match="is damaged"):
        saving.load(Tied, tmp_path)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"names model-.*copy the whole folder"):
        saving.load(Tied, tmp_path)


def test_a_model_that_is_replaced_while_it_is_read(tmp_path: Path, monkeypatch) -> None:
    """Between the look at the note and the look at the weights another process saves: twice."""
    saving.save(Tied(), tmp_path)
    widths, read = [4, 5], saving._read_tensors

    def late(folder: Path, about: dict) -> dict:
        if widths:
            saving.save(Tied(Config(width=widths.pop(0))), folder)
        return read(folder, about)

    monkeypatch.setattr(saving, "_read_tensors", late)
    assert saving.load(Tied, tmp_path).model.config.width == 5


def test_two_who_save_at_once_leave_a_whole_model(tmp_path: Path, monkeypatch) -> None:
    """One is about to remove the old weights; the other saves just these again."""
    monkeypatch.setenv("MMTUTOR_CACHE", str(tmp_path / "cache"))
    old, new, folder = Tied(), Tied(Config(width=4)), tmp_path / "model"
    saving.save(old, folder)
    write, others = saving._write, []

    def slow(path: Path, content: bytes) -> None:
        write(path, content)
        if path.name == saving.ABOUT and not others:  # the new model is named, the old one lies
            others.append(threading.Thread(target=saving.save, args=(old, folder)))
            others[0].start()
            others[0].join(0.5)

    monkeypatch.setattr(saving, "_write", slow)
    saving.save(new, folder)
    others[0].join()
    assert saving.load(Tied, folder).model.config.width == 3
    assert len(list(folder.iterdir())) == 2  # no lock lies there
    monkeypatch.setattr(saving, "locked", no_lock)  # as on some file systems
    saving.save(new, folder)
    assert saving.load(Tied, folder).model.config.width == 4


def no_lock(path: Path) -> None:
    raise OSError("no locks here")


def test_no_folder_and_no_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder"):
        saving.load(Tied, tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"holds no model: there is no model\.json"):
        saving.load(Tied, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file"):
        saving.save(Tied(), tmp_path / "file")


def round_and_round() -> list:
    own: list = []
    own.append(own)
    return own


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"f": print}, TypeError, "f cannot be saved: builtin_function"),
        ({"x": {"a": [1, {2}]}}, TypeError, r"x\['a'\]\[1\] cannot be saved: set"),
        ({"x": {1: 2}}, TypeError, "keys must be strings"),
        ({"x": np.float32(1)}, TypeError, "x cannot be saved: float32"),
        ({"x": [torch.zeros(1)]}, TypeError, r"x\[0\] cannot be saved: Tensor"),
        ({"x": float("inf")}, ValueError, "x must be finite"),
        ({"x": "\ud800"}, ValueError, "half of a surrogate pair"),
        ({"x": [{"\ud800": 1}]}, ValueError, r"a key of x\[0\] holds half of a surrogate pair"),
        ({"\ud800": 1}, ValueError, "a name holds half of a surrogate pair"),
        ({"\ud800": torch.zeros(1)}, ValueError, "a name holds half of a surrogate pair"),
        ({"x": round_and_round()}, ValueError, "x is nested too deep, or contains itself"),
        ({"x": torch.zeros(2).to_sparse()}, TypeError, "x is no dense tensor"),
        ({"x": torch.zeros(2, device="meta")}, ValueError, "x holds no data"),
    ],
)
def test_what_cannot_be_saved_is_named(
    tmp_path: Path, more: dict, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        saving.save(Tied(), tmp_path / "model", **more)
    assert not (tmp_path / "model").exists()  # nothing was begun
    saving.save(Tied(), tmp_path / "model", kept=True)
    with pytest.raises(error, match=message):
        saving.save(Tied(Config(width=4)), tmp_path / "model", **more)
    assert saving.load(Tied, tmp_path / "model").more == {"kept": True}  # the old one is whole


def test_models_that_cannot_be_saved(tmp_path: Path) -> None:
    lazy, plain, foreign = Tied(), Plain(), Tied()
    lazy.layer = nn.LazyLinear(3)
    plain.config = {"width": 3}
    foreign.config = joint_embedding.Config.world(9)
    for model, error, message in (
        (3, TypeError, "needs a model"),
        (Plain(), TypeError, "Plain has no config that is a dataclass"),
        (plain, TypeError, "Plain has no config that is a dataclass"),
        (foreign, TypeError, "is a mmtutor.joint_embedding.Config"),
        (lazy, ValueError, "layer.weight holds no data yet"),
    ):
        with pytest.raises(error, match=message):
            saving.save(model, tmp_path, k=1)
