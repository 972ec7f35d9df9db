"""Judge it yourself: a picture or a clip and a caption; the reader says true or false, then hears
what the world says, and what models thought of it.

Nothing is revealed before the answer, also not in what a screen reader says, and nothing of what
the reader answers is kept: a page that is loaded again has forgotten it. One piece of HTML, like
all widgets (see :mod:`mmtutor.page.widgets`).

>>> import numpy as np
>>> grey = np.full((64, 64, 3), 128, np.uint8)
>>> case = Case(grey, "a grey square", "the dog sleeps", False, "There is no dog.", {"A model": True})
>>> print(judge([case], label="True or false?"))
True or false?: 1 case to judge
  1. “the dog sleeps” (a grey square)
Answers
  1. false. There is no dog. A model said true.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from mmtutor.page._parts import (
    STYLE,
    Encoded,
    Widget,
    checked_text,
    checked_texts,
    encoded,
    json_tag,
    made_id,
    sized,
)


@dataclass(frozen=True)
class Case:
    """One caption to judge.

    Attributes:
        pictures: a picture (see :func:`mmtutor.page.widgets.frames`), or a list of two or more: the
            frames of a clip, in the order in which they are played.
        alt: what is to be seen, for who cannot see it; for a clip one text a frame. It must not
            give the answer away.
        caption: what is said of it.
        true: what the world says.
        reason: why, in words; shown with the answer.
        votes: what models thought, by their names: ``True`` for "it is true". All cases of a widget
            have the same names.
        note: more to say after the answer, such as log-probabilities.
    """

    pictures: Any
    alt: str | Sequence[str]
    caption: str
    true: bool
    reason: str
    votes: Mapping[str, bool] = field(default_factory=dict)
    note: str = ""


_MORE = """<style>
.mmt-judge .mmt-cases{padding:0}.mmt-judge .mmt-case{border-radius:6px;outline-offset:4px}
.mmt-judge .mmt-cap{font-size:1.15em;font-weight:600}
.mmt-judge .mmt-bar{justify-content:center;margin:.4em 0}.mmt-judge .mmt-film{margin:.4em auto;max-width:24em}
.mmt-judge .mmt-say button{min-width:6em}.mmt-judge summary{cursor:pointer}
.mmt-judge .mmt-answer,.mmt-judge .mmt-verdict{margin:.3em auto;max-width:34em}
.mmt-judge .mmt-verdict{font-weight:600;min-height:1.5em;text-align:center}
.mmt-judge .mmt-nav ol{display:flex;flex-wrap:wrap;gap:.3em;list-style:none}.mmt-judge .mmt-nav li{list-style:none}
.mmt-judge .mmt-tally{text-align:center}.mmt-judge[data-ready] .mmt-static{display:none}
.mmt-judge [aria-disabled=true]{cursor:default}
.mmt-judge:not([data-ready]) .mmt-pics{display:flex;flex-wrap:wrap;gap:3px}
.mmt-judge:not([data-ready]) .mmt-pics img+img,.mmt-judge:not([data-ready]) .mmt-pics img:not(:last-child){max-width:32%}
</style>"""

_SCRIPT = """(function(id){document.querySelectorAll('[id="'+id+'"]:not([data-ready])').forEach(function(w){
w.dataset.ready="1";var d=JSON.parse(w.querySelector("script[type='application/json']").textContent);
var q=function(e,s){return e.querySelector(s)},all=function(e,s){return Array.prototype.slice.call(e.querySelectorAll(s))};
var cases=all(w,".mmt-case"),n=cases.length,said=cases.map(function(){return null}),now=0;
var verdict=q(w,".mmt-verdict"),tally=q(w,".mmt-tally"),nav=q(w,".mmt-nav"),dots=all(nav,"[data-case]");
var next=q(w,"[data-next]"),calm=window.matchMedia?matchMedia("(prefers-reduced-motion: reduce)"):{matches:false};
var stops=cases.map(function(c){var pics=all(c,".mmt-pics>img"),film=q(c,".mmt-film"),timer=null;
pics.forEach(function(p,k){p.hidden=k>0});if(!film)return function(){};
var slider=q(film,"input"),play=q(film,"button"),count=q(film,".mmt-count"),at=0;
function show(k){at=k;pics.forEach(function(p,i){p.hidden=i!==k});slider.value=k;slider.setAttribute("aria-valuetext",pics[k].alt);
count.textContent=(k+1)+" of "+pics.length}
function name(){play.textContent=timer?"\\u25a0 Stop":calm.matches?"\\u25b6 Next frame":"\\u25b6 Play"}
function stop(){if(timer){clearInterval(timer);timer=null}name()}
play.addEventListener("click",function(){if(timer){stop();return}
if(calm.matches){show((at+1)%pics.length);return}
show(0);timer=setInterval(function(){if(at+1<pics.length)show(at+1);else stop()},d.pace);name()});
slider.addEventListener("input",function(){stop();show(+slider.value)});
if(calm.addEventListener)calm.addEventListener("change",stop);
film.hidden=false;show(0);name();return stop});
function word(yes){return yes?"true":"false"}
function count(){var done=0,you=0,them=d.names.map(function(){return 0});
said.forEach(function(s,i){if(s===null)return;done++;if(s===d.truth[i])you++;
d.votes[i].forEach(function(v,j){if(v===d.truth[i])them[j]++})});
tally.textContent=done?"You and the world agreed in "+you+" of "+done+d.names.map(function(m,j){
return "; "+m+": "+them[j]+" of "+done}).join("")+".":"No answer yet. Keys: T for true, F for false."}
function draw(){cases.forEach(function(c,i){c.hidden=i!==now;var done=said[i]!==null,a=q(c,".mmt-answer");a.hidden=!done;a.open=done;
all(c,"[data-say]").forEach(function(b){var mine=done&&said[i]===(b.dataset.say==="1");
b.setAttribute("aria-pressed",String(mine));b.setAttribute("aria-disabled",String(done))})});
dots.forEach(function(b,i){var s=said[i],mark=s===null?"":s===d.truth[i]?" \\u2713":" \\u2717";b.textContent=(i+1)+mark;
b.setAttribute("aria-label","Case "+(i+1)+(s===null?"":s===d.truth[i]?", agreed":", not agreed"));
if(i===now)b.setAttribute("aria-current","true");else b.removeAttribute("aria-current");b.setAttribute("aria-pressed",String(i===now))});
var s=said[now];verdict.textContent=s===null?"":"The world says: "+word(d.truth[now])+". "+(s===d.truth[now]?"You agree.":"You said "+word(s)+".");
next.textContent=said.indexOf(null)<0?"Start again":"Next";count()}
function go(k,focus){stops[now]();now=k;draw();if(focus)cases[now].focus()}
function answer(yes){if(said[now]!==null)return;stops[now]();said[now]=yes;draw();next.focus()}
cases.forEach(function(c){all(c,"[data-say]").forEach(function(b){
b.addEventListener("click",function(){answer(b.dataset.say==="1")})})});
dots.forEach(function(b,i){b.addEventListener("click",function(){go(i,false)})});
next.addEventListener("click",function(){if(said.indexOf(null)<0){said=said.map(function(){return null});go(0,true);return}
for(var k=1;k<=n;k++){var i=(now+k)%n;if(said[i]===null){go(i,true);return}}});
w.addEventListener("keydown",function(e){if(e.ctrlKey||e.altKey||e.metaKey)return;var key=e.key.toLowerCase();
if(key==="t"||key==="f"){e.preventDefault();e.stopPropagation();answer(key==="t")}});
all(w,".mmt-say").forEach(function(b){b.hidden=false});nav.hidden=false;draw()})})"""


def judge(
    cases: Sequence[Case],
    *,
    label: str,
    id: str | None = None,
    seconds: float = 0.3,
    fmt: str = "webp",
    dpi: int = 96,
    quality: int = 80,
) -> Widget:
    """Captions to judge, one after the other, with a running tally.

    The reader presses *True* or *False* (or the keys T and F), then sees the world's answer with
    its reason and the models' votes. A clip plays by a button, or step by step with a slider; where
    the reader's system asks for less motion, the button goes on by one frame.

    Args:
        cases: one or more :class:`Case`.
        label: the title.
        id: an HTML id; made from the content if not given.
        seconds: how long a frame of a clip stands, 0.1 to 2.
        fmt: ``"png"``, ``"webp"`` or ``"jpeg"``.
        dpi: of matplotlib figures.
        quality: of webp and jpeg, 1 to 100.

    Raises:
        ValueError: no case, an empty text, frames and texts of different number, frames of
            different size, votes of different models, ``seconds`` out of range, or a widget of more
            than two megabytes.
        TypeError: something that is not a case, a truth or a vote that is no bool, or something
            that is not a picture.
    """
    cases, label = list(cases), checked_text(label, "label")
    if not cases:
        raise ValueError("judge needs at least one case")
    if isinstance(seconds, bool) or not 0.1 <= seconds <= 2:
        raise ValueError(f"seconds must be from 0.1 to 2, got {seconds!r}")
    shown = [_shown(case, k, fmt, dpi, quality) for k, case in enumerate(cases, 1)]
    names = list(cases[0].votes)
    for k, case in enumerate(cases, 1):
        if list(case.votes) != names:
            raise ValueError(
                f"all cases need votes of the same models in the same order: case 1 has {names}, "
                f"case {k} has {list(case.votes)}"
            )
    data = {
        "truth": [case.true for case in cases],
        "names": names,
        "votes": [list(case.votes.values()) for case in cases],
        "pace": round(1000 * seconds),
    }
    id = made_id(
        id,
        "judge",
        label,
        json.dumps(data),
        *(text for case in cases for text in (case.caption, case.reason, case.note)),
        *(part for pictures, texts in shown for part in (*texts, *(p.data for p in pictures))),
    )
    items = "".join(
        _item(case, k, len(cases), *pair, fmt)
        for k, (case, pair) in enumerate(zip(cases, shown), 1)
    )
    dots = "".join(
        f'<li><button type="button" data-case aria-label="Case {k}" aria-pressed="false">{k}</button></li>'
        for k in range(1, len(cases) + 1)
    )
    html = (
        f'<div class="mmt-w mmt-judge" id="{id}" role="group" aria-label="{escape(label)}">{STYLE}{_MORE}'
        f'<p class="mmt-title">{escape(label)}</p><div class="mmt-cases">{items}</div>'
        f'<p class="mmt-verdict" aria-live="polite"></p>'
        f'<div class="mmt-bar mmt-nav" hidden><ol aria-label="Cases">{dots}</ol>'
        f'<button type="button" data-next>Next</button></div>'
        f'<p class="mmt-tally mmt-note"></p>'
        f"{json_tag(data)}<script>{_SCRIPT}({json.dumps(id)});</script></div>"
    )
    text = f"{label}: {len(cases)} case{'s' if len(cases) > 1 else ''} to judge"
    for k, (case, (_, texts)) in enumerate(zip(cases, shown), 1):
        text += f"\n  {k}. “{case.caption}” ({' | '.join(texts)})"
    text += "\nAnswers"
    for k, case in enumerate(cases, 1):
        text += f"\n  {k}. {' '.join(_told(case))}"
    return sized(Widget(id, html, text), "judge")


def _shown(case: Case, k: int, fmt: str, dpi: int, quality: int) -> tuple[list[Encoded], list[str]]:
    """A case's pictures, encoded, and their texts; everything of it checked."""
    if not isinstance(case, Case):
        raise TypeError(f"case {k} must be a Case, got {type(case).__name__}")
    checked_text(case.caption, f"the caption of case {k}")
    checked_text(case.reason, f"the reason of case {k}")
    if not isinstance(case.note, str):
        raise TypeError(f"the note of case {k} must be text, got {type(case.note).__name__}")
    for what, value in [("true", case.true), *case.votes.items()]:
        checked_text(what, f"a model's name in case {k}")
        if not isinstance(value, bool):
            raise TypeError(f"{what!r} of case {k} must be True or False, got {value!r}")
    film = isinstance(case.pictures, list | tuple)
    pictures = list(case.pictures) if film else [case.pictures]
    if film and len(pictures) < 2:
        raise ValueError(f"case {k} is a list of {len(pictures)} pictures; a clip has at least two")
    texts = checked_texts(case.alt, "alt") if film else [checked_text(case.alt, "alt")]
    if len(pictures) != len(texts):
        raise ValueError(
            f"case {k} needs an alt text for each frame: {len(pictures)} frames, {len(texts)} texts"
        )
    done = [encoded(picture, fmt, dpi, quality) for picture in pictures]
    sizes = {(picture.width, picture.height) for picture in done}
    if len(sizes) > 1:
        raise ValueError(f"the frames of case {k} differ in size: {sorted(sizes)}")
    return done, texts


def _told(case: Case) -> list[str]:
    """What is said after the answer, sentence by sentence."""
    votes = ", ".join(f"{name} said {str(vote).lower()}" for name, vote in case.votes.items())
    told = [f"{str(case.true).lower()}.", case.reason]
    told += [votes[0].upper() + votes[1:] + "."] if votes else []
    return told + ([case.note] if case.note else [])


def _item(
    case: Case, k: int, count: int, pictures: list[Encoded], texts: list[str], fmt: str
) -> str:
    tags = "".join(picture.tag(fmt, text) for picture, text in zip(pictures, texts))
    film = ""
    if len(pictures) > 1:
        film = (
            '<div class="mmt-bar mmt-film" hidden><button type="button">▶ Play</button>'
            f'<input type="range" min="0" max="{len(pictures) - 1}" step="1" value="0" '
            f'aria-label="Frame of case {k}" aria-valuetext="{escape(texts[0])}">'
            f'<span class="mmt-count">1 of {len(pictures)}</span></div>'
        )
    buttons = "".join(
        f'<button type="button" data-say="{value}" aria-pressed="false">{name}</button>'
        for name, value in (("True", 1), ("False", 0))
    )
    verdict, *rest = _told(case)
    # The live line says the verdict where scripts run.
    told = f'<p class="mmt-static">The world says: {verdict}</p>'
    told += "".join(f"<p>{escape(sentence)}</p>" for sentence in rest)
    return (
        f'<div class="mmt-case" role="group" tabindex="-1" aria-label="Case {k} of {count}">'
        f'<div class="mmt-pics">{tags}</div>{film}'
        f'<p class="mmt-cap">“{escape(case.caption)}”</p>'
        f'<div class="mmt-bar mmt-say" role="group" aria-label="Is the caption true?" hidden>{buttons}</div>'
        f'<details class="mmt-answer"><summary>The answer</summary>{told}</details></div>'
    )
