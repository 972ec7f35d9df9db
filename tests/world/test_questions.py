"""Questions: balanced pairs, an oracle, and nothing to be guessed without looking."""

import hashlib
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtutor.world import cast, questions, scenes
from mmtutor.world.questions import answer
from mmtutor.world.scenes import Placed, Scene

TRAIN = [questions.pair("train", number) for number in range(350)]
TEST = [questions.pair("test", number) for number in range(150)]


def by_hand() -> Scene:
    things = (
        Placed("dog", "large", 250, 260, 464),
        Placed("car", "small", 760, 250, 304),
        Placed("cat", "large", 500, 740, 464),
        Placed("cat", "small", 620, 800, 304),
    )
    return Scene("snow", things)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("what is to the right of the dog", None),  # the car and both cats
        ("what is above the car", None),  # nothing
        ("what is at the right", ValueError),
        ("what is on the right", "car"),
        ("What is on the left?", "dog"),
        ("what is at the bottom", None),  # two things
        ("what is to the left of the cat", None),  # which cat
        ("what kind of thing is on the right", "vehicle"),
        ("what colour is the thing on the right", "red"),
        ("where is the dog", "top left"),
        ("where is the car", "top right"),
        ("where is the horse", None),
        ("where is the cat", None),
        ("how many cats are there", "two"),
        ("how many animals can you see", "three"),
        ("how many things are there", "four"),
        ("how many horses are there", "zero"),
        ("is there a dog in the picture", "yes"),
        ("is there an apple in the picture", "no"),
        ("is there an animal at the bottom", "yes"),
        ("is the dog to the left of the car", "yes"),
        ("is the car above the dog", "no"),
        ("is the car on the right", "yes"),
        ("which is bigger the dog or the car", "dog"),
        ("which is smaller the dog or the car", "car"),
        ("are there more cats than dogs", "yes"),
        ("are there more dogs than cars", "no"),
        ("what is the background", "snow"),
        ("where was this picture made", "snow"),
        ("is the dog small or large", "large"),
        ("is there a apple in the picture", ValueError),
        ("", ValueError),
        ("where is the dragon", ValueError),
        ("why is the dog there", ValueError),
    ],
)
def test_known_answers(question, expected):
    if expected is ValueError:
        with pytest.raises(ValueError, match="cannot read the question"):
            answer(question, by_hand())
    else:
        assert answer(question, by_hand()) == expected
        assert answer(question, by_hand().to_json()) == expected


def test_there_are_enough_types():
    assert len(questions.TYPES) >= 6
    counts = Counter(pair.type for pair in TRAIN)
    assert set(counts) == set(questions.TYPES)


def test_the_oracle_agrees_with_the_maker():
    """The maker takes answers from the scene as it built it; the oracle reads the question and looks for itself."""
    asked = 0
    for index in range(150):
        scene = scenes.sample("train", index)
        texts = set()
        for one in questions.ask(scene, ("dog", "apple", "owl")):
            assert answer(one.question, scene) == one.answer, one
            assert one.answer in questions.ANSWERS
            texts.add(one.question)
            asked += 1
        assert len(texts) == len(list(questions.ask(scene, ("dog", "apple", "owl"))))
    assert asked > 8000


def test_both_scenes_of_a_pair_answer_and_differ():
    for pair in TRAIN + TEST:
        assert pair.answers[0] != pair.answers[1]
        for scene, expected in zip(pair.scenes, pair.answers, strict=True):
            assert answer(pair.question, scene) == expected
        assert pair.scenes[0] != pair.scenes[1]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("is there a dog in the picture", "existence"),
        ("is the dog on the left", "place"),
        ("where is the dog", "place"),
        ("what is at the top", "place"),
        ("is the dog above the car", "side"),
        ("what kind of thing is to the left of the car", "side"),
        ("is the dog far from the car", "distance"),
        ("what colour is the thing near the dog", "distance"),
        ("is the dog behind the car", "depth"),
        ("how many dogs are there", "count"),
        ("are there more dogs than cars", "count"),
        ("which is bigger the dog or the car", "size"),
        ("is the dog small or large", "size"),
        ("where was this picture made", "ground"),
    ],
)
def test_what_a_question_asks_for(question, expected):
    assert questions.subtype(question) == expected
    assert expected in questions.SUBTYPES


def test_no_answer_hangs_on_a_hair():
    """Worked out from distances to the thresholds, not by moving things."""

    def beside(
        value: float, *thresholds: float
    ) -> bool:  # a threshold lies between a value and 24 units from it
        return any(
            min(abs(value - t), abs(value - t - 1), abs(value - t + 1)) < questions.DOUBT - 2
            for t in thresholds
        )

    hung = checked = 0
    for pair in [
        questions.pair("train", number, only=kind)
        for kind in ("where", "yes/no")
        for number in range(150)
    ]:
        if questions.subtype(pair.question) not in ("place", "distance"):
            continue
        for scene in pair.scenes:
            named = [one for one in scene.things if f"the {one.name}" in pair.question]
            assert questions.clear_cut(pair.question, scene)
            one = named[0]
            words = pair.question.split()
            checked += 1
            if questions.subtype(pair.question) == "distance":
                hung += beside(scenes.gap(*named), *((64,) if "near" in words else (256,)))
            elif "middle" in words:
                inside = [420 <= v <= 604 for v in (one.x, one.y)]
                hung += (
                    any(beside(v, 420, 604) for v in (one.x, one.y))
                    and any(inside)
                    and len(set(inside)) == 1
                )
            elif "left" in words or "right" in words:
                hung += beside(one.x, 360 if "left" in words else 664)
            elif "top" in words or "bottom" in words:
                hung += beside(one.y, 360 if "top" in words else 664)
            else:  # where
                hung += beside(one.x, 360, 664) or beside(one.y, 360, 664)
    assert checked > 250
    assert hung == 0
    # and it does find what hangs on a hair: the dog's centre lies 10 units within the left
    dog = Scene("snow", (Placed("dog", "small", 350, 500, 304),))
    assert not questions.clear_cut("is the dog on the left", dog)
    assert questions.clear_cut("is the dog on the left", dog, 9)
    assert questions.clear_cut("is there a dog in the picture", dog)
    with pytest.raises(ValueError, match="cannot read the question"):
        questions.clear_cut("is the dog asleep", dog)


def test_what_is_asked_about_can_be_seen():
    """At 64 pixels the smallest thing that a yes/no question names keeps dozens of visible pixels."""
    seen = []
    for number in range(80):
        pair = questions.pair("train", number, only="yes/no")
        for scene in pair.scenes:
            owner = scenes.render(scene, 64).owner
            seen += [
                int((owner == k + 1).sum())
                for k, one in enumerate(scene.things)
                if f" {one.name}" in pair.question
            ]
    assert min(seen) >= 40
    assert len(seen) > 100


def test_the_words_are_explained_with_the_thresholds_that_decide():
    said = questions.MEANING
    assert all(
        str(number) in " ".join(said.values())
        for number in (scenes.APART, scenes.NEAR, scenes.FAR, *scenes.MIDDLE)
    )
    assert (scenes.APART, scenes.NEAR, scenes.FAR) == (190, 64, 256)
    assert set(", ".join(said).split(", ")) >= {
        *questions._RELATION_OF,
        *questions._PLACE_OF,
        *scenes.SIZES,
    }


YES_NO = {
    split: [
        (pair.question, scene, said == "yes")
        for number in range(count)
        for pair in [questions.pair(split, number, things=12, only="yes/no")]
        for scene, said in zip(pair.scenes, pair.answers, strict=True)
    ]
    for split, count in (("train", 400), ("test", 250))
}


def test_yes_and_no_need_the_scene_not_only_its_things():
    """Oracles: who sees the scene knows all, who knows only what there is knows existence and half of the rest."""
    right: dict[str, list[bool]] = defaultdict(list)
    for question, scene, expected in YES_NO["test"]:
        assert (answer(question, scene) == "yes") == expected
        _, parts = questions._parse(question)
        named = [parts[key] for key in ("subject", "object") if key in parts]
        there = all(
            any(questions._fits(one, noun, False) for one in scene.things) for noun in named
        )
        right[questions.subtype(question)].append(there == expected)
    assert set(right) == {"existence", "place", "side", "distance", "depth"}
    assert all(right["existence"])
    for kind in ("place", "side", "distance", "depth"):
        assert np.mean(right[kind]) == 0.5, kind
    everything = [one for row in right.values() for one in row]
    assert 0.65 < np.mean(everything) < 0.82
    # the page may say so: half of the questions ask for existence, a quarter each for a place and for two things
    shares = {kind: len(row) / len(everything) for kind, row in right.items()}
    assert 0.38 < shares["existence"] < 0.62
    assert 0.15 < shares["place"] < 0.4


def probe(describe) -> float:
    """The share of unseen yes/no questions that a linear classifier of named features answers rightly."""
    from sklearn.feature_extraction import FeatureHasher
    from sklearn.linear_model import LogisticRegression

    table = FeatureHasher(2**16, input_type="string", alternate_sign=False)
    x = {
        split: table.transform([describe(q, scene) for q, scene, _ in rows])
        for split, rows in YES_NO.items()
    }
    y = {split: [said for _, _, said in rows] for split, rows in YES_NO.items()}
    return LogisticRegression(max_iter=300).fit(x["train"], y["train"]).score(x["test"], y["test"])


def test_yes_and_no_need_question_and_picture_brought_together():
    """Linear probes of the true scene: what is asked plus what is there is chance; what is there as asked is all.

    So the questions can be answered, from 800 rows: a model that stays near one half does not look where it is asked.
    """

    def parts_of(question):
        return questions._parse(question)[1]

    def cell(one):
        return f"{one.x * 3 // 1025} {one.y * 3 // 1025}"

    def asked(question):
        return [
            f"asked {key} {value}" for key, value in parts_of(question).items() if key != "article"
        ]

    def there(scene):
        return [
            f"there {what} {more}"
            for one in scene.things
            for what in (one.name, one.kind)
            for more in ("", cell(one))
        ]

    def added(question, scene):
        return asked(question) + there(scene)

    def looked_up(question, scene):
        parts = parts_of(question)
        how = parts.get("place") or parts.get("relation") or "is there"
        subject, other = (
            next((one for one in scene.things if questions._fits(one, parts[key], False)), None)
            if key in parts
            else None
            for key in ("subject", "object")
        )
        found = [f"{how} {subject is not None}"]
        if subject:
            found += [f"{how} x {cell(subject)[0]}", f"{how} y {cell(subject)[-1]}"]
        if subject and other:
            found += [
                f"{how} dx {(subject.x - other.x) // 128}",
                f"{how} dy {(subject.y - other.y) // 128}",
            ]
            found += [f"{how} gap {scenes.gap(subject, other) // 64}"]
            found += [f"{how} front {scene.things.index(subject) > scene.things.index(other)}"]
        return found

    assert 0.42 < probe(added) < 0.62  # 0.5; 500 rows: a standard error of 0.022
    assert probe(looked_up) > 0.93


def test_twins_are_scenes_like_any_other():
    for pair in TRAIN + TEST:
        for scene in pair.scenes:
            assert not scenes.held_out(scene)
    assert all(scene.variant % 4 for pair in TRAIN for scene in pair.scenes)
    assert not any(scene.variant % 4 for pair in TEST for scene in pair.scenes)


def test_the_question_alone_stays_at_chance():
    """Any rule from the question to an answer is right at most once in a pair; here the best such rule, learnt."""
    votes: dict[str, Counter] = defaultdict(Counter)
    by_type: dict[str, Counter] = defaultdict(Counter)
    for pair in TRAIN:
        votes[pair.question].update(pair.answers)
        by_type[pair.type].update(pair.answers)
    right = Counter()
    for pair in TEST:
        guess = (votes.get(pair.question) or by_type[pair.type]).most_common(1)[0][0]
        hits = sum(guess == expected for expected in pair.answers)
        assert hits <= 1
        right[pair.type] += hits
    for kind in questions.TYPES:
        assert right[kind] <= sum(
            pair.type == kind for pair in TEST
        )  # that is half of its questions
    # even on what it was trained on, the majority by question gets no more than half
    memorised = sum(
        votes[pair.question].most_common(1)[0][0] == expected
        for pair in TRAIN
        for expected in pair.answers
    )
    assert memorised <= len(TRAIN)


def test_yes_and_no_are_exactly_balanced():
    for pair in TRAIN + TEST:
        if set(pair.answers) & {"yes", "no"}:
            assert sorted(pair.answers) == ["no", "yes"]


def test_the_order_in_a_pair_tells_nothing():
    first = Counter(pair.answers[0] for pair in TRAIN if "yes" in pair.answers)
    share = first["yes"] / sum(first.values())
    assert 0.3 < share < 0.7


def test_scenes_ask_their_neighbours_questions():
    numbers, kinds = Counter(), Counter()
    for index in range(0, 120, 2):
        mine, theirs = questions.for_scene("train", index), questions.for_scene("train", index + 1)
        assert [(q.question, q.type) for q in mine] == [(q.question, q.type) for q in theirs]
        numbers[len(mine)] += 1
        kinds.update(q.type for q in mine)
        for a, b in zip(mine, theirs, strict=True):
            assert a.answer != b.answer
            assert answer(a.question, scenes.sample("train", index)) == a.answer
            assert answer(b.question, scenes.sample("train", index + 1)) == b.answer
    assert numbers[questions.PER_SCENE] >= 0.95 * sum(numbers.values())
    assert len(kinds) >= 6


def test_a_pair_depends_on_its_number_only():
    again = [questions.pair.__wrapped__("train", number) for number in (5, 3, 0)]
    assert again == [TRAIN[5], TRAIN[3], TRAIN[0]]
    assert questions.pair("train", 0, seed=1) != TRAIN[0]


@settings(max_examples=150, deadline=None)
@given(
    st.text(max_size=60) | st.sampled_from([pair.question for pair in TRAIN]).map(lambda q: q[:-1])
)
def test_any_text_is_answered_or_refused(text):
    readable = True
    try:
        questions._parse(text)
    except ValueError:
        readable = False
    if readable and not text.lower().startswith("is there a"):  # "a apple" is found out later
        found = answer(text, by_hand())
        assert found is None or found in questions.ANSWERS
    elif not readable:
        with pytest.raises(ValueError, match="cannot read the question"):
            answer(text, by_hand())


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(TRAIN), st.integers(0, 500))
def test_every_question_can_be_put_to_any_scene(pair, index):
    found = answer(pair.question, scenes.sample("train", index))
    assert found is None or found in questions.ANSWERS


def test_mirroring_turns_left_into_right():
    """An answer about sides changes sides when the scene is mirrored, and no other answer changes."""
    other = {"left": "right", "right": "left", "top left": "top right", "top right": "top left"}
    other |= {"bottom left": "bottom right", "bottom right": "bottom left"}
    for pair in TRAIN:
        scene = pair.scenes[0]
        mirrored = Scene(
            scene.background,
            tuple(Placed(t.name, t.size, scenes.UNITS - t.x, t.y, t.side) for t in scene.things),
        )
        question = pair.question
        if "left" in question or "right" in question:
            question = " ".join(
                {"left": "right", "right": "left"}.get(word, word) for word in question.split()
            )
        expected = pair.answers[0]
        if pair.type == "where":
            expected = other.get(expected, expected)
        if (
            "near" not in question and "far" not in question
        ):  # a box of odd width shifts by one unit
            assert answer(question, mirrored) == expected, (pair.question, scene)


def test_a_smaller_world_asks_about_its_own_things():
    names = set(scenes.pool(12))
    for number in range(40):
        pair = questions.pair("train", number, things=12)
        for scene, expected in zip(pair.scenes, pair.answers, strict=True):
            assert {one.name for one in scene.things} <= names
            assert answer(pair.question, scene) == expected
        for one in questions.for_scene("train", number, things=12):
            assert answer(one.question, scenes.sample("train", number, things=12)) == one.answer


def test_the_truth_is_the_same_everywhere():
    """The digest of a table of truths: on every machine and version the same. Change it only with the world itself."""
    table = [
        "\t".join([pair.question, *pair.answers, *(scene.to_json() for scene in pair.scenes)])
        for pair in TRAIN[:40]
    ]
    assert hashlib.sha256("\n".join(table).encode()).hexdigest()[:16] == "c1d2cd033c721d2a"


def test_bad_input_is_named():
    with pytest.raises(TypeError, match="must be a string"):
        answer(None, by_hand())
    with pytest.raises(TypeError, match="expected a Scene"):
        answer("where is the dog", 7)
    with pytest.raises(ValueError, match="not a scene"):
        answer("where is the dog", "{}")
    with pytest.raises(ValueError, match="train, test"):
        questions.pair("validation", 0)
    with pytest.raises(ValueError, match="counts from 0"):
        questions.pair("train", -1)
    with pytest.raises(ValueError, match="all, what, kind"):
        questions.pair("train", 0, only="yes")
    assert all(kind in questions.ANSWERS for kind in {one.kind for one in cast.SCENIC})
    assert len(set(questions.ANSWERS)) == len(questions.ANSWERS)
