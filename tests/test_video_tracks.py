"""Video captioning from maps: a clip by hand, in plain loops; what follows a word, and in which order; bad input."""

import dataclasses
import math

import numpy as np
import pytest
import test_video_captioning
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mmtutor.kit import decoding, training
from mmtutor.kit.pointing import Pointer
from mmtutor.video_captioning import Config, VideoCaptioner, present

V, D, F, GRID, NAMES = test_video_captioning.V, 7, 4, (2, 3), (5, 9, 11)
L = math.prod(GRID)
SIZES = {"grid": GRID, "width": 6, "embedding": 4, "hidden": 8, "attention": 5, "frames": 5}
SIZES |= {"dropout": 0.0, "content": 3, "beside": 2, "point": 4}


def small(pooling: str = "attention", **changes: object) -> Config:
    sizes = {k: v for k, v in SIZES.items() if pooling == "attention" or k != "attention"}
    return Config.bound(V, D, **{"names": NAMES, **sizes, "pooling": pooling, **changes})


def model_of(pooling: str = "attention", seed: int = 0, **changes: object) -> VideoCaptioner:
    torch.manual_seed(seed)
    return VideoCaptioner(small(pooling, **changes)).eval()


def batch_of(clips: int = 3, frames: int = F, seed: int = 0) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    captions = test_video_captioning.batch_of(clips, seed=seed)["captions"]
    return {
        "features": torch.randn(clips, frames, D, *GRID, generator=draw),
        "captions": captions,
        "cells": torch.randint(-1, len(NAMES), (clips, frames, L), generator=draw),
    }


BOTH = pytest.mark.parametrize("pooling", ["mean", "attention"])
MASK = torch.arange(F) < torch.tensor([4, 3, 1])[:, None]


# --- by hand --------------------------------------------------------------------------------------


def softmax(scores: list[float]) -> list[float]:
    total = sum(math.exp(s) for s in scores)
    return [math.exp(s) / total for s in scores]


def by_hand(model: VideoCaptioner, clip: torch.Tensor, words: list[int]) -> dict[str, list]:
    """One clip (F, D, height, width), in loops over frames, cells and words, from the equations."""
    p = {name: t.detach().double() for name, t in model.named_parameters()}
    scale = math.exp(float(p["pointer.log_scale"])) / math.sqrt(model.config.point)
    frames, cells, keys, listed = [], [], [], []
    for i, frame in enumerate(clip.double()):
        own, own_keys = [], []
        for j in range(L):
            c = frame[:, j // GRID[1], j % GRID[1]]
            what = p["places.content.weight"] @ c + p["places.content.bias"]
            a = torch.tanh(what * (0.3 + p["places.places"][j]))
            own.append(torch.cat([a, p["places.beside"][j]]))
            own_keys.append(p["pointer.key.weight"] @ c + p["pointer.key.bias"])
        surest = [0.0] * len(NAMES)
        for k in own_keys:
            names = [
                scale * float(k @ p["pointer.query.weight"] @ p["embed.weight"][n]) for n in NAMES
            ]
            surest = [max(a, b) for a, b in zip(surest, softmax([*names, 0.0]))]
        mean = sum(own) / L
        v = p["project.weight"] @ mean + p["project.bias"]
        v = v + p["list.weight"] @ torch.tensor(surest).double() + p["time"][i]
        frames.append(v), cells.append(own), keys.append(own_keys), listed.append(surest)
    followed, tracks = [], []
    for word in words:
        y = p["embed.weight"][word]
        q = p["pointer.query.weight"] @ y
        nothing = float(p["pointer.nothing.weight"][0] @ y + p["pointer.nothing.bias"][0])
        points = [softmax([*(scale * float(k @ q) for k in own), nothing])[:-1] for own in keys]
        found = [sum(a * c for a, c in zip(pi, own)) for pi, own in zip(points, cells)]
        depth = len(found[0])
        tracks.append(
            torch.cat([*found, torch.zeros((model.config.frames - len(clip)) * depth).double()])
        )
        followed.append(points)
    return {"frames": frames, "present": listed, "points": followed, "tracks": tracks}


def test_frames_tracks_and_lists_are_the_equations():
    model, batch = model_of().double(), batch_of()
    x, captions = batch["features"].double(), batch["captions"][:, :-1]
    memory, _ = model.begin(x)
    points, tracks = model.follow(model.embed(captions), memory)
    listed = present(model.pointer, model.embed(model.names), memory.found_by.flatten(0, 1))
    for row in range(3):
        want = by_hand(model, x[row], captions[row].tolist())
        torch.testing.assert_close(memory.frames[row], torch.stack(want["frames"]))
        torch.testing.assert_close(points[row], torch.tensor(want["points"]).double())
        torch.testing.assert_close(tracks[row], torch.stack(want["tracks"]))
        torch.testing.assert_close(
            listed.unflatten(0, (3, F))[row], torch.tensor(want["present"]).double()
        )


def test_followed_gives_the_weights_of_each_word():
    model, batch = model_of(), batch_of()
    memory, _ = model.begin(batch["features"])
    want, _ = model.follow(model.embed(batch["captions"][:, :-1]), memory)
    found = model.followed(batch["features"], batch["captions"])
    torch.testing.assert_close(found, want)
    assert found.shape == (3, 5, F, L)
    assert float(found.detach().min()) >= 0
    assert float(found.detach().sum(-1).max()) <= 1 + 1e-6


def test_present_is_the_surest_cell_and_not_the_mean():
    pointer = Pointer(2, 2, 2)
    with torch.no_grad():
        pointer.query.weight.copy_(torch.eye(2))
    names, keys = torch.eye(2), torch.zeros(1, 50, 2)
    keys[0, 17] = torch.tensor([20.0, 0.0])  # one cell of fifty shows the first name
    found = present(pointer, names, keys)
    found = found.detach()
    assert float(found[0, 0]) > 0.99
    assert float(found[0, 1]) == pytest.approx(1 / 3)  # cells that say nothing are undecided
    assert torch.equal(present(pointer, names, keys.flip(1)).detach(), found)  # anywhere


@BOTH
def test_steps_equal_teacher_forcing(pooling):
    model, batch = model_of(pooling), batch_of()
    want = model(batch["features"], batch["captions"], MASK)
    memory, state = model.begin((batch["features"], MASK))
    for t in range(want.shape[1]):
        logits, state = model.step(batch["captions"][:, t], state, memory)
        torch.testing.assert_close(logits, want[:, t])
    assert all(len(x) == 3 for x in (*memory, *state))


def test_a_search_writes_what_teacher_forcing_finds_most_probable():
    model, batch = model_of(seed=3), batch_of()
    for row, best in enumerate(decoding.greedy(model, batch["features"], limit=6)):
        ids = torch.tensor([[1, *best.ids, 2]])
        scores = model(batch["features"][row : row + 1], ids)[0]
        for t, word in enumerate(best.ids):
            assert int(scores[t].argmax()) == word


# --- order, and what takes part -------------------------------------------------------------------


def test_a_track_is_in_the_order_of_the_frames():
    """Two frames change places: their parts of the track do, and nothing else."""
    model, batch = model_of(), batch_of()
    words = model.embed(batch["captions"][:, :-1])
    depth = SIZES["content"] + SIZES["beside"]
    order = [2, 1, 0, 3]
    tracks = [
        model.follow(words, model.begin(x)[0])[1].unflatten(2, (5, depth))
        for x in (batch["features"], batch["features"][:, order])
    ]
    torch.testing.assert_close(tracks[1][:, :, :F], tracks[0][:, :, order])
    assert not tracks[0][:, :, F:].any()


@BOTH
def test_with_a_track_even_the_mean_of_timeless_frames_knows_the_order(pooling):
    batch = batch_of()
    for track in (True, False):
        changes = {} if track else {"track": False, "frames": 16}
        model = model_of(pooling, time="none", **changes)
        forwards, backwards = (
            model(x, batch["captions"]) for x in (batch["features"], batch["features"].flip(1))
        )
        change = float((forwards - backwards).detach().abs().max())
        assert change > 1e-3 if track else change < 1e-5


def test_without_weight_the_track_is_as_if_it_were_not_there():
    model, other, batch = model_of(), model_of(track=False), batch_of()
    missing = other.load_state_dict(model.state_dict(), strict=False)
    assert {name.split(".")[0] for name in missing.unexpected_keys} == {"from_track", "read_track"}
    assert not missing.missing_keys
    inputs = batch["features"], batch["captions"]
    assert float((model(*inputs) - other(*inputs)).detach().abs().max()) > 1e-3
    torch.nn.init.zeros_(model.from_track.weight), torch.nn.init.zeros_(model.read_track.weight)
    torch.testing.assert_close(model(*inputs), other(*inputs))


@pytest.mark.parametrize("filler", [0.0, 1e6, math.nan, math.inf])
def test_padded_frames_change_nothing(filler):
    model, batch = model_of(frames=F + 2).train(), batch_of()
    padded = torch.cat([batch["features"], torch.full((3, 2, D, *GRID), filler)], 1)
    mask = (torch.arange(F + 2) < F).expand(3, -1)
    cells = torch.cat([batch["cells"], torch.ones(3, 2, L, dtype=torch.long)], 1)
    longer = {**batch, "features": padded.requires_grad_(), "mask": mask, "cells": cells}
    terms, want = model.loss(longer), model.loss(batch)
    assert terms.keys() == {"words", "naming"}
    torch.testing.assert_close(terms, want)
    torch.testing.assert_close(model.naming(longer), model.naming(batch))
    points = model.followed(padded, batch["captions"], mask)
    assert not points[:, :, F:].any()
    sum(terms.values()).backward()
    assert bool(torch.isfinite(padded.grad).all())
    assert not padded.grad[:, F:].any()


def test_several_captions_of_a_clip_are_the_same_as_the_clip_several_times():
    model, a, b = model_of().train(), batch_of(seed=1), batch_of(seed=2)
    both = {**a, "captions": torch.stack([a["captions"], b["captions"]], 1), "mask": MASK}
    one, two = (model.loss({**a, "captions": x["captions"], "mask": MASK}) for x in (a, b))
    for name, found in model.loss(both).items():
        torch.testing.assert_close(found, (one[name] + two[name]) / 2)


# --- naming ---------------------------------------------------------------------------------------


def test_naming_is_the_cross_entropy_of_the_cells():
    model, batch = model_of().double(), batch_of()
    x = batch["features"].double()
    want, count = 0.0, 0
    for row in range(3):
        for i in range(int(MASK[row].sum())):
            for j in range(L):
                c = x[row, i, :, j // GRID[1], j % GRID[1]]
                scores = model.pointer.scores(
                    model.embed(model.names), model.pointer.key(c)[None, None]
                )[0, :, 0]
                p = torch.cat([scores, scores.new_zeros(1)]).log_softmax(0)
                want -= float(
                    p.detach()[int(batch["cells"][row, i, j]) % (len(NAMES) + 1)]
                )  # −1: the last
                count += 1
    found = model.naming({**batch, "features": x, "mask": MASK})
    assert float(found) == pytest.approx(want / count)


def test_naming_is_a_part_of_the_loss_in_training_only():
    model, batch = model_of(naming=0.5), batch_of()
    words = model.loss(batch)
    assert isinstance(words, torch.Tensor)
    terms = model.train().loss(batch)
    torch.testing.assert_close(terms["words"], words)
    torch.testing.assert_close(terms["naming"], 0.5 * model.naming(batch))
    with pytest.raises(ValueError, match="'cells'"):
        model.loss({k: x for k, x in batch.items() if k != "cells"})
    without = model_of(naming=0.0).train()
    assert isinstance(without.loss(batch), torch.Tensor)
    with pytest.raises(ValueError, match="naming = 0"):
        without.naming(batch)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (torch.zeros(3, F, L - 1, dtype=torch.long), r"\(3, 4, 6\)"),
        (torch.zeros(3, F + 1, L, dtype=torch.long), r"\(3, 4, 6\)"),
        (torch.full((3, F, L), len(NAMES)), r"-1\.\.2"),
        (torch.full((3, F, L), -2), r"-1\.\.2"),
        (torch.zeros(3, F, L), "whole numbers"),
    ],
)
def test_bad_cells(cells, words):
    with pytest.raises(ValueError, match=words):
        model_of().train().loss({**batch_of(), "cells": cells})


# --- settings and bad input -----------------------------------------------------------------------

OTHER = {"content": 4, "places": "sum", "beside": 5, "point": 6, "listing": False, "track": False}
OTHER |= {"naming": 0.3, "names": (5, 9), "grid": (2, 2), "frames": 7, "width": 7, "features": 8}


@BOTH
@pytest.mark.parametrize("name", OTHER)
def test_every_setting_has_an_effect(pooling, name):
    found = []
    for changes in ({}, {name: OTHER[name]}):
        config = dataclasses.replace(small(pooling), **changes)
        torch.manual_seed(0)
        model, batch = VideoCaptioner(config), batch_of()
        draw = torch.Generator().manual_seed(0)
        batch["features"] = torch.randn(3, F, config.features, *config.grid, generator=draw)
        batch["cells"] = batch["cells"].clamp(max=len(config.names) - 1)
        batch["cells"] = batch["cells"][:, :, : math.prod(config.grid)]
        loss = sum(model.loss(batch).values())
        found.append((training.parameter_count(model), float(loss.detach())))
    assert found[0] != found[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"content": 4},
        {"places": "sum"},
        {"beside": 3},
        {"point": 3},
        {"listing": True},
        {"track": True},
        {"naming": 1.0},
        {"names": (5,)},
    ],
)
def test_a_setting_of_maps_is_refused_without_a_map(changes):
    name = next(iter(changes))
    with pytest.raises(ValueError, match=f"{name} = .*(grid = None|point = 0)"):
        Config.world(V, D, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"grid": (2,)}, "grid"),
        ({"grid": (0, 3)}, "grid"),
        ({"width": 0}, "width"),
        ({"content": 0}, "content"),
        ({"places": "concatenate"}, "places"),
        ({"beside": -1}, "beside"),
        ({"point": -1}, "point"),
        ({"point": 0}, "point = 0"),
        ({"listing": False, "track": False, "naming": 0.0, "names": ()}, "point has no effect"),
        ({"naming": -1.0}, "naming"),
        ({"naming": math.nan}, "naming"),
        ({"names": ()}, "names"),
        ({"names": (5, 5)}, "once"),
        ({"names": (0, 5)}, r"1\.\.12"),
        ({"names": (5, V)}, r"1\.\.12"),
        ({"listing": False, "naming": 0.0}, "3 names"),
        ({"track": False, "time": "none"}, "frames = 5"),
    ],
)
def test_bad_settings(changes, words):
    with pytest.raises(ValueError, match=words):
        small(**changes)


@pytest.mark.parametrize(
    ("features", "error", "words"),
    [
        (torch.zeros(3, F, D), ValueError, r"\(B, F, 7, 2, 3\)"),
        (torch.zeros(3, F, D, 3, 2), ValueError, r"\(B, F, 7, 2, 3\)"),
        (torch.zeros(3, 0, D, *GRID), ValueError, "at least one frame"),
        (torch.zeros(3, 6, D, *GRID), ValueError, "config.frames"),
        (torch.zeros(3, F, D, *GRID, dtype=torch.long), TypeError, "height, width"),
        (torch.full((3, F, D, *GRID), math.nan), ValueError, "NaN"),
    ],
)
def test_bad_features(features, error, words):
    with pytest.raises(error, match=words):
        model_of().loss({**batch_of(), "features": features})


def test_without_a_track_no_word_is_followed():
    batch = batch_of()
    with pytest.raises(ValueError, match="track = False"):
        model_of(track=False).followed(batch["features"], batch["captions"])


@BOTH
def test_paper_sizes_with_maps_run_on_pretended_cuda(pooling):
    """Nothing in the model stays behind on the CPU."""
    with FakeTensorMode():
        with torch.device("cuda"):
            changes = {"grid": (7, 7), "width": 512, "beside": 24, "point": 64, "names": NAMES}
            changes |= {"listing": True, "track": True, "naming": 1.0, "time": "add"}
            model = VideoCaptioner(Config.paper(pooling=pooling, **changes)).train()
        batch = {
            "features": torch.zeros(8, 28, 1024, 7, 7, device="cuda"),
            "captions": torch.ones(8, 30, dtype=torch.long, device="cuda"),
            "cells": torch.zeros(8, 28, 49, dtype=torch.long, device="cuda"),
        }
        terms = model.loss(batch)
        points = model.followed(batch["features"], batch["captions"])
        memory, state = model.begin(batch["features"])
        step, _ = model.step(batch["captions"][:, 0], state, memory)
    assert (points.shape, step.shape) == ((8, 29, 28, 49), (8, 20_000))
    assert {t.device.type for t in (points, step, *terms.values())} == {"cuda"}


# --- training -------------------------------------------------------------------------------------


@BOTH
def test_overfits_one_batch(pooling):
    model, batch = model_of(pooling, hidden=32, embedding=16, width=16), batch_of(6)
    training.fit(model, batch, epochs=150, batch_size=6, lr=0.02, progress=False)
    assert float(model.loss(batch)) < 0.1


def test_only_with_a_track_is_a_verb_bound_to_its_thing():
    """Two things, one goes to the left and one to the right. The caption names one and says which way.

    Named first is either, by a coin. So a model that only knows that there is a thing that goes left
    and one that goes right must guess; and mirrored clips have the same things."""
    draw = np.random.default_rng(0)
    things, (height, width) = torch.eye(D)[:2] * 3, (2, 4)
    features, captions, cells = [], [], []
    for _ in range(240):
        clip, names = torch.zeros(3, D, height, width), torch.full((3, height, width), -1)
        rows, way = draw.permutation(2), draw.integers(2)
        for thing in range(2):
            goes_right = (thing == 0) == bool(way)
            for i in range(3):
                x = i if goes_right else 3 - i
                clip[i, :, rows[thing], x], names[i, rows[thing], x] = things[thing], thing
        told = draw.integers(2)
        captions.append([1, 5 if told == 0 else 9, 6 if (told == 0) == bool(way) else 7, 2])
        features.append(clip), cells.append(names.flatten(1))
    data = {"features": torch.stack(features), "captions": torch.tensor(captions)}
    data["cells"] = torch.stack(cells)
    right = {}
    for track in (True, False):
        torch.manual_seed(0)
        sizes = {**SIZES, "grid": (height, width), "hidden": 24, "frames": 3, "width": 12}
        sizes |= {"embedding": 8, "names": (5, 9), "track": track, "listing": True}
        model = VideoCaptioner(Config.bound(V, D, **sizes))
        known = {k: x[:200] for k, x in data.items()}
        training.fit(model, known, epochs=30, batch_size=20, lr=0.02, progress=False)
        probe = {k: x[200:] for k, x in data.items()}
        said = model(probe["features"], probe["captions"])[:, 1].argmax(1)
        right[track] = float((said == probe["captions"][:, 2]).double().mean())
    assert right[True] == 1
    assert right[False] < 0.8


def test_same_seed_same_result():
    states = []
    for _ in range(2):
        model = model_of(dropout=0.3)
        training.fit(model, batch_of(8), epochs=3, batch_size=4, seed=5, progress=False)
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


# --- what the experiment stands on ----------------------------------------------------------------


def test_cells_are_named_by_what_is_drawn_in_them():
    from mmtutor.experiments import video_captioning as experiment
    from mmtutor.world import clips

    size, things = experiment.PIXELS // experiment.CELLS, 0
    for clip in experiment.staged("test", 20):
        drawn = clips.render(clip, experiment.PIXELS, only=experiment.SEEN)
        found = experiment.named(clip, drawn.boxes)
        assert found.shape == (6, 36)
        for own, boxes in zip(found, drawn.boxes, strict=True):
            there = {a.name for a, box in zip(clip.actors, boxes, strict=True) if any(box)}
            told = {experiment.NAMES[i] for i in own if i >= 0}
            assert told <= there
            for name in there - told:  # hidden, but for less than a cell
                assert len(there) == 2, name
            for cell in np.flatnonzero(own >= 0):  # the cell lies in a box of the thing
                y, x = divmod(int(cell), experiment.CELLS)
                box = boxes[[a.name for a in clip.actors].index(experiment.NAMES[own[cell]])]
                assert box[0] < (x + 1) * size
                assert x * size < box[2]
                assert box[1] < (y + 1) * size
                assert y * size < box[3]
                things += 1
    assert things > 300


def test_a_crossed_caption_has_the_right_things_and_verbs_and_is_false():
    from mmtutor.experiments import video_captioning as experiment
    from mmtutor.world import clips

    def actor(name: str, x: int, *keys: tuple[int, int]) -> clips.Actor:
        return clips.Actor(name, tuple(clips.Key(t, x, y, 200) for t, y in keys))

    rises = actor("dog", 250, (0, 800), (1024, 200))
    falls = actor("car", 750, (0, 200), (1024, 800))
    clip = clips.Clip("beach", (rises, falls))
    said = ["the dog rises", "the dog falls", "the dog grows", "the bus falls", "no sentence"]
    assert [experiment.crossed([words], [clip]) for words in said] == [0, 1, 0, 0, 0]
    assert experiment.crossed(said, [clip] * 5) == pytest.approx(1 / 5)


def test_the_summary_of_a_map_is_its_maxima_and_the_means_of_its_ninths():
    from mmtutor.experiments import video_captioning as experiment

    maps = torch.randn(2, 3, 112, 6, 6, generator=torch.Generator().manual_seed(0))
    found = experiment.summary(maps)
    assert found.shape == (2, 3, 1120)
    torch.testing.assert_close(found[..., :112], maps.amax((3, 4)))
    ninths = found[..., 112:].unflatten(2, (112, 3, 3))
    torch.testing.assert_close(ninths[..., 1, 2], maps[..., 2:4, 4:6].mean((3, 4)))
    where = experiment.summary(experiment.in_the_mirror(maps))[..., 112:].unflatten(2, (112, 3, 3))
    torch.testing.assert_close(where, ninths.flip(-1))


def test_shuffling_moves_whole_frames():
    from mmtutor.experiments import video_captioning as experiment

    x = torch.arange(4 * 6).view(4, 6).float()
    vectors = experiment.shuffle(x[:, :, None].expand(-1, -1, 5), seed=1)
    maps = experiment.shuffle(x[:, :, None, None, None].expand(-1, -1, 5, 2, 2), seed=1)
    assert torch.equal(vectors[..., 0], maps[..., 0, 0, 0])
    assert torch.equal(vectors[..., 0].sort(1).values, x)
    assert not torch.equal(vectors[..., 0], x)
    assert torch.equal(vectors[..., :1].expand_as(vectors), vectors)
