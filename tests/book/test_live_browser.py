"""The models that run in the page say what Python says, computed from the same exported files.

Nothing is loaded before the click, nothing comes from another host, and a reader without a mouse, with
a narrow screen or with bad input gets on.
"""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
import wave
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bookkit import HTML, ROOT, Open, Watched, axe_violations
from click.testing import CliRunner
from PIL import Image
from torch import Tensor, nn

from mmtutor.cli import main
from mmtutor.cocktail_party import CocktailParty, Layer, transform
from mmtutor.cocktail_party import Config as PartyConfig
from mmtutor.joint_embedding import Config as JointConfig
from mmtutor.joint_embedding import JointEmbedding
from mmtutor.kit import decoding, saving
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
pytestmark = [pytest.mark.usefixtures("html"), pytest.mark.timeout(300)]
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
    del state["pad"]
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


# --- A reader ---------------------------------------------------------------------------------------

EXHIBITS = ("captioner", "ask", "words", "search", "draw", "hear")
CHAPTERS = {
    "captioner": "09_show_attend_tell",
    "ask": "13_vqa",
    "words": "02_word2vec",
    "search": "04_joint_embedding",
    "draw": "11_text_to_image",
    "hear": "16_cocktail_party",
}


def started(watched: Watched, name: str) -> str:
    """Press the button, and wait for the first result."""
    place = f'.mmt-exhibit[data-exhibit="{name}"]'
    watched.page.click(f"{place} button")
    watched.page.wait_for_selector(f"{place}[data-ready]")
    return place


def again(watched: Watched, place: str, act: Callable[[], Any]) -> None:
    """Do something, and wait for what comes of it."""
    before = watched.page.get_attribute(place, "data-ready")
    act()
    watched.page.wait_for_function(
        "([place, before]) => document.querySelector(place).dataset.ready !== before",
        arg=[place, before],
    )


def test_the_committed_files_are_small_and_named_by_their_content() -> None:
    files = {path.name: path for path in LIVE.glob("*.js")}
    for name, path in manifest()["files"].items():
        assert live.hashed(name, files[path].read_text(encoding="utf-8")) == path
    hashed = set(manifest()["files"].values())
    written = {
        "manifest.js",
        "start.js",
        *live.ENGINE[1:],
        "find.js",
        *(f"{e}.js" for e in EXHIBITS),
    }
    assert set(files) == hashed | written
    assert sum(path.stat().st_size for path in files.values()) < 8_100_000
    assert sum(files[name].stat().st_size for name in hashed) < 8_000_000
    assert files["start.js"].stat().st_size < 10_000


def test_the_numbers_on_the_page_are_the_measured_ones() -> None:
    text = (ROOT / "book" / "play.md").read_text(encoding="utf-8")
    rounding = json.loads((LIVE / "rounding.json").read_text(encoding="utf-8"))["measured"]
    timing = json.loads((LIVE / "timing.json").read_text(encoding="utf-8"))
    for values in rounding.values():
        if "same" in values:
            row = [
                f"{values[k]:.3f}"
                for k in ("same", "true as trained", "true in the page")
                if k in values
            ]
            assert f"| {' | '.join(row)} |" in text or f"| {row[0]} |  |  |" in text
    for what, milliseconds in timing["steady"].items():
        assert f"| {what} | {milliseconds:.0f} |" in text
    assert f"{sum(manifest()['bytes'].values()) / 1e6:.1f} MB" in text
    for name in ("captioner-soft", "search"):
        assert round(rounding[name]["same"], 2) == 0.99  # chapters 4 and 9 say so
    assert rounding["questions"]["same"] == 1
    assert round(rounding["words-1611"]["same"], 2) == 0.97
    assert abs(rounding["party"]["dB as trained"] - rounding["party"]["dB in the page"]) < 0.01


@pytest.mark.parametrize("page", ["play", "index", *CHAPTERS.values()])
def test_nothing_is_loaded_before_the_click(open_page: Open, page: str) -> None:
    with open_page(HTML / "book" / f"{page}.html") as watched:
        asked: list[str] = []
        watched.page.on("request", lambda request: asked.append(request.url))
        scripts = watched.page.evaluate("[...document.scripts].map((s) => s.src)")
        ours = [s for s in scripts if "/live/" in s]
        assert len(ours) == 1
        assert "/live/start.js" in ours[0]
        watched.page.wait_for_timeout(300)
        assert asked == []
        buttons = watched.page.locator(".mmt-exhibit > button")
        assert buttons.count() == (6 if page == "play" else 1)
        assert watched.errors == []


@pytest.mark.parametrize("exhibit", EXHIBITS)
def test_it_runs_in_its_chapter_below_a_still_picture(open_page: Open, exhibit: str) -> None:
    with open_page(HTML / "book" / f"{CHAPTERS[exhibit]}.html") as watched:
        place = started(watched, exhibit)
        still = f'img[src*="live_{exhibit}"]'
        assert watched.page.get_attribute(still, "alt")
        assert watched.page.evaluate(
            "([still, place]) => document.querySelector(still).compareDocumentPosition(document.querySelector(place)) & 4",
            [still, place],
        )
        assert watched.errors == []


@pytest.mark.parametrize(("width", "dark"), [(1280, True), (390, False)])
def test_all_of_it_is_accessible_and_fits(open_page: Open, width: int, dark: bool) -> None:
    with open_page(PLAY, width=width, dark=dark) as watched:
        for name in EXHIBITS:
            started(watched, name)
        assert axe_violations(watched.page) == []
        wide = "[document.documentElement.scrollWidth, innerWidth]"
        needed, there = watched.page.evaluate(wide)
        assert needed <= there
        outside = watched.page.evaluate(
            "[...document.querySelectorAll('.mmt-live-on *')].filter((e) => e.getBoundingClientRect().width"
            " && e.getBoundingClientRect().right > e.closest('.mmt-live-on').getBoundingClientRect().right + 1)"
            ".map((e) => e.outerHTML.slice(0, 80))"
        )
        assert outside == []
        assert watched.errors == []


def test_keys_alone_make_a_scene(open_page: Open) -> None:
    """A thing is moved, resized, removed and put there; what is said follows, and is spoken."""
    with open_page(PLAY) as watched:
        page = watched.page
        page.focus('.mmt-exhibit[data-exhibit="captioner"] button')
        page.keyboard.press("Enter")
        place = '.mmt-exhibit[data-exhibit="captioner"]'
        page.wait_for_selector(f"{place}[data-ready]")
        scene = f"document.querySelector('{place}').exhibit.state.scene"
        dog = page.locator(f"{place} .mmt-thing").first
        assert dog.get_attribute("aria-label").startswith("large dog")
        dog.focus()
        for key, what in (("ArrowRight", "x"), ("ArrowUp", "y"), ("-", "side")):
            before = page.evaluate(f"{scene}.things[0].{what}")
            again(watched, place, lambda key=key: page.keyboard.press(key))
            assert page.evaluate(f"{scene}.things[0].{what}") != before
            assert page.evaluate("document.activeElement.className") == "mmt-thing"
        again(watched, place, lambda: page.keyboard.press("-"))
        assert dog.get_attribute("aria-label").startswith("small dog")
        again(watched, place, lambda: page.keyboard.press("Delete"))
        assert page.evaluate(f"{scene}.things.map((t) => t.name)") == ["car"]
        page.select_option(f"{place} select >> nth=0", "sun")
        again(watched, place, lambda: page.click(f"{place} button:has-text('Put it there')"))
        assert page.evaluate(f"{scene}.things.map((t) => t.name)") == ["car", "sun"]
        page.wait_for_function(
            f"document.querySelector('{place} [role=status]').textContent.length > 10"
        )
        said = page.inner_text(f"{place} .mmt-sentence").split()
        assert page.text_content(f"{place} [role=status]").startswith(" ".join(said))
        assert watched.errors == []


def test_a_finger_drags_a_thing(open_page: Open) -> None:
    with open_page(PLAY, width=390) as watched:
        page, place = watched.page, started(watched, "captioner")
        page.locator(f"{place} .mmt-thing").first.scroll_into_view_if_needed()
        box = page.locator(f"{place} .mmt-thing").first.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        thing = f"document.querySelector('{place}').exhibit.state.scene.things[0]"
        before = page.evaluate(f"[{thing}.x, {thing}.y]")

        def drag() -> None:
            page.evaluate(
                "([place, x, y]) => { const one = document.querySelector(place + ' .mmt-thing');"
                " one.setPointerCapture = () => {};"
                " for (const [type, dx] of [['pointerdown', 0], ['pointermove', 40], ['pointerup', 40]])"
                " one.dispatchEvent(new PointerEvent(type, { pointerType: 'touch', pointerId: 7, clientX: x + dx, clientY: y, bubbles: true })) }",
                [place, x, y],
            )

        again(watched, place, drag)
        after = page.evaluate(f"[{thing}.x, {thing}.y]")
        assert after[0] > before[0] + 80
        assert after[1] == before[1]
        assert (
            page.evaluate(
                f"getComputedStyle(document.querySelector('{place} .mmt-thing')).touchAction"
            )
            == "none"
        )


def test_a_word_shows_where_the_model_looked(open_page: Open) -> None:
    with open_page(PLAY) as watched:
        page, place = watched.page, started(watched, "captioner")
        picture = f"document.querySelector('{place} canvas').toDataURL()"
        page.evaluate(picture)  # a canvas that is read back is painted otherwise from then on
        page.evaluate(f"document.querySelector('{place}').exhibit.stage.highlight(null)")
        plain = page.evaluate(picture)
        word = page.locator(f"{place} .mmt-sentence button").last
        word.click()
        assert word.get_attribute("aria-pressed") == "true"
        assert page.evaluate(picture) != plain
        word.click()
        page.mouse.move(0, 0)
        assert page.evaluate(picture) == plain


def test_bad_input_gets_a_kind_sentence(open_page: Open, tmp_path: Path) -> None:
    with open_page(PLAY) as watched:
        page = watched.page
        place = started(watched, "words")
        again(watched, place, lambda: page.fill(f"{place} input", "king - mann + woman"))
        text = page.inner_text(place)
        assert "“mann” is not among" in text
        assert "It knows: man" in text
        again(watched, place, lambda: page.fill(f"{place} input", "<img src=x onerror=alert(1)>"))
        assert page.locator(f"{place} img").count() == 0
        again(watched, place, lambda: page.fill(f"{place} input", ""))
        assert "Type a word" in page.inner_text(place)

        place = started(watched, "ask")
        again(
            watched,
            place,
            lambda: page.fill(f"{place} input[type=text]", "how many unicorns are there"),
        )
        assert "never read “unicorns”" in page.inner_text(f"{place} .mmt-error:visible")
        again(watched, place, lambda: page.fill(f"{place} input[type=text]", "  "))
        assert "Type a few words" in page.inner_text(f"{place} .mmt-error:visible")
        again(watched, place, lambda: page.fill(f"{place} input[type=text]", "where is the dog"))
        assert "does not fit this scene" in page.inner_text(place)  # there are two

        place = started(watched, "captioner")
        no_picture = tmp_path / "notes.txt"
        no_picture.write_text("no picture")
        page.set_input_files(f"{place} input[type=file]", no_picture)
        page.wait_for_selector(f"{place} [role=alert]:visible")
        assert "“notes.txt” is no picture" in page.inner_text(f"{place} .mmt-error:visible")
        giant = tmp_path / "giant.png"
        Image.new("RGB", (6000, 5000), (200, 40, 40)).save(giant)
        again(watched, place, lambda: page.set_input_files(f"{place} input[type=file]", giant))
        assert "does not know what is in your picture" in page.inner_text(place)
        assert (
            page.evaluate(f"document.querySelector('{place}').exhibit.stage.own.length")
            == 96 * 96 * 3
        )
        again(watched, place, lambda: page.click(f"{place} button:has-text('Back to the scene')"))
        assert "of this scene" in page.inner_text(place)

        place = started(watched, "hear")
        silence = tmp_path / "silence.wav"
        with wave.open(str(silence), "wb") as sound:
            sound.setnchannels(1), sound.setsampwidth(2), sound.setframerate(8000)
            sound.writeframes(bytes(32_000))
        page.set_input_files(f"{place} input[type=file]", silence)
        page.wait_for_selector(f"{place} [role=alert]:visible")
        assert "is silent" in page.inner_text(f"{place} .mmt-error:visible")
        page.set_input_files(f"{place} input[type=file]", no_picture)
        page.wait_for_function(
            f"document.querySelector('{place} [role=alert]').textContent.includes('no sound')"
        )
        page.click(f"{place} button:has-text('Record')")
        page.wait_for_function(
            f"document.querySelector('{place} [role=alert]').textContent.includes('no microphone')"
        )
        assert watched.errors == []


def test_a_sound_of_ones_own_is_taken_apart_from_a_voice(open_page: Open, tmp_path: Path) -> None:
    with open_page(PLAY) as watched:
        page, place = watched.page, started(watched, "hear")
        tone = tmp_path / "tone.wav"
        with wave.open(str(tone), "wb") as sound:
            sound.setnchannels(2), sound.setsampwidth(2), sound.setframerate(44_100)
            t = np.arange(3 * 44_100) / 44_100
            both = np.repeat((8000 * np.sin(2 * np.pi * 500 * t)).astype("<i2")[:, None], 2, 1)
            sound.writeframes(both.tobytes())
        again(watched, place, lambda: page.set_input_files(f"{place} input[type=file]", tone))
        assert page.input_value(f"{place} select >> nth=1") == "own"
        assert all(
            page.evaluate(
                f"[...document.querySelectorAll('{place} audio')].map((a) => a.src.startsWith('blob:'))"
            )
        )
        # exchanged faces hurt: the same mixture of two voices
        again(watched, place, lambda: page.select_option(f"{place} select >> nth=1", "3"))
        right = page.evaluate(f"document.querySelector('{place}').exhibit.state.gains")
        again(watched, place, lambda: page.check(f"{place} input[value=exchanged]"))
        wrong = page.evaluate(f"document.querySelector('{place}').exhibit.state.gains")
        assert min(right) > 3
        assert max(wrong) < -3
        assert watched.errors == []


def test_dragging_draws_another_picture(open_page: Open) -> None:
    with open_page(PLAY) as watched:
        page, place = watched.page, started(watched, "draw")
        picture = f"document.querySelector('{place} .mmt-big').toDataURL()"
        first = page.evaluate(picture)
        again(watched, place, lambda: page.fill(f"{place} input[type=range] >> nth=0", "4"))
        second = page.evaluate(picture)
        again(watched, place, lambda: page.fill(f"{place} input[type=text]", "a tree in the snow"))
        assert len({first, second, page.evaluate(picture)}) == 3


# --- A reader's own model ---------------------------------------------------------------------------


def page_of(folder: Path, out: Path) -> Path:
    done = CliRunner().invoke(main, ["export", str(folder), str(out)])
    assert done.exit_code == 0, done.output
    return out


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty drawn scenes as a folder of pictures with captions."""
    folder = tmp_path_factory.mktemp("photos")
    rows = []
    for i in range(20):
        scene = scenes.sample("train", i, things=THINGS)
        scenes.draw_scene(scene, 96).save(folder / f"{i:02}.png")
        rows.append({"file_name": f"{i:02}.png", "captions": captions.captions(scene, i, 3)})
    lines = "\n".join(json.dumps(row) for row in rows)
    (folder / "metadata.jsonl").write_text(lines, encoding="utf-8")
    return folder


def trained(system: str, data: Path, out: Path, *more: str) -> Path:
    done = CliRunner().invoke(
        main, ["train", system, "--data", str(data), "--out", str(out), *more]
    )
    assert done.exit_code == 0, done.output
    return out


def test_a_captioner_of_ones_own_runs_in_one_file(
    open_page: Open, photos: Path, tmp_path: Path
) -> None:
    folder = trained("show_attend_tell", photos, tmp_path / "captioner", "--steps", "80")
    told = CliRunner().invoke(main, ["caption", str(folder), str(photos / "00.png")])
    with open_page(page_of(folder, tmp_path / "captioner.html")) as watched:
        place = started(watched, "captioner")
        size = watched.page.evaluate(f"document.querySelector('{place}').exhibit.stage.side")
        assert size == json.loads((folder / "model.json").read_text())["more"]["eyes"]["pixels"]
        again(
            watched,
            place,
            lambda: watched.page.set_input_files(f"{place} input[type=file]", photos / "00.png"),
        )
        sentence = " ".join(watched.page.inner_text(f"{place} .mmt-sentence").split())
        assert sentence
        assert told.output.strip().endswith(sentence)
        assert axe_violations(watched.page) == []
        assert watched.errors == []


def test_a_collection_of_ones_own_is_searched_in_one_file(
    open_page: Open, photos: Path, tmp_path: Path
) -> None:
    folder = trained(
        "joint_embedding", photos, tmp_path / "finder", "--scale", "small", "--steps", "12"
    )
    found = CliRunner().invoke(
        main, ["search", str(folder), "--text", "a dog on the beach", "--top", "3"]
    )
    with open_page(page_of(folder, tmp_path / "finder.html")) as watched:
        place = started(watched, "find")
        again(
            watched,
            place,
            lambda: watched.page.fill(f"{place} input[type=text]", "a dog on the beach"),
        )
        first = watched.page.inner_text(f"{place} ol li >> nth=0").split()[0]
        assert first in found.output.splitlines()[0]
        again(
            watched,
            place,
            lambda: watched.page.set_input_files(f"{place} input[type=file]", photos / "00.png"),
        )
        assert watched.page.locator(f"{place} ol >> nth=1").locator("li").count() == 8
        again(watched, place, lambda: watched.page.fill(f"{place} input[type=text]", "???"))
        assert watched.errors == []


def test_words_of_ones_own_run_in_one_file(open_page: Open, tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.txt").write_text("\n".join(["the cat saw the dog and the king saw the queen"] * 60))
    folder = trained("word2vec", texts, tmp_path / "words")
    with open_page(page_of(folder, tmp_path / "words.html"), width=390) as watched:
        place = started(watched, "words")
        again(watched, place, lambda: watched.page.fill(f"{place} input", "cat"))
        assert watched.page.locator(f"{place} tr").count() == 6
        assert watched.errors == []


def test_a_drawing_machine_of_ones_own_runs_in_one_file(open_page: Open, tmp_path: Path) -> None:
    folder = tmp_path / "painter"
    done = CliRunner().invoke(
        main, ["train", "text_to_image", "--out", str(folder), "--size", "48", "--steps", "2"]
    )
    assert done.exit_code == 0, done.output
    with open_page(page_of(folder, tmp_path / "painter.html")) as watched:
        place = started(watched, "draw")
        assert watched.page.locator(f"{place} .mmt-error:visible").count() == 0
        assert "A drawing took" in watched.page.inner_text(place)
        assert watched.errors == []


def test_questions_to_a_model_of_ones_own_run_in_one_file(
    open_page: Open, photos: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "asker"
    done = CliRunner().invoke(
        main, ["train", "vqa", "--out", str(folder), "--size", "64", "--steps", "2"]
    )
    assert done.exit_code == 0, done.output
    question = "what is on the left"
    told = CliRunner().invoke(
        main, ["ask", str(folder), str(photos / "00.png"), question, "--top", "1"]
    )
    with open_page(page_of(folder, tmp_path / "asker.html")) as watched:
        place = started(watched, "ask")
        picture = photos / "00.png"
        again(
            watched,
            place,
            lambda: watched.page.set_input_files(f"{place} input[type=file]", picture),
        )
        again(watched, place, lambda: watched.page.fill(f"{place} input[type=text]", question))
        answer = watched.page.inner_text(f"{place} strong >> nth=0")
        assert answer in told.output
        assert watched.errors == []


def test_what_no_page_runs_is_refused_in_words(tmp_path: Path) -> None:
    for folder, out, message in (
        (tmp_path, tmp_path / "x.html", "holds no model"),
        (tmp_path / "none", tmp_path / "x.html", "there is no folder"),
        (tmp_path, tmp_path / "x.txt", "must end in .html"),
    ):
        done = CliRunner().invoke(main, ["export", str(folder), str(out)])
        assert done.exit_code != 0
        assert message in done.output
    from mmtutor.show_and_tell import Config, ShowAndTell

    saving.save(ShowAndTell(Config.world(10)), tmp_path / "told")
    done = CliRunner().invoke(main, ["export", str(tmp_path / "told"), str(tmp_path / "x.html")])
    assert "which no page runs" in done.output
    assert not (tmp_path / "x.html").exists()


def test_packing_keeps_what_it_says() -> None:
    """Half precision, few bits, and differences; never beyond half a step of the row's scale."""
    g = torch.Generator().manual_seed(0)
    x = {"a.weight": torch.randn(7, 33, generator=g), "b": torch.randn(5, generator=g)}
    x["c"] = torch.zeros(3, 4)
    for bits in (2, 5, 8, 10, 12, 16):
        file = json.loads(json.dumps(live.packed(x, {}, bits)))
        back = live.unpacked(file)
        assert set(back) == set(x)
        assert torch.equal(back["b"], x["b"].half().float())
        step = x["a.weight"].abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
        bound = 0.51 * step + 1e-3 * step if bits < 16 else x["a.weight"].abs() * 2**-10
        assert bool(((back["a.weight"] - x["a.weight"]).abs() <= bound).all())
        assert torch.equal(back["c"], x["c"])
    turned = dict(reversed(x.items()))
    assert live.script("x", live.packed(turned, {}, 10)) == live.script("x", live.packed(x, {}, 10))
    near = {n: t + 0.01 * torch.randn(t.shape, generator=g) for n, t in x.items()}
    base = live.unpacked(live.packed(x, {}, 10))
    back = live.unpacked(live.packed(near, {}, 6, base), base)
    assert float((back["a.weight"] - near["a.weight"]).abs().max()) < 0.004
    for wrong, bits, message in (
        ({"a": torch.tensor([float("nan")])}, 8, "half precision cannot hold"),
        ({"a": torch.tensor([1e6])}, 16, "half precision cannot hold"),
        (x, 1, "bits must be"),
    ):
        with pytest.raises(ValueError, match=message):
            live.packed(wrong, {}, bits)


# --- What an attack found ---------------------------------------------------------------------------


def test_the_last_choice_wins_however_fast_it_comes(open_page: Open) -> None:
    with open_page(PLAY) as watched:
        page, place = watched.page, started(watched, "captioner")
        page.evaluate(
            "(place) => { for (const way of ['hard', 'priced', 'soft']) document.querySelector(`${place} [value=${way}]`).click() }",
            place,
        )
        page.wait_for_timeout(1500)
        state = f"document.querySelector('{place}').exhibit.state"
        assert page.evaluate(f"[{state}.way, {state}.running]") == ["soft", "soft"]
        looks = page.evaluate(f"{state}.told.looks.map((w) => Math.max(...w))")
        assert min(looks) < 0.9  # a hard look is at one place


def test_a_failed_load_is_tried_again_and_typing_keeps_its_place(open_page: Open) -> None:
    with open_page(PLAY) as watched:
        page = watched.page
        page.context.route("**/words-1611*", lambda route: route.abort())
        place = '.mmt-exhibit[data-exhibit="words"]'
        page.click(f"{place} button")
        page.wait_for_selector(f"{place} [role=status]:has-text('did not work')")
        watched.errors.clear()
        page.context.unroute("**/words-1611*")
        page.click(f"{place} button")
        page.wait_for_selector(f"{place}[data-ready]")
        # another exhibit begins meanwhile: it must not take the keys away
        page.evaluate("document.querySelector('[data-exhibit=captioner] button').click()")
        page.fill(f"{place} input", "")
        page.focus(f"{place} input")
        page.keyboard.type("king - king", delay=40)
        page.wait_for_selector('.mmt-exhibit[data-exhibit="captioner"][data-ready]')
        assert page.input_value(f"{place} input") == "king - king"
        page.wait_for_selector(f"{place} >> text=Nothing is left of this sum")
        assert watched.errors == []


def test_what_is_pressed_is_said_and_the_browsers_keys_are_left_alone(open_page: Open) -> None:
    with open_page(PLAY) as watched:
        page, place = watched.page, started(watched, "captioner")
        pressed = page.locator(f"{place} .mmt-sentence button").first.get_attribute("aria-pressed")
        assert pressed == "false"
        thing = f"document.querySelector('{place}').exhibit.state.scene.things[0]"
        before = page.evaluate(f"JSON.stringify({thing})")
        taken = page.evaluate(
            "(place) => { const one = document.querySelector(`${place} .mmt-thing`); return ['+', '-', 'ArrowLeft'].map((key) => {"
            " const event = new KeyboardEvent('keydown', { key, ctrlKey: key !== 'ArrowLeft', altKey: key === 'ArrowLeft', bubbles: true, cancelable: true });"
            " one.dispatchEvent(event); return event.defaultPrevented }) }",
            place,
        )
        assert taken == [False, False, False]
        assert page.evaluate(f"JSON.stringify({thing})") == before
        for _ in range(2):  # both things go; the keyboard stays within the stage
            page.locator(f"{place} .mmt-thing").first.focus()
            page.keyboard.press("Delete")
        assert page.evaluate(
            f"document.querySelector('{place} .mmt-stage').contains(document.activeElement)"
        )


def test_a_sound_without_numbers_is_refused(open_page: Open, tmp_path: Path) -> None:
    with open_page(PLAY) as watched:
        page, place = watched.page, started(watched, "hear")
        samples = np.full(16_000, 0.1, "<f4")
        samples[::100] = np.nan
        head = b"RIFF" + (36 + samples.nbytes).to_bytes(4, "little") + b"WAVEfmt "
        head += (16).to_bytes(4, "little") + (3).to_bytes(2, "little") + (1).to_bytes(2, "little")
        head += (8000).to_bytes(4, "little") + (32_000).to_bytes(4, "little")
        head += (4).to_bytes(2, "little") + (32).to_bytes(2, "little")
        sound = tmp_path / "nan.wav"
        sound.write_bytes(head + b"data" + samples.nbytes.to_bytes(4, "little") + samples.tobytes())
        page.set_input_files(f"{place} input[type=file]", sound)
        page.wait_for_selector(f"{place} .mmt-error:visible")
        assert "NaN" not in page.inner_text(place)


def test_a_caption_cannot_break_the_page_it_is_put_in() -> None:
    text = "html comments open with <!-- and <script> opens a script </script> \u2028"
    made = live.script("own", live.packed({}, {"texts": [text]}))
    assert "<" not in made
    assert json.loads(made[made.index(",") + 1 : made.rindex(")")])["about"]["texts"] == [text]


def test_a_damaged_note_is_said_in_words_and_no_page_is_lost(tmp_path: Path) -> None:
    from mmtutor.cli.tasks import Table, TableConfig

    vocabulary = {"words": ["a", "b", "c"], "counts": [3, 2, 1], "specials": []}
    folder = saving.save(
        Table(TableConfig(3, 4), torch.randn(3, 4)), tmp_path / "w", vocabulary=vocabulary
    )
    out = tmp_path / "page.html"
    assert live.write(folder, out) == out.stat().st_size > 10_000
    kept, note = out.read_bytes(), folder / "model.json"
    good = json.loads(note.read_text(encoding="utf-8"))
    for change in (
        {"more": {"vocabulary": {**vocabulary, "words": 5}}},
        {"more": {"vocabulary": {**vocabulary, "words": [1, None, {}]}}},
        {"more": {"vocabulary": {**vocabulary, "words": ["a", "b", "\ud800"]}}},
        {"config": {"words": "3", "size": 4}},
        {"config": {}},
        {"same": {"x": "y"}},
        {"class": "mmtutor.show_attend_tell.ShowAttendTell"},
    ):
        note.write_text(json.dumps({**good, **change}), encoding="utf-8")
        with pytest.raises(ValueError):
            live.write(folder, out)
        assert out.read_bytes() == kept
