"""The models that run in the page say what Python says, computed from the same exported files.

Nothing is loaded before the click, nothing comes from another host, and a reader without a mouse, with
a narrow screen or with bad input gets on.
"""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from bookkit import HTML, ROOT, Open, Watched
from torch import Tensor, nn

from mmtutor.cocktail_party import CocktailParty, Layer, transform
from mmtutor.cocktail_party import Config as PartyConfig
from mmtutor.joint_embedding import Config as JointConfig
from mmtutor.joint_embedding import JointEmbedding
from mmtutor.kit import decoding
from mmtutor.kit.text import tokenize
from mmtutor.page import live
from mmtutor.show_attend_tell import Config as CaptionerConfig
from mmtutor.show_attend_tell import ShowAttendTell
from mmtutor.text_to_image import Config as TextConfig
from mmtutor.text_to_image import TextToImage
from mmtutor.vqa import VQA, Copying, CopyingConfig
from mmtutor.vqa import Config as VQAConfig
from mmtutor.world import captions, questions, scenes
from mmtutor.world.scenes import Scene

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


def model(name: str, kind: type, config: Callable[..., Any]) -> nn.Module:
    made = kind(config(**tuples(file(name)["about"]["config"]))).eval().requires_grad_(False)
    missing, _ = made.load_state_dict(tensors(name), strict=False)
    left_out = {n for n in missing if not n.endswith("num_batches_tracked")}
    assert left_out <= {"baseline", "log_scale"}, left_out
    return made


def tuples(value: Any) -> Any:
    """Settings as they were: JSON has lists for tuples."""
    if isinstance(value, dict):
        return {key: tuples(own) for key, own in value.items()}
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def party_config(**settings: Any) -> PartyConfig:
    """Settings of the network that takes voices apart, with its layers."""
    layers = {name: tuple(Layer(*own) for own in settings[name]) for name in ("visual", "audio")}
    return PartyConfig(**{**settings, **layers})


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
    return live.looking(file("encoder"))(torch.from_numpy(pictures()).permute(0, 3, 1, 2))


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
        said += [
            f"{said[0]} {said[0]}",
            "dog the",
            "a apple",
            "no dog and two things are on the left",
        ]
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


def test_it_answers_as_in_python(play: Watched) -> None:
    """Questions about each scene, by the model that looks and by the one that only reads."""
    asked = []
    for scene, _ in drawn():
        every = [q.question for q in questions.ask(scene)]
        asked.append(every[:: max(1, len(every) // 8)][:8])
    play.page.evaluate("(asked) => { window.asked = asked }", asked)
    for name, kind, config in (
        ("questions", Copying, CopyingConfig),
        ("questions-blind", VQA, VQAConfig),
    ):
        own = model(name, kind, config)
        note = file(name)["about"]
        ids = {word: i for i, word in enumerate(note["words"])}
        found = of_scenes(
            play,
            f"const m = await MMT.model('{name}'), map = eyes.map(world.draw(scene), 96);"
            "return window.asked[i].map((q) => { const a = m.answer(map, MMT.wordsOf(q).map((w) => m.words.indexOf(w)));"
            " return [[...a.p], a.looks.map((w) => [...w])] })",
        )
        x = standardized(name, maps()) if name == "questions" else maps()
        for i, own_questions in enumerate(asked):
            for text, (p, looks) in zip(own_questions, found[i], strict=True):
                told = torch.tensor([[ids[word] for word in tokenize(text)]])
                with torch.no_grad():
                    theirs = own(x[[i]], told).softmax(1)[0]
                    assert float((torch.tensor(p) - theirs).abs().max()) < 1e-3
                    assert int(np.argmax(p)) == int(theirs.argmax())
                    if looks:
                        assert (
                            float((torch.tensor(looks) - own.weights(x[[i]], told)[0]).abs().max())
                            < 1e-3
                        )


def test_the_page_knows_the_true_answers(play: Watched) -> None:
    asked = []
    for scene, _ in drawn():
        following = drawn()[(len(asked) + 1) % COUNT][0]
        asked.append([q.question for q in [*questions.ask(scene), *questions.ask(following)]])
    play.page.evaluate("(asked) => { window.asked = asked }", asked)
    found = of_scenes(play, "return window.asked[i].map((q) => world.answer(q, scene))")
    ours = [
        [questions.answer(q, scene) for q in own]
        for (scene, _), own in zip(drawn(), asked, strict=True)
    ]
    assert found == ours
    answers = [a for own in ours for a in own]
    assert None in answers
    assert len(set(answers)) > 20


def test_pictures_and_sentences_lie_in_the_same_space(play: Watched) -> None:
    own = model("search", JointEmbedding, JointConfig)
    ids = {word: i for i, word in enumerate(file("search")["about"]["words"])}
    said = [captions.captions(scene, i, 1)[0] for i, (scene, _) in enumerate(drawn())]
    play.page.evaluate("(said) => { window.said = said }", said)
    found = of_scenes(
        play,
        "const m = await MMT.model('search');"
        "return [[...m.picture(eyes.map(world.draw(scene), 96))], [...m.text(MMT.wordsOf(window.said[i]).map((w) => m.words.indexOf(w)))]]",
    )
    with torch.no_grad():
        seen = own.embed_pictures(standardized("search", maps()))
        for (picture, text), theirs, one in zip(found, seen, said, strict=True):
            told = own.embed_texts(torch.tensor([[ids[word] for word in tokenize(one)]]))[0]
            assert float((torch.tensor(picture) - theirs).abs().max()) < 1e-3
            assert float((torch.tensor(text) - told).abs().max()) < 1e-3


def test_a_hundred_sums_of_words(play: Watched) -> None:
    for name in ("words-1611", "words-today"):
        words, rows = file(name)["about"]["words"], tensors(name)["rows"]
        rows = torch.nn.functional.normalize(rows, dim=1)
        draw = np.random.default_rng(0)
        sums = [draw.choice(len(words), 3, replace=False).tolist() for _ in range(50)]
        found = play.page.evaluate(
            "async ([name, sums]) => { const m = await MMT.model(name);"
            " return sums.map(([a, b, c]) => m.nearest([[1, m.words[a]], [-1, m.words[b]], [1, m.words[c]]], 10)) }",
            [name, sums],
        )
        for (a, b, c), near in zip(sums, found, strict=True):
            cosine = rows @ torch.nn.functional.normalize(rows[a] - rows[b] + rows[c], dim=0)
            cosine[[a, b, c]] = -torch.inf
            best = cosine.topk(10)
            assert [word for word, _ in near] == [words[i] for i in best.indices]
            assert np.allclose([v for _, v in near], best.values, atol=1e-4)


def test_the_generator_draws_the_same(play: Watched) -> None:
    config = file("drawing")["about"]["config"]
    own = TextToImage(TextConfig(**config)).eval()
    state = {n.replace("generator.", "averaged.", 1): t for n, t in tensors("drawing").items()}
    missing, _ = own.load_state_dict(state, strict=False)
    assert not [
        n for n in missing if n.startswith(("encoder.", "averaged.")) and "num_batches" not in n
    ]
    words = file("drawing")["about"]["words"]
    ids = torch.tensor([[words.index(word) for word in ["a", "dog", "on", "the", "beach"]]])
    z = own.codes(5, torch.Generator().manual_seed(0))
    found = play.page.evaluate(
        "async ([ids, z]) => { const m = await MMT.model('drawing'), h = m.hear(ids); return z.map((one) => [...m.draw(h, Float32Array.from(one)).data]) }",
        [ids[0].tolist(), z.tolist()],
    )
    theirs = own.draw(ids.expand(5, -1), z)
    assert float((torch.tensor(found).view_as(theirs) - theirs).abs().max()) < 1e-3


def test_ten_mixtures_are_taken_apart_alike(play: Watched) -> None:
    own = model("party", CocktailParty, party_config)
    voices = tensors("voices")
    pairs = list(itertools.combinations(range(len(voices["waves"])), 2))[:10]
    for i, j in pairs:
        wave = voices["waves"][i] + voices["waves"][j]
        mouths = voices["mouths"].view(len(voices["waves"]), -1, 384)[[i, j]]  # (2, T, 384)
        found = play.page.evaluate(
            "async ([i, j]) => { const m = await MMT.model('party'), v = await MMT.model('voices');"
            " const wave = v.wave(i).map((x, t) => x + v.wave(j)[t]), one = m.separate(wave, [v.mouth(i), v.mouth(j)]);"
            " return [[...one.masks[0]], one.voices.map((x) => [...x])] }",
            [i, j],
        )
        with torch.no_grad():
            faces = mouths.view(1, 2, -1, *own.config.face)
            Y = transform(own.config, wave[None])
            masks = own.masks(Y, faces)[0]
            both = own(wave[None], faces)[0]
        assert float((torch.tensor(found[0]).view_as(masks[0]) - masks[0]).abs().max()) < 1e-3
        assert float((torch.tensor(found[1]) - both).abs().max()) < 1e-3
