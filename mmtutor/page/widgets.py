"""Things to move and to listen to that need no kernel, no network and no other file.

A live widget dies with its kernel. These do not: each is one piece of HTML with its pictures,
sounds and a few lines of script inside, so that it lives in a built page opened from disk, in Colab
and in Jupyter alike. The same input gives the same bytes, so that a stored output can be compared
with a fresh one. Everything works with the keyboard and a screen reader, shows what matters before
it is touched, and has a plain-text twin (its ``repr``).

======================  ==================================================================
:func:`frames`          a slider over pictures that were computed beforehand
:func:`stepper`         the same, stepping through the words of a sentence
:func:`steppers`        several such sentences, of several models or pictures, to switch between
:func:`player`          one sound, with an optional picture of it
:func:`players`         several sounds under one another, to compare
:func:`scatter`         points with names; choose one to see its nearest neighbours
======================  ==================================================================
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np

from mmtutor.page._parts import (
    STYLE,
    Widget,
    checked_text,
    checked_texts,
    data_url,
    encoded,
    json_tag,
    made_id,
    samples_of,
    sized,
    wav,
)

# Okabe and Ito's colours, darkened where they would vanish on white paper; each group has a shape
# of its own as well.
COLOURS = ("#0072b2", "#d55e00", "#007a5a", "#a8477f", "#8a6d00", "#3f3f3f", "#2a87b8", "#b3460a")
SHAPES = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z",  # circle
    "M-3.6 -3.6H3.6V3.6H-3.6Z",  # square
    "M0 -4.8L4.5 3.6H-4.5Z",  # triangle
    "M0 -5L4.4 0L0 5L-4.4 0Z",  # diamond
    "M-4.5 -1.5H-1.5V-4.5H1.5V-1.5H4.5V1.5H1.5V4.5H-1.5V1.5H-4.5Z",  # plus
    "M0 4.8L4.5 -3.6H-4.5Z",  # triangle on its tip
)

_FRAMES_SCRIPT = """(function(id){document.querySelectorAll('[id="'+id+'"]:not([data-ready])').forEach(function(w){
w.dataset.ready="1";var all=function(s){return Array.prototype.slice.call(w.querySelectorAll(s))};
var pics=all(".mmt-pics>img"),caps=JSON.parse(w.querySelector("script[type='application/json']").textContent);
var slider=w.querySelector("input"),cap=w.querySelector(".mmt-cap"),count=w.querySelector(".mmt-count");
var step=all("[data-step]"),words=all("[data-word]");
function show(k){k=Math.max(0,Math.min(pics.length-1,k));pics.forEach(function(p,i){p.hidden=i!==k});cap.textContent=caps[k];
slider.value=k;slider.setAttribute("aria-valuetext",caps[k]);count.textContent=(k+1)+" of "+pics.length;
words.forEach(function(b,i){b.setAttribute("aria-pressed",String(i===k))})}
slider.addEventListener("input",function(){show(+slider.value)});
step.forEach(function(b){b.addEventListener("click",function(){show(+slider.value+ +b.dataset.step)})});
words.forEach(function(b,i){b.addEventListener("click",function(){show(i)})});
w.querySelector(".mmt-bar").hidden=false;words.forEach(function(b){b.disabled=false});show(+slider.getAttribute("value"))})})"""

_STEPPERS_STYLE = """<style>
.mmt-w .mmt-switch{align-items:center;display:flex;flex-wrap:wrap;gap:.4em;margin:0 0 .6em}
.mmt-w .mmt-say{margin:.4em 0;text-align:center}.mmt-w .mmt-why{margin:0;min-height:3em;text-align:center}
.mmt-w .mmt-key-line{margin:.2em 0 .6em;text-align:center}
.mmt-w .mmt-hit{border-width:2px}.mmt-w .mmt-miss{border-style:dashed;border-width:2px}
.mmt-w .mmt-name{display:none}.mmt-w .mmt-heard{clip-path:inset(50%);height:1px;overflow:hidden;position:absolute;
white-space:nowrap;width:1px}.mmt-w li{position:relative}
</style>"""

_STEPPERS_SCRIPT = """(function(id){document.querySelectorAll('[id="'+id+'"]:not([data-ready])').forEach(function(w){
w.dataset.ready="1";var all=function(s,r){return Array.prototype.slice.call((r||w).querySelectorAll(s))};
var d=JSON.parse(w.querySelector("script[type='application/json']").textContent),panels=all(".mmt-panel");
var slider=w.querySelector("input"),count=w.querySelector(".mmt-count"),play=w.querySelector("[data-play]");
var chosen=d.sizes.map(function(){return 0}),at=0,k=d.versions[0].start,timer=null;
function show(){var v=d.versions[at],p=panels[at],n=v.words.length;k=Math.max(0,Math.min(n-1,k));
panels.forEach(function(q,i){q.hidden=i!==at});all("img",p).forEach(function(x,i){x.hidden=i!==k});
all("[data-word]",p).forEach(function(b,i){b.setAttribute("aria-pressed",String(i===k))});
var cap=p.querySelector(".mmt-cap"),now=document.createElement("strong");now.textContent=v.words[k];
cap.textContent=v.words.slice(0,k).join(" ")+(k?" ":"");cap.appendChild(now);p.querySelector(".mmt-why").textContent=v.notes[k];
slider.max=n-1;slider.value=k;slider.setAttribute("aria-valuetext",v.words[k]);count.textContent=(k+1)+" of "+n}
function stop(){if(timer){clearInterval(timer);timer=null}play.textContent="Play";
all(".mmt-told").forEach(function(x){x.setAttribute("aria-live","polite")})}
function start(){var n=d.versions[at].words.length;if(k>=n-1){k=0;show()}play.textContent="Stop";
all(".mmt-told").forEach(function(x){x.setAttribute("aria-live","off")});
timer=setInterval(function(){k+=1;show();if(k>=d.versions[at].words.length-1)stop()},d.pace)}
function go(to){stop();k=to;show()}
slider.addEventListener("input",function(){go(+slider.value)});
all("[data-step]").forEach(function(b){b.addEventListener("click",function(){go(k+ +b.dataset.step)})});
panels.forEach(function(p){all("[data-word]",p).forEach(function(b,i){b.disabled=false;b.addEventListener("click",function(){go(i)})})});
play.addEventListener("click",function(){if(timer)stop();else start()});
all(".mmt-switch").forEach(function(s,level){s.hidden=false;var options=all("button",s);
options.forEach(function(b,i){b.addEventListener("click",function(){stop();var old=d.versions[at];chosen[level]=i;
at=chosen.reduce(function(sum,c,l){return sum*d.sizes[l]+c},0);
options.forEach(function(o,j){o.setAttribute("aria-pressed",String(j===i))});
if(old.words.join(" ")!==d.versions[at].words.join(" "))k=d.versions[at].start;show()})})});
w.querySelector(".mmt-bar").hidden=false;show();
if(d.autoplay&&"IntersectionObserver" in window&&!matchMedia("(prefers-reduced-motion: reduce)").matches){
var seen=new IntersectionObserver(function(e){if(e[0].isIntersecting){seen.disconnect();k=0;show();start()}},{threshold:.6});
seen.observe(w)}})})"""

_SCATTER_SCRIPT = """(function(id){document.querySelectorAll('[id="'+id+'"]:not([data-ready])').forEach(function(w){
w.dataset.ready="1";var d=JSON.parse(w.querySelector("script[type='application/json']").textContent),at={};
d.labels.forEach(function(s,i){if(!(s in at))at[s]=i});
var svg=w.querySelector(".mmt-plot"),over=svg.querySelector(".mmt-o"),near=w.querySelector(".mmt-near");
var input=w.querySelector("input"),say=w.querySelector(".mmt-say"),NS="http://www.w3.org/2000/svg";
var small=false,now=d.start,lost=false;
function add(tag,attributes,text){var e=document.createElementNS(NS,tag);for(var k in attributes)e.setAttribute(k,attributes[k]);
if(text!==undefined)e.textContent=text;over.appendChild(e);return e}
function name(i,taken,must){var p=d.points[i],s=d.labels[i],z=small?2:1,wd=s.length*8*z,best=null;
[[8,4],[-8-wd,4],[-wd/2,-9],[-wd/2,7+12*z],[8,-9],[8,7+12*z],[-8-wd,-9],[-8-wd,7+12*z]].some(function(o){
var b=[p[0]+o[0],p[1]+o[1]-12*z,p[0]+o[0]+wd,p[1]+o[1]+3*z],inside=b[0]>=0&&b[1]>=0&&b[2]<=d.size[0]&&b[3]<=d.size[1];
if(!inside)return false;if(must&&!best)best=b;
if(taken.some(function(t){return b[0]<t[2]&&t[0]<b[2]&&b[1]<t[3]&&t[1]<b[3]}))return false;best=b;return true});
if(!best)return;taken.push(best);
add("text",{x:best[0].toFixed(1),y:(best[1]+12*z).toFixed(1)},s)}
function show(i){var list=d.neighbours[i]||[],taken=[];now=i;lost=false;while(over.firstChild)over.removeChild(over.firstChild);
while(near.firstChild)near.removeChild(near.firstChild);
list.forEach(function(n){add("path",{d:"M"+d.points[i].join(" ")+"L"+d.points[n[0]].join(" ")})});
add("circle",{cx:d.points[i][0],cy:d.points[i][1],r:8,fill:"none",stroke:"#111","stroke-width":2.5});name(i,taken,true);
list.forEach(function(n){name(n[0],taken)});
var bold=Array.prototype.map.call(over.querySelectorAll("text"),function(t){return t.textContent});
Array.prototype.forEach.call(svg.querySelectorAll(".mmt-n text"),function(t){t.style.display=bold.indexOf(t.textContent)<0?"":"none"});
list.forEach(function(n){var li=document.createElement("li"),b=document.createElement("button");b.type="button";
b.textContent=d.labels[n[0]]+" "+n[1];b.addEventListener("click",function(){pick(n[0]);input.focus()});
li.appendChild(b);near.appendChild(li)});
say.textContent=d.labels[i]+(d.groups?" ("+d.groups[i]+")":"")+(list.length?": nearest are "+list.map(function(n){
return d.labels[n[0]]}).join(", "):"")+"."}
function pick(i){input.value=d.labels[i];show(i)}
function read(strict){var s=input.value.trim(),i=s in at?at[s]:at[s.toLowerCase()];
if(i!==undefined){if(i!==now||lost)show(i)}else if(strict&&s){lost=true;say.textContent="\\u201c"+s+"\\u201d is not among the "+d.labels.length+" names here."}}
near.addEventListener("mousedown",function(e){e.preventDefault()});
input.addEventListener("input",function(){read(false)});input.addEventListener("change",function(){read(true)});
input.addEventListener("keydown",function(e){if(e.key==="Enter"){e.preventDefault();read(true)}});
svg.querySelector(".mmt-p").addEventListener("click",function(e){var i=e.target.getAttribute("data-i");if(i!==null)pick(+i)});
function fit(){var narrow=svg.clientWidth>0&&svg.clientWidth<d.size[0]*0.6;svg.classList.toggle("mmt-small",narrow);
if(narrow!==small){small=narrow;show(now)}}
w.querySelector(".mmt-bar").hidden=false;pick(d.start);fit();addEventListener("resize",fit)})})"""


# --- Pictures -------------------------------------------------------------------------------------


def frames(
    images: Sequence[Any],
    labels: Sequence[str],
    *,
    label: str,
    alt: Sequence[str],
    id: str | None = None,
    start: int = 0,
    fmt: str = "png",
    dpi: int = 96,
    quality: int = 85,
) -> Widget:
    """A slider over pictures that were computed beforehand.

    Args:
        images: one or more pictures: PIL images, arrays or tensors of shape (H, W), (H, W, 1), (H,
            W, 3) or (H, W, 4), bool, uint8, uint16 or floats in [0, 1] (see
            :func:`mmtutor.kit.pictures.rgb`), or matplotlib figures. Transparency lies over white.
            Figures are closed, so that the notebook does not show them a second time.
        labels: a caption for each picture.
        label: what the slider changes; the title.
        alt: for each picture, what it shows, for who cannot see it.
        id: an HTML id; made from the content if not given.
        start: which picture is shown first (and by a page that runs no scripts).
        fmt: ``"png"``, ``"webp"`` or ``"jpeg"``.
        dpi: of matplotlib figures.
        quality: of webp and jpeg, 1 to 100.

    Raises:
        ValueError: nothing to show, lengths that differ, an empty text, a picture of another shape
            or range, or a widget of more than two megabytes.
        TypeError: something that is not a picture.
    """
    return _frames("frames", images, labels, None, label, alt, id, start, fmt, dpi, quality)


def stepper(
    words: Sequence[str],
    images: Sequence[Any],
    *,
    label: str,
    alt: Sequence[str],
    id: str | None = None,
    start: int = 0,
    fmt: str = "webp",
    dpi: int = 96,
    quality: int = 85,
) -> Widget:
    """Step through the words of a sentence with one picture each, for example where a captioner
    looked.

    Args:
        words: the words, in order.
        images: one picture a word, as in :func:`frames`.
        label, alt, id, start, fmt, dpi, quality: as in :func:`frames`.

    Raises:
        ValueError, TypeError: as :func:`frames`.
    """
    return _frames(
        "stepper", images, list(words), list(words), label, alt, id, start, fmt, dpi, quality
    )


def _frames(
    kind: str,
    images: Sequence[Any],
    labels: Sequence[str],
    words: list[str] | None,
    label: str,
    alt: Sequence[str],
    id: str | None,
    start: int,
    fmt: str,
    dpi: int,
    quality: int,
) -> Widget:
    images, labels, alt = list(images), checked_texts(labels, "labels"), checked_texts(alt, "alt")
    if not images:
        raise ValueError(f"{kind} needs at least one picture")
    if not len(images) == len(labels) == len(alt):
        raise ValueError(
            f"{kind} needs a label and an alt text for each picture: "
            f"{len(images)} pictures, {len(labels)} labels, {len(alt)} alt texts"
        )
    if not 0 <= start < len(images):
        raise ValueError(f"start must be in [0, {len(images)}), got {start}")
    label = checked_text(label, "label")
    pictures = [encoded(image, fmt, dpi, quality) for image in images]
    id = made_id(id, kind, label, *labels, *alt, *(data for data, *_ in pictures))
    tags = "".join(
        picture.tag(fmt, what, "" if k == start else " hidden")
        for k, (picture, what) in enumerate(zip(pictures, alt))
    )
    strip = ""
    if words is not None:
        items = "".join(
            f'<li><button type="button" data-word aria-pressed="{str(k == start).lower()}" disabled>{escape(word)}</button></li>'
            for k, word in enumerate(words)
        )
        strip = f'<ul class="mmt-words" aria-label="Words">{items}</ul>'
    html = (
        f'<div class="mmt-w mmt-frames" id="{id}" role="group" aria-label="{escape(label)}">{STYLE}'
        f'<p class="mmt-title">{escape(label)}</p><div class="mmt-pics">{tags}</div>'
        f'<p class="mmt-cap" aria-live="polite">{escape(labels[start])}</p>{strip}'
        f'<div class="mmt-bar" hidden><button type="button" data-step="-1" aria-label="Previous">◀</button>'
        f'<input type="range" min="0" max="{len(images) - 1}" step="1" value="{start}" aria-label="{escape(label)}" '
        f'aria-valuetext="{escape(labels[start])}">'
        f'<button type="button" data-step="1" aria-label="Next">▶</button>'
        f'<span class="mmt-count">{start + 1} of {len(images)}</span></div>'
        f"{json_tag(labels)}<script>{_FRAMES_SCRIPT}({json.dumps(id)});</script></div>"
    )
    text = f"{label}: {len(images)} picture{'s' if len(images) > 1 else ''} to step through"
    text += "".join(f"\n  {name}: {words_}" for name, words_ in zip(labels, alt))
    return sized(Widget(id, html, text), kind)


class Steps(NamedTuple):
    """One version of :func:`steppers`: a sentence with one picture a word. A plain tuple of the
    first three is enough."""

    words: Sequence[str]  #: in order
    images: Sequence[Any]  #: one a word, as in :func:`frames`
    alt: Sequence[str]  #: what each picture shows, for who cannot see it
    marks: Sequence[bool | None] = ()  #: for each word: ✓ (True), ✗ (False) or nothing (None)
    notes: Sequence[str] = ()  #: a line to read at each word; it may be empty
    say: str = ""  #: a sentence on the whole version
    start: int = 0  #: the word that is shown first


def steppers(
    versions: Mapping[str | tuple[str, ...], Steps | tuple],
    *,
    label: str,
    switches: Sequence[str] = ("Choose",),
    key: tuple[str, str] = ("hit", "miss"),
    id: str | None = None,
    autoplay: bool = False,
    pace: int = 900,
    fmt: str = "webp",
    dpi: int = 96,
    quality: int = 85,
) -> Widget:
    """Step through the words of a sentence, and switch between versions of it: the same picture by
    three models, or several pictures, or both.

    The words, their marks, the notes and the pictures are each version's own. Where two versions
    have the same words, a switch keeps the place; else it goes to the ``start`` of the new one. A
    button plays the words one after the other. Without scripts all versions stand below one
    another. One switch, or two::

        widgets.steppers({"soft": (words, images, alt), "hard": (words, others, alts)}, label="…")
        widgets.steppers(
            {(scene, model): Steps(…) for scene in scenes for model in models},
            switches=("Scene", "Model"), label="…",
        )

    Args:
        versions: by name, in the order of the buttons. Names are texts, or tuples of texts for
            several switches; then every combination must be there. A single version has no switch.
        label: the title.
        switches: what each switch chooses.
        key: what ✓ and ✗ say, shown below the words where a version has marks.
        id: an HTML id; made from the content if not given.
        autoplay: play once by itself when it comes into view, unless the reader prefers less
            motion.
        pace: milliseconds a word, 100 to 10,000.
        fmt, dpi, quality: as in :func:`frames`.

    Raises:
        ValueError: no version, lengths that differ, a combination that is missing, as many switches
            as the names have parts, or anything that :func:`frames` refuses.
        TypeError: a version that is not a tuple, or as :func:`frames`.
    """
    if not isinstance(versions, Mapping) or not versions:
        raise ValueError("steppers needs a mapping with at least one version")
    label, key_texts = checked_text(label, "label"), checked_texts(key, "key")
    if len(key_texts) != 2:
        raise ValueError(f"key must say what ✓ and what ✗ means, got {len(key_texts)} texts")
    if isinstance(pace, bool) or not isinstance(pace, int) or not 100 <= pace <= 10_000:
        raise ValueError(f"pace must be 100 to 10000 milliseconds, got {pace!r}")
    names = [(name,) if isinstance(name, str) else tuple(name) for name in versions]
    switches = checked_texts(switches, "switches")
    for name in names:
        checked_texts(name, "names of versions")
        if len(name) != len(switches):
            raise ValueError(
                f"{len(switches)} switches, but the version {name!r} has {len(name)} names"
            )
    levels = [list(dict.fromkeys(parts)) for parts in zip(*names)]
    if names != list(itertools.product(*levels)):
        raise ValueError(f"versions must be every combination, in order, of {levels}, got {names}")
    every = [_steps(name, given) for name, given in zip(names, versions.values())]

    parts: list[str | bytes] = [label, *key_texts, *switches, str((autoplay, pace))]
    panels, texts = [], []
    for k, (name, one) in enumerate(zip(names, every)):
        pictures = [encoded(image, fmt, dpi, quality) for image in one.images]
        parts += [*name, *one.words, *one.alt, *one.notes, one.say, str((one.marks, one.start))]
        parts += [data for data, *_ in pictures]
        tags = "".join(
            picture.tag(fmt, what, "" if i == one.start else " hidden")
            for i, (picture, what) in enumerate(zip(pictures, one.alt))
        )
        items = "".join(
            f'<li><button type="button" data-word{_mark_class(mark)} disabled '
            f'aria-pressed="{str(i == one.start).lower()}">{escape(word)}'
            f"{_mark(mark, key_texts)}</button></li>"
            for i, (word, mark) in enumerate(zip(one.words, one.marks))
        )
        before = " ".join(one.words[: one.start]) + (" " if one.start else "")
        say = f'<p class="mmt-say">{escape(one.say)}</p>' if one.say else ""
        marked = any(mark is not None for mark in one.marks)
        legend = f"✓ {key_texts[0]} · ✗ {key_texts[1]}"
        legend = f'<p class="mmt-key-line mmt-note">{escape(legend)}</p>' if marked else ""
        title = escape(", ".join(name))
        panels.append(
            f'<div class="mmt-panel" role="group" aria-label="{title}"{" hidden" if k else ""}>'
            f'<p class="mmt-name">{title}</p>{say}<div class="mmt-pics">{tags}</div>'
            f'<div class="mmt-told" aria-live="polite"><p class="mmt-cap">{escape(before)}'
            f"<strong>{escape(one.words[one.start])}</strong></p>"
            f'<p class="mmt-why mmt-note">{escape(one.notes[one.start])}</p></div>'
            f'<ul class="mmt-words" aria-label="Words">{items}</ul>{legend}</div>'
        )
        texts.append(_steps_text(name, one))
    id = made_id(id, "steppers", *parts)
    bars = "".join(
        f'<div class="mmt-switch" role="group" aria-label="{escape(what)}" hidden>'
        f"<span>{escape(what)}:</span>"
        + "".join(
            f'<button type="button" aria-pressed="{str(i == 0).lower()}">{escape(option)}</button>'
            for i, option in enumerate(options)
        )
        + "</div>"
        for what, options in zip(switches, levels)
    )
    data = {
        "sizes": [len(options) for options in levels],
        "versions": [
            {"words": list(one.words), "notes": list(one.notes), "start": one.start}
            for one in every
        ],
        "autoplay": bool(autoplay),
        "pace": pace,
    }
    first, last = every[0], len(every[0].words) - 1
    html = (
        f'<div class="mmt-w mmt-steppers" id="{id}" role="group" aria-label="{escape(label)}">'
        f"{STYLE}{_STEPPERS_STYLE}<noscript><style>#{id} .mmt-panel[hidden]"
        f"{{display:block!important}}#{id} .mmt-name{{display:block;font-weight:600;"
        f'margin-top:1em}}</style></noscript><p class="mmt-title">{escape(label)}</p>'
        f"{bars if len(every) > 1 else ''}{''.join(panels)}"
        f'<div class="mmt-bar" hidden><button type="button" data-step="-1" aria-label="Previous">'
        f'◀</button><input type="range" min="0" max="{last}" step="1" value="{first.start}" '
        f'aria-label="Word" aria-valuetext="{escape(first.words[first.start])}">'
        f'<button type="button" data-step="1" aria-label="Next">▶</button>'
        f'<button type="button" data-play>Play</button>'
        f'<span class="mmt-count">{first.start + 1} of {last + 1}</span></div>'
        f"{json_tag(data)}<script>{_STEPPERS_SCRIPT}({json.dumps(id)});</script></div>"
    )
    return sized(Widget(id, html, "\n".join([f"{label}:", *texts])), "steppers")


def _steps(name: tuple[str, ...], given: Any) -> Steps:
    """A version, checked and filled up."""
    if not isinstance(given, tuple) or not 3 <= len(given) <= 7:
        raise TypeError(
            f"the version {name!r} must be Steps(words, images, alt, …), got {type(given).__name__}"
        )
    one = Steps(*given)
    words, images = checked_texts(one.words, f"words of {name!r}"), list(one.images)
    alt, count = checked_texts(one.alt, f"alt of {name!r}"), len(words)
    marks, notes = list(one.marks) or [None] * count, list(one.notes) or [""] * count
    if not words:
        raise ValueError(f"the version {name!r} has no words")
    if not count == len(images) == len(alt) == len(marks) == len(notes):
        raise ValueError(
            f"the version {name!r} has {count} words, {len(images)} pictures, {len(alt)} alt "
            f"texts, {len(marks)} marks and {len(notes)} notes"
        )
    if not all(mark is None or isinstance(mark, (bool, np.bool_)) for mark in marks):
        raise TypeError(f"marks of {name!r} must be True, False or None")
    if not all(isinstance(text, str) for text in [*notes, one.say]):
        raise TypeError(f"notes of {name!r} must be texts")
    if not 0 <= one.start < count:
        raise ValueError(f"start of {name!r} must be in [0, {count}), got {one.start}")
    marks = [None if mark is None else bool(mark) for mark in marks]
    return Steps(words, images, alt, marks, notes, one.say, int(one.start))


def _mark(mark: bool | None, key: Sequence[str]) -> str:
    """✓ or ✗ for the eye, and in words for the ear."""
    if mark is None:
        return ""
    said = key[0] if mark else key[1]
    return (
        f' <span aria-hidden="true">{"✓" if mark else "✗"}</span>'
        f'<span class="mmt-heard"> ({escape(said)})</span>'
    )


def _mark_class(mark: bool | None) -> str:
    return "" if mark is None else f' class="mmt-{"hit" if mark else "miss"}"'


def _steps_text(name: tuple[str, ...], one: Steps) -> str:
    """A version without its pictures: the sentence with its marks."""
    signs = {None: "", True: " ✓", False: " ✗"}
    told = " ".join(word + signs[mark] for word, mark in zip(one.words, one.marks))
    return f"  {', '.join(name)}: {told}" + (f"\n    {one.say}" if one.say else "")


# --- Sounds ---------------------------------------------------------------------------------------


def player(
    wave: Any,
    sample_rate: int,
    *,
    label: str,
    id: str | None = None,
    normalize: bool = False,
    resample_to: int | None = None,
    picture: Any = None,
    alt: str = "",
) -> Widget:
    """One sound to listen to, embedded as a 16-bit mono WAV.

    Args:
        wave: (T,) or (1, T): floats in [-1, 1] or int16; an array, a tensor or a list.
        sample_rate: samples a second, 3,000 to 96,000.
        label: what is to be heard.
        id: an HTML id; made from the content if not given.
        normalize: scale the wave so that its largest sample is 0.95.
        resample_to: another sample rate, to save space. Frequencies above half of it are removed.
        picture: a picture of the sound (see :func:`frames`), for example its spectrogram.
        alt: what the picture shows; needed with a picture.

    Raises:
        ValueError: a wave that is empty, not finite, louder than full scale, of more than one
            channel, or longer than 15 seconds; a sample rate out of range.
        TypeError: a wave of another type.
    """
    return players(
        [(label, wave)],
        sample_rate,
        label="",
        id=id,
        normalize=normalize,
        resample_to=resample_to,
        pictures=None if picture is None else [picture],
        alt=None if picture is None else [alt],
    )


def players(
    sounds: Mapping[str, Any] | Sequence[tuple[str, Any]],
    sample_rate: int,
    *,
    label: str,
    id: str | None = None,
    notes: Sequence[str] | None = None,
    normalize: bool = False,
    resample_to: int | None = None,
    pictures: Sequence[Any] | None = None,
    alt: Sequence[str] | None = None,
) -> Widget:
    """Several sounds under one another, to compare.

    Args:
        sounds: names and waves, as a mapping or as pairs; each wave as in :func:`player`.
        sample_rate: of all of them.
        label: the title.
        notes: a sentence for each sound, if given.
        id, normalize, resample_to: as in :func:`player`.
        pictures, alt: a picture and its description for each sound, if given.

    Raises:
        ValueError, TypeError: as :func:`player`; and lists whose lengths differ.
    """
    pairs = list(sounds.items() if isinstance(sounds, Mapping) else sounds)
    if not pairs:
        raise ValueError("players needs at least one sound")
    names = checked_texts([name for name, _ in pairs], "sounds' names")
    for what, other in (("notes", notes), ("pictures", pictures), ("alt", alt)):
        if other is not None and len(other) != len(pairs):
            raise ValueError(f"{len(pairs)} sounds, but {len(other)} {what}")
    if (pictures is None) != (alt is None):
        raise ValueError("pictures and alt (what each picture shows) come together")
    rate = sample_rate if resample_to is None else resample_to
    files, seconds = [], []
    for name, wave in pairs:
        samples = samples_of(wave, sample_rate, name, normalize, resample_to)
        files.append(wav(samples, rate))
        seconds.append(len(samples) / rate)
    pictured = [] if pictures is None else [encoded(picture, "png", 96, 85) for picture in pictures]
    texts = [] if alt is None else checked_texts(alt, "alt")
    id = made_id(
        id,
        "players",
        label,
        *names,
        *(notes or []),
        *files,
        *texts,
        *(data for data, *_ in pictured),
    )
    items = []
    for k, (name, data) in enumerate(zip(names, files)):
        image = ""
        if pictured:
            image = pictured[k].tag("png", texts[k])
        note = f'<p class="mmt-note">{escape(notes[k])}</p>' if notes else ""
        items.append(
            f'<li>{image}<p id="{id}-{k}">{escape(name)} <span class="mmt-note">({seconds[k]:.1f} s)</span></p>'
            f'<audio controls preload="metadata" aria-labelledby="{id}-{k}" src="{data_url(data, "audio/wav")}"></audio>{note}</li>'
        )
    title = f'<p class="mmt-title">{escape(label)}</p>' if label else ""
    html = (
        f'<div class="mmt-w mmt-players" id="{id}" role="group" aria-label="{escape(label or names[0])}">{STYLE}{title}'
        f'<ul class="mmt-list">{"".join(items)}</ul></div>'
    )
    lines = [
        f"{name}: {duration:.1f} s of sound at {rate} Hz" for name, duration in zip(names, seconds)
    ]
    if notes:
        lines = [f"{line}. {note}" for line, note in zip(lines, notes)]
    if label:
        lines = [f"{label}:", *(f"  {line}" for line in lines)]
    return sized(Widget(id, html, "\n".join(lines)), "players")


# --- Points ---------------------------------------------------------------------------------------


def scatter(
    points: Any,
    labels: Sequence[str],
    groups: Sequence[str | None] | None = None,
    *,
    label: str,
    neighbours: Mapping[str, Sequence[tuple[str, float]]]
    | Sequence[Sequence[tuple[int, float]]] = (),
    named: Sequence[str] | None = None,
    start: str | None = None,
    id: str | None = None,
    size: tuple[int, int] = (760, 560),
) -> Widget:
    """A map of named points; type or click a name to see its nearest neighbours.

    The neighbours are given, not read off the picture: in a projection to two dimensions near
    points need not be near.

    Args:
        points: (N, 2) coordinates; they are scaled to fill the picture, the vertical axis pointing
            up.
        labels: N names, all different.
        groups: a group for each point, or None for a grey one; groups differ in colour and in
            shape.
        label: the title.
        neighbours: for each point its neighbours, nearest first, with a score: a mapping from name
            to (name, score) pairs, or one list of (index, score) pairs for each point.
        named: the names that are always written (where there is room); by default as many as fit,
            in the given order.
        start: the name that is chosen first; by default the first.
        id: an HTML id; made from the content if not given.
        size: width and height of the drawing.

    Raises:
        ValueError: shapes or lengths that do not fit, names that occur twice, coordinates that are
            not finite, a neighbour that is not among the names.
    """
    points = np.asarray(
        points.detach().cpu() if hasattr(points, "detach") else points, dtype=np.float64
    )
    labels = checked_texts(labels, "labels")
    if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0:
        raise ValueError(f"points must have shape (N, 2) with N ≥ 1, got {points.shape}")
    if len(labels) != len(points):
        raise ValueError(f"{len(points)} points, but {len(labels)} labels")
    if groups is not None and len(groups) != len(points):
        raise ValueError(f"{len(points)} points, but {len(groups)} groups")
    if not np.isfinite(points).all():
        raise ValueError("points must be finite")
    index = {name: k for k, name in enumerate(labels)}
    if len(index) != len(labels):
        twice = next(name for k, name in enumerate(labels) if index[name] != k)
        raise ValueError(f"labels must differ; {twice!r} occurs twice")
    start = labels[0] if start is None else start
    for what, names in (("named", named or ()), ("start", [start])):
        for name in names:
            if name not in index:
                raise ValueError(f"{what}: {name!r} is not among the labels")
    near = _neighbours(neighbours, index, len(points))
    label = checked_text(label, "label")

    width, height = size
    low, span = points.min(0), np.ptp(points, axis=0)
    unit = (points - low) / np.where(span > 0, span, 1.0)
    x = np.round(26 + unit[:, 0] * (width - 52), 1).tolist()
    y = np.round(height - 26 - unit[:, 1] * (height - 52), 1).tolist()

    kinds = sorted({group for group in groups or () if group is not None})
    marks, key = [], []
    for k in range(len(points)):
        group = None if groups is None else groups[k]
        place = kinds.index(group) if group is not None else -1
        colour, shape = _look(place, groups is None)
        marks.append(
            f'<path d="{shape}" fill="{colour}" transform="translate({x[k]:g} {y[k]:g})" data-i="{k}">'
            f"<title>{escape(labels[k])}</title></path>"
        )
    for place, kind in enumerate(kinds):
        colour, shape = _look(place, False)
        key.append(
            f'<li><svg viewBox="-7 -7 14 14" aria-hidden="true"><path d="{shape}" fill="{colour}"/></svg>{escape(kind)}</li>'
        )

    first = index[start]
    chosen = [first, *(k for k, _ in near[first])]
    taken: list[tuple[float, float, float, float]] = []
    over = [f'<path d="M{x[first]:g} {y[first]:g}L{x[k]:g} {y[k]:g}"/>' for k, _ in near[first]]
    over.append(
        f'<circle cx="{x[first]:g}" cy="{y[first]:g}" r="8" fill="none" stroke="#111" stroke-width="2.5"/>',
    )
    over += [_placed(labels[k], x[k], y[k], taken, size, force=k == first) for k in chosen]
    always = [index[name] for name in named] if named is not None else range(len(labels))
    room: list[tuple[float, float, float, float]] = []
    written = []
    for k in always:
        if named is not None or len(room) < 60:
            text = _placed(labels[k], x[k], y[k], room, size)
            # What stands in bold is not written a second time.
            written.append(
                text.replace("<text", '<text style="display:none"') if k in chosen else text
            )

    data = {
        "labels": labels,
        "points": [[a, b] for a, b in zip(x, y)],
        "neighbours": [[[k, score] for k, score in row] for row in near],
        "groups": None if groups is None else [group or "no group" for group in groups],
        "start": first,
        "size": [width, height],
    }
    tag = json_tag(data)
    id = made_id(id, "scatter", label, tag, str(size), *(named or ()))
    options = "".join(f'<option value="{escape(name)}"></option>' for name in labels)
    row = "".join(
        f"<li><button type='button'>{escape(labels[k])} {score}</button></li>"
        for k, score in near[first]
    )
    said = f"{start}" + (f" ({data['groups'][first]})" if data["groups"] else "")
    said += f": nearest are {', '.join(labels[k] for k, _ in near[first])}." if near[first] else "."
    html = (
        f'<div class="mmt-w mmt-scatter" id="{id}" role="group" aria-label="{escape(label)}">{STYLE}'
        f'<p class="mmt-title">{escape(label)}</p><div class="mmt-bar" hidden><label for="{id}-in">Choose one</label>'
        f'<input type="text" id="{id}-in" list="{id}-names" value="{escape(start)}" autocomplete="off" spellcheck="false">'
        f'<datalist id="{id}-names">{options}</datalist></div>'
        f'<svg class="mmt-plot" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}: {len(points)} named '
        f'points. The text below the picture tells the neighbours of the chosen one.">'
        f'<g class="mmt-p">{"".join(marks)}</g><g class="mmt-n" pointer-events="none">{"".join(written)}</g>'
        f'<g class="mmt-o" pointer-events="none">{"".join(over)}</g></svg>'
        + (f'<ul class="mmt-key" aria-label="Groups">{"".join(key)}</ul>' if key else "")
        + f'<p class="mmt-say" aria-live="polite">{escape(said)}</p>'
        f'<ol class="mmt-near" aria-label="Nearest neighbours">{row}</ol>'
        f"{tag}<script>{_SCATTER_SCRIPT}({json.dumps(id)});</script></div>"
    )
    return sized(Widget(id, html, f"{label}: {len(points)} named points. {said}"), "scatter")


def _look(place: int, plain: bool) -> tuple[str, str]:
    """Colour and shape of the group at this place; 24 groups differ."""
    if plain:
        return COLOURS[0], SHAPES[0]
    if place < 0:
        return "#9a9a9a", SHAPES[0]
    return COLOURS[place % len(COLOURS)], SHAPES[place % len(SHAPES)]


def _neighbours(given: Any, index: dict[str, int], count: int) -> list[list[tuple[int, float]]]:
    """For each point its neighbours as (index, score rounded to two digits)."""
    rows: list[list[tuple[int, float]]] = [[] for _ in range(count)]
    if isinstance(given, Mapping):
        for name, pairs in given.items():
            for other, score in pairs:
                for word in (name, other):
                    if word not in index:
                        raise ValueError(f"neighbours: {word!r} is not among the labels")
                rows[index[name]].append((index[other], _score(score)))
        return rows
    given = list(given)
    if given and len(given) != count:
        raise ValueError(f"{count} points, but {len(given)} lists of neighbours")
    for k, pairs in enumerate(given):
        for other, score in pairs:
            if not 0 <= int(other) < count:
                raise ValueError(f"neighbours: {other} is not the index of one of {count} points")
            rows[k].append((int(other), _score(score)))
    return rows


def _score(score: Any) -> float:
    score = float(score)
    if not math.isfinite(score):
        raise ValueError(f"neighbours: a score must be finite, got {score}")
    return round(score, 2) + 0.0  # no −0.0


def _placed(
    name: str,
    x: float,
    y: float,
    taken: list[tuple[float, float, float, float]],
    size: tuple[int, int],
    *,
    force: bool = False,
) -> str:
    """A label at the first of eight places around its point that is free; nothing (or the first
    inside) if none is."""
    wide, best = len(name) * 8.0, None
    for dx, dy in (
        (8, 4),
        (-8 - wide, 4),
        (-wide / 2, -9),
        (-wide / 2, 19),
        (8, -9),
        (8, 19),
        (-8 - wide, -9),
        (-8 - wide, 19),
    ):
        box = (x + dx, y + dy - 12, x + dx + wide, y + dy + 3)
        if box[0] < 0 or box[1] < 0 or box[2] > size[0] or box[3] > size[1]:
            continue
        if not any(
            box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3] for t in taken
        ):
            best = box
            break
        if force and best is None:
            best = box
    if best is None:
        return ""
    taken.append(best)
    return f'<text x="{best[0]:.1f}" y="{best[1] + 12:.1f}">{escape(name)}</text>'
