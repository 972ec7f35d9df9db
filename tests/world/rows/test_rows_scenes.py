"""Rows of scenes and portraits: each by itself, as declared, and true."""

import hashlib
from collections import Counter

import numpy as np
import pytest

from mmtutor.world import captions, cast, scenes
from mmtutor.world.rows import scenes as rows_of


def test_builder_gives_each_sample_by_itself():
    whole = rows_of._build("train", range(0, 12), 0)
    part = rows_of._build("train", range(7, 9), 0)
    for name, values in part.items():
        for a, b in zip(values, whole[name][7:9], strict=True):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    assert all(len(row) == 5 for row in whole["captions"])
    big = rows_of._build("train", range(0, 2), 0, pixels=160)
    assert big["scene"] == whole["scene"][:2]
    assert big["image"][0].shape == (160, 160, 3)


def test_columns_fit_the_declared_features():
    for pixels in (64, 96):
        features = rows_of._features(pixels)
        rows = rows_of._build("test", range(3), 0, pixels=pixels)
        assert set(features) == set(rows)
        assert features["image"].shape == rows["image"][0].shape


def test_a_smaller_world_gives_its_own_scenes():
    rows = rows_of._build("train", range(4), 0, things=12)
    assert rows["scene"] == [scene.to_json() for scene in scenes.each("train", 4, things=12)]


def test_portraits_say_who_is_seen():
    rows, part = (
        rows_of._build_portraits("test", range(6), 0),
        rows_of._build_portraits("test", range(4, 5), 0),
    )
    assert set(rows_of._portrait_features()) == set(rows)
    assert rows["scene"][4:5] == part["scene"]
    assert (rows["image"][4] == part["image"][0]).all()
    for name, korean, kind in zip(rows["name"], rows["korean"], rows["kind"], strict=True):
        assert (cast.thing(name).korean, cast.thing(name).kind) == (korean, kind)


def test_portraits_are_those_of_before_unless_asked_otherwise():
    """The digest of truths that were made before portraits had options."""
    scenes_of = [
        row
        for split in scenes.PORTRAIT_SPLITS
        for row in rows_of._build_portraits(split, range(40), 0)["scene"]
    ]
    assert hashlib.sha256("\n".join(scenes_of).encode()).hexdigest()[:16] == "b2bcb1e068e3516b"
    assert rows_of.DATASETS["portraits"].options["pixels"][0] == 64


def test_captions_of_portraits_name_the_thing_and_the_ground():
    rows = rows_of._build_portraits("test", range(60), 0, 32, 12, "centred", 2)
    names = scenes.portrait_pool(12)
    for name, ground, said, truth in zip(
        rows["name"], rows["background"], rows["captions"], rows["scene"], strict=True
    ):
        scene = scenes.Scene.from_json(truth)
        others = [scenes.swap(scene, 0, other) for other in names if other != name]
        others += [
            scenes.Scene(g, scene.things, scene.variant) for g in scenes.BACKGROUNDS if g != ground
        ]
        assert len(set(said)) == len(said) == captions.PER_PORTRAIT >= 2
        for caption in said:
            assert captions.is_true(caption, scene)
            assert not any(captions.is_true(caption, other) for other in others)
            assert captions.SHORTEST <= len(caption.split()) <= captions.LONGEST
    everything = rows_of._build_portraits("train", range(60), 0)
    for said, scene in zip(everything["captions"], everything["scene"], strict=True):
        assert all(captions.is_true(caption, scene) for caption in said)


def test_a_small_judge_knows_centred_portraits_at_32_pixels():
    """Twelve things on eight grounds: chance is 1/12 (blind, from the ground alone, 1/9), the ceiling near 1."""
    torch = pytest.importorskip("torch")
    nn, names, grounds = torch.nn, scenes.portrait_pool(12), list(scenes.BACKGROUNDS)

    def read(split: str, count: int, seed: int) -> tuple:
        rows = rows_of._build_portraits(split, range(count), seed, 32, 12, "centred", 2)
        pictures = torch.from_numpy(np.stack(rows["image"])).permute(0, 3, 1, 2).float() / 255 - 0.5
        labels = [
            [names.index(n), grounds.index(g)]
            for n, g in zip(rows["name"], rows["background"], strict=True)
        ]
        return pictures, torch.tensor(labels)

    # a judge must have seen all combinations
    (x1, y1), (x2, y2) = read("train", 900, 0), read("test_unseen_places", 300, 0)
    x, y = torch.cat([x1, x2]), torch.cat([y1, y2])
    tests = {split: read(split, 200, 1) for split in ("test", "test_unseen_places")}
    torch.manual_seed(0)
    stages: list = []
    for inputs, outputs in ((3, 24), (24, 48), (48, 64)):
        stages += [
            nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
    net = nn.Sequential(*stages, nn.Flatten(), nn.Linear(64 * 16, 12 + 8)).to(
        memory_format=torch.channels_last
    )
    steps = 250
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0.05)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=steps)
    for _ in range(steps):
        part = torch.randint(len(x), (64,))
        scores = net(x[part])
        loss = nn.functional.cross_entropy(scores[:, :12], y[part, 0])
        loss = loss + nn.functional.cross_entropy(scores[:, 12:], y[part, 1])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rate.step()
    net.eval()
    for split, (pictures, labels) in tests.items():
        with torch.no_grad():
            scores = net(pictures)
        assert (scores[:, :12].argmax(1) == labels[:, 0]).float().mean() >= 0.95, split
        assert (scores[:, 12:].argmax(1) == labels[:, 1]).float().mean() >= 0.95, split
    # blind: the best guess of the thing from the ground (and of the ground from nothing), learnt from the same rows
    seen = Counter(map(tuple, y1.tolist()))
    best = [
        max(range(12), key=lambda thing, ground=ground: seen[thing, ground]) for ground in range(8)
    ]
    blind = np.mean([best[ground] == thing for thing, ground in tests["test"][1].tolist()])
    assert blind < 0.2  # 1/9: a standard error of 0.022 with 200 pictures
