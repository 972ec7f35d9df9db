"""Things to move and to listen to that need no kernel, no network and no other file.

A live widget dies with its kernel. These do not: each is one piece of HTML with its pictures,
sounds and a few lines of script inside, so that it lives in a built page opened from disk, in Colab
and in Jupyter alike. The same input gives the same bytes, so that a stored output can be compared
with a fresh one. Everything works with the keyboard and a screen reader, shows what matters before
it is touched, and has a plain-text twin (its ``repr``).

======================  ==================================================================
:func:`frames`          a slider over pictures that were computed beforehand
:func:`stepper`         the same, stepping through the words of a sentence
:func:`player`          one sound, with an optional picture of it
:func:`players`         several sounds under one another, to compare
:func:`scatter`         points with names; choose one to see its nearest neighbours
======================  ==================================================================
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

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
    written = [
        _placed(labels[k], x[k], y[k], room, size)
        for k in always
        if named is not None or len(room) < 60
    ]

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
