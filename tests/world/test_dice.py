"""Sources of chance: they depend on the key alone, and are the same on every machine."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from mmtutor.world._dice import rng


def test_rng_depends_on_the_key_alone() -> None:
    assert rng("a", 1).random(4).tolist() == rng("a", 1).random(4).tolist()
    assert rng("a", np.int64(1)).random() == rng("a", 1).random()
    keys = [
        ("a", 1),
        ("a", 2),
        ("a", "1"),
        ("a1",),
        ("a", 1, 0),
        ("a", "", 1),
        (1, "a"),
        ("ab", "c"),
        ("a", "bc"),
        (-1,),
    ]
    assert len({rng(*key).random() for key in keys}) == len(keys)


def test_rng_is_the_same_on_every_machine() -> None:
    """Worked out by hand from the definition: BLAKE2b of the length and the JSON text of the key seeds PCG64."""
    text = b'["scenes", "train", 0, 7]'
    seed = hashlib.blake2b(len(text).to_bytes(8, "little") + text, digest_size=16).hexdigest()
    expected = np.random.Generator(np.random.PCG64(int(seed, 16))).integers(0, 2**32, 5)
    np.testing.assert_array_equal(rng("scenes", "train", 0, 7).integers(0, 2**32, 5), expected)


def test_rng_streams_are_unrelated() -> None:
    first = np.array(
        [rng("toy", "train", 0, index).random(2) for index in range(4000)]
    )  # (4000, 2)
    assert abs(first.mean() - 0.5) < 4 * np.sqrt(1 / 12 / first.size)
    assert abs(np.corrcoef(first[:-1, 0], first[1:, 0])[0, 1]) < 4 / np.sqrt(4000)


@pytest.mark.parametrize("key", [(1.5,), (None,), (True,), (b"a",), (("a",),)])
def test_rng_takes_strings_and_integers(key: tuple) -> None:
    with pytest.raises(TypeError, match="strings and integers"):
        rng(*key)
