"""Bring your own pictures: the ten lines on small folders in several languages, the search against plain sorting, and what may be wrong with a folder."""

from __future__ import annotations

import functools
import json
import unicodedata
import warnings
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmtutor import finder as finder_module
from mmtutor import hub
from mmtutor.finder import Finder, Hit, look, pairs
from mmtutor.joint_embedding import Config, JointEmbedding, Pairs, encode_texts
from mmtutor.kit import saving, training, vision
from mmtutor.kit.text import Vocabulary, ngrams, tokenize
from mmtutor.kit.vision import ImageEncoder, standardize

COLOURS = {
    "red": (210, 20, 30),
    "green": (20, 160, 40),
    "blue": (20, 40, 200),
    "yellow": (240, 220, 20),
    "white": (250, 250, 250),
    "black": (10, 10, 10),
}
LANGUAGES = {
    "English": {name: f"something {name}, all over" for name in COLOURS},
    "German": dict(
        zip(COLOURS, ("Rotgemaltes", "Grüngemaltes", "Blaugemaltes", "Gelbes", "Schneeweißes", "Schwarzes"))
    ),
    "Korean": dict(
        zip(COLOURS, ("빨간색이 보인다", "초록색이 보인다", "파란색이 보인다", "노란색이 보인다", "하얀색이 보인다", "검은색이 보인다"))
    ),
    "Japanese": dict(zip(COLOURS, ("赤い絵", "緑の絵", "青い絵", "黄色い絵", "白い絵", "黒い絵"))),
}  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MMTUTOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def encoder() -> ImageEncoder:
    return ImageEncoder(layer="vector")


def painted(colour: str, number: int = 0) -> Image.Image:
    dice = np.random.default_rng(number)
    noise = dice.normal(0, 12, (40, 56, 3)) + COLOURS[colour]
    return Image.fromarray(noise.clip(0, 255).astype(np.uint8))


def make_folder(folder: Path, language: str = "English", each: int = 4, **other: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for colour in COLOURS:
        for number in range(each):
            name = f"{colour}{number}.png"
            painted(colour, number).save(folder / name)
            lines.append({"file_name": name, "captions": [LANGUAGES[language][colour]]})
    lines = [
        line | {"captions": [other[line["file_name"][:-4]]]}
        if line["file_name"][:-4] in other
        else line
        for line in lines
    ]
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    (folder / "metadata.jsonl").write_text(text, "utf-8")
    return folder


def ten_lines(folder: Path, encoder: ImageEncoder, split=ngrams, seed: int = 0, **fit) -> Finder:
    photos = hub.folder(folder, pixels=64)
    seen = look(photos, encoder)
    captions, owner = pairs(photos)
    vocabulary = Vocabulary(chain.from_iterable(map(split, captions)))
    texts = encode_texts(captions, vocabulary, split)
    torch.manual_seed(seed)
    model = JointEmbedding(Config.small(len(vocabulary)))
    settings = dict(epochs=30, batch_size=16, lr=3e-3, progress=False, seed=seed) | fit
    training.fit(model, Pairs(standardize(seen), texts, owner), collate=dict, **settings)
    return Finder(model, vocabulary, encoder, photos, seen, split=split)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, encoder: ImageEncoder) -> Finder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMTUTOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        return ten_lines(make_folder(tmp_path_factory.mktemp("mine") / "mine"), encoder)


# --- The ten lines --------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_ten_lines_in_any_language(
    language: str, tmp_path: Path, encoder: ImageEncoder
) -> None:
    split = functools.partial(ngrams, shortest=2) if language == "Japanese" else ngrams
    mine = ten_lines(make_folder(tmp_path / "mine", language), encoder, split)
    assert len(mine) == 24
    for colour, text in LANGUAGES[language].items():
        found = mine.pictures(text, 4)
        assert [hit.files[0][:-5] for hit in found] == [colour] * 4
        painted(colour, 99).save(tmp_path / "new.png")
        (hit,) = mine.texts(tmp_path / "new.png", 1)
        assert hit.captions == [text]
        assert sorted(hit.files) == [f"{colour}{number}.png" for number in range(4)]
    mine.save(tmp_path / "saved")
    again = Finder.load(tmp_path / "saved")
    for text in LANGUAGES[language].values():
        assert again.pictures(text, 24) == mine.pictures(text, 24)
    assert again.texts(tmp_path / "new.png", 6) == mine.texts(tmp_path / "new.png", 6)
    assert repr(again) == repr(mine)
    assert not list((tmp_path / "saved").glob("*.p*"))  # no pickle, no picture


def test_pieces_of_words_bear_a_slip_and_glue(made: Finder, tmp_path: Path, encoder) -> None:
    assert made.pictures("yelow", 1)[0].files[0].startswith("yellow")
    assert made.pictures("YELLOWISH!", 1)[0].files[0].startswith("yellow")
    german = ten_lines(make_folder(tmp_path / "mine", "German"), encoder)
    assert german.pictures("ein Schwarzer", 1)[0].files[0].startswith("black")
    assert german.pictures("Schnee", 1)[0].files[0].startswith("white")
    words = ten_lines(make_folder(tmp_path / "mine", "German"), encoder, tokenize)
    with pytest.raises(ValueError, match="nothing of 'Schnee' was in the captions"):
        words.pictures("Schnee")


def test_tags_and_several_captions_and_none(tmp_path: Path, encoder: ImageEncoder) -> None:
    mine = make_folder(tmp_path / "mine")
    lines = [
        {
            "file_name": f"{colour}{number}.png",
            "captions": [colour, "paint", "square"][: 3 * (number > 0)],
        }
        for colour in COLOURS
        for number in range(4)
    ]
    (mine / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    photos = hub.folder(mine, pixels=64, uncaptioned="keep")
    tags, owner = pairs(photos, tags=True)
    assert tags[:2] == ["black, paint, square"] * 2
    assert owner.tolist() == [n for n in range(24) if n % 4]
    single, owner = pairs(photos)
    assert single[:3] == ["black", "paint", "square"]
    assert owner.tolist() == [n for n in range(24) if n % 4 for _ in range(3)]
    vocabulary = Vocabulary(chain.from_iterable(map(ngrams, tags)))
    torch.manual_seed(0)
    model = JointEmbedding(Config.small(len(vocabulary)))
    seen = look(photos, encoder)
    data = Pairs(
        standardize(seen), encode_texts(tags, vocabulary, ngrams), pairs(photos, tags=True)[1]
    )
    training.fit(model, data, collate=dict, epochs=30, lr=3e-3, progress=False)
    found = Finder(model, vocabulary, encoder, photos, seen).pictures(["square", "blue"], 4)
    assert sorted(hit.files[0] for hit in found) == [f"blue{n}.png" for n in range(4)]  # blue0 too
    assert sorted(len(hit.captions) for hit in found) == [0, 3, 3, 3]


def test_classes_stand_in_for_captions(tmp_path: Path) -> None:
    for colour in ("red", "blue"):
        for number in range(2):
            (tmp_path / "mine" / colour).mkdir(parents=True, exist_ok=True)
            painted(colour, number).save(tmp_path / "mine" / colour / f"{number}.png")
    photos = hub.folder(tmp_path / "mine", pixels=64)
    assert pairs(photos)[0] == ["blue", "blue", "red", "red"]
    assert pairs(photos)[1].tolist() == [0, 1, 2, 3]


# --- Against plain sorting ------------------------------------------------------------------------


def test_the_search_is_a_sort_by_cosine(made: Finder) -> None:
    query = made._read(["something red or white"])[0]
    cosine = made.vectors @ query
    order = cosine.argsort(descending=True, stable=True)[:7].tolist()
    found = made.pictures("something red or white", 7)
    assert [hit.files[0] for hit in found] == [made.files[n] for n in order]
    np.testing.assert_allclose([hit.score for hit in found], cosine[order], atol=1e-6)
    assert [hit.captions for hit in found] == [made.captions[n] for n in order]
    assert isinstance(found[0], Hit)
    assert len(made.pictures("red", 1000)) == 24
    assert len(made.texts(painted("red"), 1000)) == 6


def test_the_index_finds_the_same(made: Finder, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    made.save(tmp_path / "a")
    other = Finder.load(tmp_path / "a", made.encoder)
    other.by_index = True
    for text in LANGUAGES["English"].values():
        exact, near = made.pictures(text, 4), other.pictures(text, 4)
        assert {hit.files[0] for hit in exact} == {hit.files[0] for hit in near}
    assert other.texts(painted("red"), 1)[0].captions == made.texts(painted("red"), 1)[0].captions
    other.save(tmp_path / "b")
    assert Finder.load(tmp_path / "b", made.encoder).by_index


def test_features_are_standardized_as_in_training(made: Finder, encoder, tmp_path: Path) -> None:
    photos = hub.folder(make_folder(tmp_path / "mine"), pixels=64)
    seen = look(photos, encoder)
    with torch.no_grad():
        expected = made.model.embed_pictures(standardize(seen))
    torch.testing.assert_close(made.vectors, expected, rtol=0, atol=1e-6)
    some = photos.select(range(5))
    other = Finder(made.model, made.vocabulary, encoder, some, seen[:5], reference=seen)
    torch.testing.assert_close(other.vectors, expected[:5], rtol=0, atol=1e-6)
    assert len(other.pictures("red", 9)) == 5


def test_looking_in_pieces_gives_the_same(
    encoder: ImageEncoder, tmp_path: Path, monkeypatch
) -> None:
    photos = hub.folder(make_folder(tmp_path / "mine", each=2), pixels=64)
    whole = look(photos, encoder)
    assert whole.dtype == torch.float16
    assert whole.shape == (12, 1280)
    torch.testing.assert_close(look(photos, encoder, chunk=5), whole, rtol=0.01, atol=0.01)
    pixels = photos[:]["image"]
    torch.testing.assert_close(look(pixels, encoder, chunk=12), whole, rtol=0, atol=0)
    plain = vision.features(pixels, encoder, cache=False).float()
    torch.testing.assert_close(
        look(photos, encoder, mirrored=False).float(), plain, rtol=0.01, atol=0.01
    )
    turned = vision.features(pixels[:, :, ::-1].copy(), encoder, cache=False).float()
    torch.testing.assert_close(whole.float(), (plain + turned) / 2, rtol=0.01, atol=0.01)
    monkeypatch.setattr(vision, "_encode", None)  # from the cache the second time
    assert torch.equal(look(photos, encoder, chunk=5), look(photos, encoder, chunk=5))


def test_pictures_are_held_a_chunk_at_a_time(encoder: ImageEncoder, monkeypatch) -> None:
    held = []

    def features(images: np.ndarray, encoder: ImageEncoder, cache: bool) -> torch.Tensor:
        held.append(len(images))
        return torch.zeros(len(images), 4, dtype=torch.float16)

    monkeypatch.setattr(vision, "features", features)
    assert look(np.zeros((1203, 2, 2, 3), np.uint8), encoder).shape == (1203, 4)
    assert held == [500, 500, 500, 500, 203, 203]


def test_any_sort_of_picture_is_looked_at(made: Finder, tmp_path: Path) -> None:
    picture = painted("blue", 5)
    picture.save(tmp_path / "x.png")
    expected = made.texts(tmp_path / "x.png", 3)
    assert made.texts(str(tmp_path / "x.png"), 3) == expected
    for same in (picture, np.asarray(picture), torch.from_numpy(np.array(picture))):
        assert made.texts(same, 3) == expected
    assert expected[0].captions == [LANGUAGES["English"]["blue"]]


# --- What may be wrong ----------------------------------------------------------------------------


def test_a_folder_of_one_picture(tmp_path: Path, encoder: ImageEncoder) -> None:
    (tmp_path / "mine").mkdir()
    painted("red").save(tmp_path / "mine" / "a.png")
    (tmp_path / "mine" / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "red"}')
    with pytest.warns(hub.FolderWarning, match="nothing will be learned"):
        mine = ten_lines(tmp_path / "mine", encoder, epochs=2)
    assert mine.pictures("red") == [Hit(mine.pictures("red")[0].score, ["red"], ["a.png"])]
    assert mine.texts(painted("blue"))[0].captions == ["red"]


@pytest.mark.parametrize("batch_size", [1, 24])
def test_batches_of_one_and_of_equal_captions(tmp_path: Path, encoder, batch_size: int) -> None:
    """All captions are equal, or a batch has one pair: nothing to learn, and nothing breaks."""
    folder = make_folder(tmp_path / "mine", each=1)
    lines = [{"file_name": f"{colour}0.png", "text": "a square"} for colour in COLOURS]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.warns(hub.FolderWarning, match="all texts say the same .'a square'.*nothing"):
        mine = ten_lines(folder, encoder, epochs=2, batch_size=batch_size)
    assert all(torch.isfinite(p).all() for p in mine.model.parameters())
    assert len(mine.texts_known) == 1
    assert len(mine.texts(painted("red"))[0].files) == 6


def test_pictures_that_are_all_equal_have_features_without_deviation(
    tmp_path: Path, encoder: ImageEncoder
) -> None:
    """Standardized they are zero vectors."""
    for name in "abc":
        (tmp_path / "mine").mkdir(exist_ok=True)
        painted("red").save(tmp_path / "mine" / f"{name}.png")
    lines = [{"file_name": f"{name}.png", "text": f"number {name}"} for name in "abc"]
    (tmp_path / "mine" / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    mine = ten_lines(tmp_path / "mine", encoder, epochs=2)
    assert torch.isfinite(mine.vectors).all()
    assert len(mine.pictures("number a")) == 3


def test_features_that_are_not_finite_are_named(made: Finder, encoder, tmp_path: Path) -> None:
    photos = hub.folder(make_folder(tmp_path / "mine"), pixels=64)
    seen = look(photos, encoder)
    seen[3, 7] = float("nan")
    with pytest.raises(ValueError, match=r"the features of black3\.png are not finite"):
        Finder(made.model, made.vocabulary, encoder, photos, seen)
    with pytest.raises(ValueError, match="hold NaN or infinity"):
        made.model.embed_pictures(standardize(seen))


def test_a_damaged_picture_is_left_out_everywhere(tmp_path: Path, encoder: ImageEncoder) -> None:
    folder = make_folder(tmp_path / "mine")
    (folder / "red1.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"red1\.png' cannot be read as a picture"):
        ten_lines(folder, encoder)
    with pytest.warns(hub.FolderWarning, match=r"red1\.png"):
        photos = hub.folder(folder, pixels=64, damaged="skip")
    captions, owner = pairs(photos)
    assert len(captions) == len(look(photos, encoder)) == 23
    assert owner.tolist() == list(range(23))
    other = ten_lines(make_folder(tmp_path / "other"), encoder, epochs=1)
    with pytest.raises(ValueError, match=r"red1\.png' cannot be read as a picture"):
        other.texts(folder / "red1.png")


@pytest.mark.parametrize("text", ["…", "!!!", "🐶"])
def test_a_caption_without_a_word(tmp_path: Path, text: str) -> None:
    photos = hub.folder(make_folder(tmp_path / "mine", red1=text), pixels=64)
    with pytest.raises(ValueError, match=r"1 texts have no word, the first of red1\.png: "):
        pairs(photos)
    with pytest.warns(hub.FolderWarning, match=r"red1\.png"):
        captions, owner = pairs(photos, wordless="skip")
    assert len(captions) == 23
    assert sorted({*range(24)} - {*owner.tolist()}) == [photos[:]["file"].index("red1.png")]
    with pytest.raises(ValueError, match="wordless must be one of"):
        pairs(photos, wordless="keep")


def test_no_metadata_says_how_to_write_them(tmp_path: Path, encoder: ImageEncoder) -> None:
    folder = make_folder(tmp_path / "mine")
    (folder / "metadata.jsonl").unlink()
    photos = hub.folder(folder, pixels=64)
    with pytest.raises(ValueError, match=r"no captions: write them into metadata\.jsonl"):
        pairs(photos)
    empty = photos.add_column("captions", [[] for _ in photos])
    with pytest.raises(ValueError, match="no picture has a text to learn from"):
        pairs(empty)


def test_a_collection_without_captions_can_be_searched(
    made: Finder, encoder, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "mine")
    trained_on = look(hub.folder(folder, pixels=64), encoder)
    (folder / "metadata.jsonl").unlink()
    photos = hub.folder(folder, pixels=64)
    other = Finder(
        made.model, made.vocabulary, encoder, photos, look(photos, encoder), reference=trained_on
    )
    assert other.pictures("red", 1)[0].captions == []
    assert other.pictures("red", 1)[0].files[0].startswith("red")
    with pytest.raises(ValueError, match="the collection has no texts"):
        other.texts(painted("red"))
    other.save(tmp_path / "saved")
    assert Finder.load(tmp_path / "saved", encoder).pictures("red", 24) == other.pictures("red", 24)


def test_names_in_either_form_of_unicode(tmp_path: Path, encoder: ImageEncoder) -> None:
    disk = unicodedata.normalize("NFD", "빨간 é.png")
    folder = make_folder(tmp_path / "mine", "Korean", each=2)
    (folder / "red0.png").rename(folder / disk)
    table = (folder / "metadata.jsonl").read_text("utf-8")
    (folder / "metadata.jsonl").write_text(
        table.replace("red0.png", unicodedata.normalize("NFC", disk)), "utf-8"
    )
    mine = ten_lines(folder, encoder)
    files = {hit.files[0] for hit in mine.pictures(unicodedata.normalize("NFD", "빨간색"), 2)}
    assert files == {"red1.png", disk}  # as the disk spells it
    assert (folder / disk).is_file()
    mine.save(tmp_path / "saved")
    assert disk in Finder.load(tmp_path / "saved", encoder).files


def test_unknown_pieces_do_not_drown_the_known_ones(made: Finder) -> None:
    known = [piece for piece in ngrams("redzzzz") if piece in made.vocabulary]
    assert 0 < len(known) < len(ngrams("redzzzz")) / 2
    ids = torch.tensor([made.vocabulary.encode(known)])
    with torch.no_grad():
        expected = made.model.embed_texts(ids)
    assert torch.equal(made._read(["redzzzz"]), expected)
    assert made.pictures("redzzzz", 1)[0].files[0].startswith("red")


@pytest.mark.parametrize(
    ("query", "error", "message"),
    [
        ("", ValueError, "there is no word in ''"),
        ("…", ValueError, "there is no word"),
        ("zzzz", ValueError, "nothing of 'zzzz' was in the captions"),
        (3, TypeError, "expected a text, or a list of tags, got 3"),
        (["red", None], TypeError, "expected a text"),
        ([], ValueError, "there is no word"),
    ],
)
def test_bad_queries(made: Finder, query: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        made.pictures(query)


def test_a_text_that_is_too_long_for_a_batch_is_told(tmp_path: Path) -> None:
    """Beside it 127 others are padded to 60,000 pieces: 8 GB."""
    folder = make_folder(tmp_path / "mine", red1="red " * 5000, red2="赤" * 3000)
    message = r"2 texts have more than 2,000 characters, the longest of red1\.png 20,000: "
    with pytest.warns(hub.FolderWarning, match=message):
        assert len(pairs(hub.folder(folder))[0]) == 24


def test_k_of_other_libraries(made: Finder) -> None:
    for k in (np.int64(2), torch.tensor(2)):
        assert made.pictures("red", k) == made.pictures("red", 2)


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "2", np.float64(2)])
def test_bad_k(made: Finder, k: object) -> None:
    with pytest.raises(ValueError, match="k must be a whole number of at least 1"):
        made.pictures("red", k)


def test_bad_pictures(made: Finder, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        made.texts(tmp_path / "nowhere.png")
    with pytest.raises(TypeError, match="must be a PIL image"):
        made.texts({"a": 1})
    with pytest.raises(ValueError, match="must have shape"):
        made.texts(np.zeros((2, 3, 4, 5)))
    half = tmp_path / "half.jpg"
    painted("red").save(half)
    half.write_bytes(half.read_bytes()[:-300])
    with pytest.raises(ValueError, match=r"half\.jpg' cannot be read as a picture"):
        made.texts(half)
    with Image.open(half) as opened, pytest.raises(ValueError, match=r"half\.jpg' cannot be read"):
        made.texts(opened)


def test_parts_that_do_not_fit(made: Finder, encoder: ImageEncoder, tmp_path: Path) -> None:
    photos = hub.folder(make_folder(tmp_path / "mine"), pixels=64)
    seen = look(photos, encoder)
    maps = ImageEncoder(pretrained=False)
    for change, message in (
        ({"features": seen[:5]}, r"24 pictures need features \(24, 1280\), got \(5, 1280\)"),
        ({"vocabulary": Vocabulary(["a"])}, "it is another one's"),
        ({"encoder": maps}, "gives 112 as a map"),
        ({"split": str.split}, "split must be tokenize or ngrams"),
        ({"split": functools.partial(ngrams)}, None),
    ):
        parts = dict(model=made.model, vocabulary=made.vocabulary, encoder=encoder, photos=photos,
                     features=seen) | change  # fmt: skip
        if message is None:
            Finder(**parts)
            continue
        with pytest.raises(ValueError, match=message):
            Finder(**parts)
    with pytest.raises(ValueError, match="needs an encoder of layer='vector', got 'map'"):
        look(photos, maps)
    with pytest.raises(ValueError, match="no pictures"):
        look(photos.select([]), encoder)
    with pytest.raises(ValueError, match="no pictures"):
        Finder(made.model, made.vocabulary, encoder, photos.select([]), seen[:0])
    with pytest.raises(ValueError, match="chunk must be"):
        look(photos, encoder, chunk=0)


def test_loading_checks_the_encoder(made: Finder, tmp_path: Path) -> None:
    made.save(tmp_path)
    with pytest.raises(
        ValueError, match=r"this encoder is efficientnet-lite0 .*'pretrained': False"
    ):
        Finder.load(tmp_path, ImageEncoder(layer="vector", pretrained=False))
    other = ImageEncoder(layer="vector")
    with torch.no_grad():
        next(other.parameters()).mul_(1.5)
    with pytest.raises(ValueError, match=r"sees something else .* its weights are others"):
        Finder.load(tmp_path, other)
    assert Finder.load(tmp_path, made.encoder).encoder is made.encoder


def test_loading_what_is_no_finder(made: Finder, tmp_path: Path) -> None:
    saving.save(made.model, tmp_path)
    with pytest.raises(ValueError, match="holds a model without a collection"):
        Finder.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        Finder.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        *(({name: ...}, name) for name in ("words", "counts", "split", "pixels", "captions")),
        ({"encoder": {"name": "efficientnet-lite0"}}, "encoder"),
        ({"split": {"name": "os.system"}}, "split"),
        ({"split": {"name": "ngrams", "widest": 3}}, "split"),
        ({"files": ["red0.png"]}, "captions, vectors, text_vectors"),
        ({"files": [3] * 24}, "files"),
        ({"captions": [[]] * 24}, "text_vectors"),
        ({"captions": [["something red, all over", 3]] * 24}, "captions"),
        ({"mirrored": ..., "index": "yes"}, "mirrored, index"),
    ],
)
def test_a_note_of_another_version(made: Finder, tmp_path: Path, changes: dict, names: str) -> None:
    file = made.save(tmp_path) / saving.ABOUT
    about = json.loads(file.read_text("utf-8"))
    note = about["more"]["finder"] | changes
    about["more"]["finder"] = {name: value for name, value in note.items() if value is not ...}
    file.write_text(json.dumps(about), "utf-8")
    with pytest.raises(ValueError, match=f"the finder in .* cannot be read: {names} missing, or"):
        Finder.load(tmp_path, made.encoder)


def test_a_model_on_another_device(made: Finder, tmp_path: Path, monkeypatch) -> None:
    """Training leaves a model on the GPU, where there is one: ``meta`` plays the GPU."""
    given = []

    def embedded(self: JointEmbedding, x: torch.Tensor) -> torch.Tensor:
        given.append(x.device.type)
        return torch.ones(len(x), 256)

    monkeypatch.setattr(JointEmbedding, "embed_pictures", embedded)
    monkeypatch.setattr(JointEmbedding, "embed_texts", embedded)
    there = Finder.__new__(Finder)
    there.__dict__.update(made.__dict__, model=JointEmbedding(made.model.config).to("meta"))
    there.pictures("red")
    there.texts(painted("red"))
    assert given == ["meta", "meta"]


def test_a_picture_that_asks_is_not_kept(made: Finder, cache: Path) -> None:
    kept = {path for path in cache.rglob("*") if path.is_file()}
    made.texts(painted("red", 7))
    assert {path for path in cache.rglob("*") if path.is_file()} == kept


def test_settings_of_the_pieces_are_kept(tmp_path: Path, encoder: ImageEncoder) -> None:
    split = functools.partial(ngrams, shortest=2, longest=4)
    mine = ten_lines(make_folder(tmp_path / "mine"), encoder, split, epochs=1)
    mine.save(tmp_path / "saved")
    again = Finder.load(tmp_path / "saved", encoder)
    assert again.split("dogs") == split("dogs") != ngrams("dogs")
    words = ten_lines(make_folder(tmp_path / "mine"), encoder, tokenize, epochs=1)
    words.save(tmp_path / "saved")
    assert Finder.load(tmp_path / "saved", encoder).split is tokenize


def test_nothing_warns(made: Finder, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.pictures("red")
        made.texts(painted("red"))
        made.save(tmp_path)
        Finder.load(tmp_path, made.encoder)


def test_the_same_seed_gives_the_same_finder(tmp_path: Path, encoder: ImageEncoder) -> None:
    folder = make_folder(tmp_path / "mine", each=2)
    a, b, c = (ten_lines(folder, encoder, seed=seed, epochs=2) for seed in (0, 0, 1))
    assert torch.equal(a.vectors, b.vectors)
    assert not torch.equal(a.vectors, c.vectors)


def test_settings_for_a_small_collection() -> None:
    config = Config.small(50, joint=64)
    assert (config.vocabulary, config.joint, config.text) == (50, 64, "sum")
    assert config.false_negatives == "mask"
    assert config.dropout > Config.world(50).dropout


def test_a_search_in_thirty_thousand_is_exact_and_quick(made: Finder) -> None:
    big = Finder.__new__(Finder)
    big.__dict__.update(made.__dict__)
    dice = torch.Generator().manual_seed(0)
    big.vectors = torch.nn.functional.normalize(torch.randn(30_000, 256, generator=dice), dim=1)
    big.files = [f"{number}.jpg" for number in range(30_000)]
    big.captions = [[] for _ in big.files]
    query = made._read(["something red"])[0]
    big.vectors[29_876] = query
    assert big.pictures("something red", 3)[0].files == ["29876.jpg"]


def test_the_docstring_holds_the_ten_lines() -> None:
    for name in ("hub.folder", "look(", "pairs(", "Vocabulary(", "training.fit(", ".save("):
        assert name in finder_module.__doc__
