"""Fills in what the first runs of the sweep already tell; run once on the draft of chapter 16."""
import json
from pathlib import Path

path = Path(__file__).resolve().parent.parent / "book/16_cocktail_party.ipynb"
nb = json.loads(path.read_text(encoding="utf-8"))


def change(start, old, new, kind=None):
    found = [
        c
        for c in nb["cells"]
        if "".join(c["source"]).startswith(start) and (kind is None or c["cell_type"] == kind)
    ]
    assert len(found) == 1, (start, len(found))
    text = "".join(found[0]["source"])
    assert text.count(old) == 1, (start, old, text.count(old))
    found[0]["source"] = text.replace(old, new).splitlines(True)


def alt(start, new):
    (found,) = [c for c in nb["cells"] if "".join(c["source"]).startswith(start)]
    found["metadata"]["mystnb"]["image"]["alt"] = new


alt(
    "seeing = ledger.result",
    "Gain over the distance in pitch, in seven bands. Joined at once: a flat line at about 6.5 decibels. Only hearing: from 1 decibel where pitches are alike up to about 8; the lines cross between 5 and 8 semitones.",
)
change(
    "The bars are 95 %",
    ":alt: TODO",
    ":alt: Three steps from left to right. By ear: the spectrogram of the mixture gives two masks in any order. Whose is whose: each mask is compared with each film, and both orders are weighed. By the lips: a trunk takes the sound, the films and the named masks, and gives one mask for each face. Under each step stands its loss.",
)
change("parties = Mixtures(", '"160 numbers a frame"', '"128 numbers a frame"')
change("k, f, t = 2, 30, 17", "# (4, 160, 40)", "# (4, 128, 40)")
change("recipe = dict(", '"8,000 parties, no two alike"', '"19,200 parties, no two alike"')
change(
    "assert seeing[\"sees: near, swapped\"]",
    'assert abs(seeing["portraits: all"].mean - 2.9) < 0.05',
    'assert 4.9 < seeing["portraits: all"].mean < 5.5',
)
change(
    "Read both tables line by line.",
    "Within three semitones there is hardly any gain. For any two speakers it gains 2.9 dB. In this world large heads have low voices, so that a still face tells a little of the pitch; where pitches are near, that is of hardly any use.",
    "Within three semitones there is hardly any gain. For any two speakers it gains about 5 dB, as much as one that only hears and gets its order told. It takes the voices apart by ear like that one, and in this world large heads have low voices, so that a still face tells which of two pitches is its own. Where pitches are near, that is of hardly any use.",
)
alt(
    "delays = [40",
    "Gain over the delay of the film: 6.6 dB without delay, 3.3 at 40 ms, below 0 from 80 ms on.",
)
change(
    "One picture too late, and more than half of the gain is gone;",
    "One picture too late, and more than half of the gain is gone;",
    "One picture too late, and half of the gain is gone;",
)
alt(
    "by_pitch(\n    (\"sees\"",
    "Gain over the distance in pitch. Ours rises from 6 dB where pitches are alike to 10 above an octave. Joined at once is flat at 6.5: a little above ours within one semitone, level up to two, below it from there on. Only hearing rises from 1 to about 8 and stays below ours.",
)
change(
    "# TODO asserts",
    "# TODO asserts",
    """ahead = {who: [leads(first_, k, who) for k in range(7)] for who in ("at once", "hears")}
again = {who: [leads(fresh, k, who) for k in range(7)] for who in ("at once", "hears")}
for found in (ahead, again):
    assert min(one.mean for one in found["hears"]) > 0
    assert min(one.low for one in found["hears"][:6]) > 0
    assert found["at once"][0].high < 0
    assert abs(found["at once"][0].mean + 0.4) < 0.15
    assert abs(found["at once"][1].mean) < 0.3
    assert min(one.low for one in found["at once"][2:]) > 0
    assert 2.2 < found["at once"][5].mean < 3.3
any_, near_ = seeing["sees: by ear"]
assert 0.93 < any_.mean < 0.99 and 0.87 < near_.mean < 0.94
assert -0.7 < seeing["sees: same"].mean - seeing["at once: same"].mean < -0.4
assert 1.8 < seeing["sees: near"].mean - seeing["sees: unison"].mean < 2.3
assert 0.45 < seeing["hears: right order"].mean < 0.55""",
)
change(
    "Three things to see.",
    "TODO compare with both, band by band.",
    "It is ahead of the twin in every band. Of the network joined at once it is ahead from two semitones on, above eight of them by nearly 3 dB. Below two the lips have to do nearly all, and there it is level, or 0.4 dB behind: part of its weights have learnt to hear, and hearing is of no use where pitches are alike.",
)
change(
    "Three things to see.",
    "With faces step 2 has it right in TODO of any two, and in TODO of near ones,",
    "With faces step 2 has it right in 19 of 20 of any two, and in 9 of 10 near ones,",
)
change(
    "Three things to see.",
    "and all of it is the lips'. TODO compare with at once.",
    "and all of it is the lips'. Here too the network joined at once is ahead, by half a decibel.",
)
change(
    "Three things to see.",
    "and TODO of the gain is lost.",
    "and 2 dB of the gain are lost.",
)
change(
    "It does not pay here.",
    "TODO complex; compressed costs TODO dB.",
    "With complex masks the network gains a few tenths of a decibel *less*; the compressed loss costs about 1.5 dB.",
)
change(
    "It does not pay here.",
    "Our network is TODO dB below what the ratio mask gains, and TODO dB below the ceiling of its own range.",
    "Our network is 5 dB below what the ratio mask gains, and nearly 8 below the ceiling of its own range.",
)
change(
    "C46 holds in all its parts,",
    "TODO any two, above an octave. The lecture's claim, \"better than sound alone\", is TODO.",
    "Over any two speakers our network leads its twin by about 3 dB, although the twin gets its order told. The lecture's claim, \"better than sound alone\", is true here of near voices and of any two.",
)
path.write_text(json.dumps(nb, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
