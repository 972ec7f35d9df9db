"""The models that run in the page say what Python says, computed from the same exported files.

Nothing is loaded before the click, nothing comes from another host, and a reader without a mouse, with
a narrow screen or with bad input gets on.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bookkit import HTML, ROOT, Open, Watched, axe_violations
from torch import Tensor, nn

from mmtutor.kit import decoding, vision
from mmtutor.kit.text import Vocabulary, tokenize
from mmtutor.page import live
from mmtutor.show_attend_tell import Config as CaptionerConfig
from mmtutor.show_attend_tell import ShowAttendTell
from mmtutor.world import captions, questions, scenes
from mmtutor.world.scenes import Placed, Scene

LIVE = ROOT / "book" / "_static" / "live"
PLAY = HTML / "book" / "play.html"
PIXELS, THINGS, COUNT = 96, 24, 40


# --- The same in Python, from the exported files ----------------------------------------------------


@cache
def manifest() -> dict[str, dict[str, Any]]:
    text = (LIVE / "manifest.js").read_text(encoding="utf-8")
    return json.loads(text.removeprefix("MMT.manifest = ").rstrip(";\n"))


@cache
def file(name: str) -> dict[str, Any]:
    return live.read(LIVE / manifest()["files"][name])


@cache
def tensors(name: str) -> dict[str, Tensor]:
    differs = any(kind[0] == "d" for _, _, kind in file(name)["tensors"])
    return live.unpacked(file(name), tensors("captioner-soft") if differs else None)


@cache
def encoder() -> vision.ImageEncoder:
    """The frozen network with the weights of the exported file."""
    network, own = vision.ImageEncoder(layer="map"), tensors("encoder")
    layers = [m for m in network.body.modules() if isinstance(m, nn.Conv2d)]
    for i, layer in enumerate(layers):
        layer.weight.data, layer.bias.data = own[f"{i}.weight"], own[f"{i}.bias"]
    assert 2 * len(layers) == sum(not n.endswith(".scale") for n, *_ in file("encoder")["tensors"])
    return network


def model(name: str, kind: type, config: type) -> nn.Module:
    made = kind(config(**file(name)["about"]["config"])).eval()
    missing, _ = made.load_state_dict(tensors(name), strict=False)
    assert set(missing) <= {"baseline", "log_scale"}, missing
    return made


def standardized(name: str, maps: Tensor) -> Tensor:
    own = tensors(name)
    return (maps - own["eyes.mean"].view(1, -1, 1, 1)) * own["eyes.scale"].view(1, -1, 1, 1)


@cache
def drawn() -> list[tuple[Scene, dict[str, Any]]]:
    """Unseen scenes on the grounds that the page has, for Python and for the page."""
    grounds: dict[str, list[dict[str, Any]]] = {}
    for ground in file("world")["grounds"]:
        grounds.setdefault(ground["name"], []).append(ground)
    out = []
    for i in range(COUNT):
        scene = scenes.sample("test", i, things=THINGS)
        ground = grounds[scene.background][i % len(grounds[scene.background])]
        things = [dataclasses.asdict(one) for one in scene.things]
        here = {"ground": ground["key"], "things": things}
        out.append((dataclasses.replace(scene, variant=ground["variant"]), here))
    return out


@cache
def pictures() -> np.ndarray:
    return np.stack([scenes.render(scene, PIXELS).image for scene, _ in drawn()])


@cache
def maps() -> Tensor:
    return encoder()(torch.from_numpy(pictures()).permute(0, 3, 1, 2))


# --- The page ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def play(open_page: Open) -> Iterator[Watched]:
    """The page of all exhibits, with the engine loaded and the exhibits not begun."""
    with open_page(PLAY) as watched:
        watched.page.evaluate(
            "async () => { for (const f of ['manifest.js', 'engine.js', 'world.js', 'exhibits.js'])"
            " await MMT.load(f) }"
        )
        yield watched
        assert watched.errors == []


def of_scenes(play: Watched, code: str) -> list[Any]:
    """What a piece of the page's code gives for each scene; it may use world, eyes, scene, i."""
    return play.page.evaluate(
        "async ([scenes, code]) => { const world = await MMT.model('world'), eyes = await MMT.model('encoder');"
        "const f = eval(`async (world, eyes, scene, i) => { ${code} }`), out = [];"
        "for (let i = 0; i < scenes.length; i++) out.push(await f(world, eyes, scenes[i], i)); return out }",
        [[here for _, here in drawn()], code],
    )


def test_a_scene_is_drawn_to_the_pixel(play: Watched) -> None:
    found = of_scenes(play, "return btoa(String.fromCharCode(...world.draw(scene)))")
    for text, picture in zip(found, pictures(), strict=True):
        assert base64.b64decode(text) == picture.tobytes()


def test_the_map_of_a_scene_is_the_same(play: Watched) -> None:
    found = of_scenes(play, "return [...eyes.map(world.draw(scene), 96).data]")
    theirs = torch.tensor(found).view(maps().shape)
    assert float((theirs - maps()).abs().max()) < 1e-3


@pytest.mark.parametrize("way", ["soft", "priced", "hard"])
def test_the_captioner_says_and_looks_the_same(play: Watched, way: str) -> None:
    name = f"captioner-{way}"
    captioner = model(name, ShowAttendTell, CaptionerConfig)
    words, x = file(name)["about"]["words"], standardized(name, maps())
    for penalty in (0.0, 1.0):
        found = of_scenes(
            play,
            f"const m = await MMT.model('{name}'); const t = m.write(eyes.map(world.draw(scene), 96),"
            f" {{ lengthPenalty: {penalty} }});"
            "return { words: t.words, looks: t.looks.map((w) => [...w]), points: t.points.map((w) => [...w]) }",
        )
        best = decoding.beam_search(captioner, x, width=5, length_penalty=penalty, n_best=1)
        ours = [[words[i] for i in own.ids] for (own,) in best]
        assert [one["words"] for one in found] == ours
        for i, one in enumerate(found):
            ids = torch.tensor([[words.index(w) for w in ("<bos>", *ours[i], "<eos>")]])
            looks = captioner.weights(x[[i]], ids)[0, :-1] if way != "hard" else None
            if looks is not None:
                assert float((torch.tensor(one["looks"]) - looks).abs().max()) < 1e-3
            points = captioner.pointed(x[[i]], ids)[0, 1:]
            assert float((torch.tensor(one["points"]) - points).abs().max()) < 1e-3


def test_the_page_judges_captions_as_the_world_does(play: Watched) -> None:
    """Captions of each scene, of the next one, with a word changed, and no English."""
    asked = []
    for i, (scene, _) in enumerate(drawn()):
        following = drawn()[(i + 1) % COUNT][0]
        said = [*captions.captions(scene, i, 12), *captions.captions(following, i, 12)]
        said += [text.replace("left", "right") for text in said[:6]]
        said += [f"{said[0]} {said[0]}", "dog the", "a apple", "no dog and two things are on the left"]
        asked.append(said)
    play.page.evaluate("(asked) => { window.asked = asked }", asked)
    found = of_scenes(play, "return window.asked[i].map((text) => world.verdict(text, scene))")
    ours = [
        [str(captions.is_true(text, scene)) for text in said]
        for (scene, _), said in zip(drawn(), asked, strict=True)
    ]
    assert found == ours
    verdicts = {v for own in ours for v in own}
    assert verdicts == {"true", "false", "unparsable"}  # so the test could have failed
