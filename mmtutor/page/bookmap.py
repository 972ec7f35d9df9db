"""A map of the book: modalities are stations, and each chapter is a road between two of them, or a
place at one.

Who calls it brings the chapters; the map knows none. There are three ways to go between modalities:

* *matching*: two of them meet in one space;
* *translating*: one becomes the other;
* *referencing*: one looks up a part of the other.

What the others stand on is a *foundation*. Words and sounds stand on the left, pictures and moving
pictures (pictures in time) on the right.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, NamedTuple

from mmtutor.page._parts import STYLE, Widget, checked_text, isolated, json_tag, made_id, sized
from mmtutor.page.plotting import COLORS

#: Where the stations stand, and from top to bottom in which order.
LEFT, RIGHT = ("words", "sounds"), ("pictures", "moving pictures")
#: A way: its title, what it does, what it says of two modalities, its colour, its line.
WAYS = {
    "foundation": ("Foundations", "what the others stand on", "{} and {} together", None, ""),
    "matching": ("Matching", "two modalities meet in one space", "{} and {} meet", "blue", ""),
    "translating": (
        "Translating",
        "one becomes the other",
        "{} become {}",
        "vermilion",
        "11 5",
    ),
    "referencing": (
        "Referencing",
        "one looks up a part of the other",
        "{} point into {}",
        "green",
        "0 7",
    ),
}
MOST, LONGEST = 40, 22  # chapters on a map, letters of a name
BACK = " back"  # after a way: from the target to the source
NOT_YET, HERE, GO = "Not written yet.", "You are reading it.", "Go to the chapter →"


class Chapter(NamedTuple):
    """One road of the map."""

    name: str  # on the sign: at most 22 letters
    line: str  # what one does there
    source: str  # a modality
    target: str | Sequence[str] | None  # another one, or several; None for a place at one station
    ways: str | Sequence[str]  # one way or several, the first is the main one; "referencing back"
    #: goes from the target to the source
    href: str | None = None  # relative or https; None where it is not written yet


class _Size(NamedTuple):
    """Sizes of a drawing, in its own pixels."""

    name: str
    width: int
    pitch: float  # between signs
    gap: float  # between groups of signs
    radius: float  # of a station
    sign: float  # width of a sign
    font: float


DESK = _Size("desk", 720, 36, 8, 38, 232, 16)
PHONE = _Size("phone", 380, 40, 6, 27, 176, 14.5)

#: On a dark ground two of the colours get their lighter neighbours.
_DARK = (
    "@supports(color:light-dark(#000,#fff)){"
    + "".join(
        f'.mmt-bookmap [{what}="{COLORS[light]}"]{{{what}:light-dark({COLORS[light]},{COLORS[dark]})}}'
        for light, dark in (("blue", "sky"), ("vermilion", "orange"))
        for what in ("stroke", "fill")
    )
    + "}"
)

_STYLE = (
    """<style>
.output:has(.mmt-bookmap){overflow:visible!important}
.mmt-bookmap{container-type:inline-size}
.mmt-w.mmt-bookmap svg{background:none;border-radius:0;color:inherit;margin:.3em auto;overflow:visible}
.mmt-bookmap svg.mmt-desk{max-width:720px}.mmt-bookmap svg.mmt-phone{display:none;max-width:440px}
.mmt-w.mmt-bookmap .mmt-about{min-height:1.5em}
@container (max-width:560px){.mmt-bookmap svg.mmt-desk{display:none}.mmt-bookmap svg.mmt-phone{display:block}
.mmt-w.mmt-bookmap .mmt-about{min-height:2.9em}.mmt-w.mmt-bookmap button{font-size:.92em;padding:.2em .5em}
.mmt-w.mmt-bookmap .mmt-card{font-size:.95em}}
.mmt-w.mmt-bookmap svg text{fill:currentColor;font-family:"Helvetica Neue",Arial,"Liberation Sans",sans-serif;font-size:inherit;
font-weight:400;stroke:none;text-anchor:middle}
.mmt-w.mmt-bookmap .mmt-station text{font-weight:600}
.mmt-bookmap .mmt-station{fill:none;stroke:currentColor}.mmt-bookmap .mmt-time{opacity:.7}
.mmt-bookmap .mmt-strand,.mmt-bookmap .mmt-tip{fill:none;stroke-linecap:round;stroke-linejoin:round;stroke-width:2.4}
.mmt-bookmap .mmt-strand,.mmt-bookmap .mmt-sign{transition:opacity .2s,stroke-width .2s,fill-opacity .2s}
.mmt-bookmap .mmt-strand{opacity:.75}
.mmt-bookmap .mmt-strand[stroke-dasharray^="0"]{stroke-width:3.6}
.mmt-bookmap .mmt-hit{fill:none;stroke:transparent;stroke-width:10}
.mmt-bookmap .mmt-sign{fill-opacity:.07;stroke-width:1.5}.mmt-bookmap .mmt-ring{display:none;fill:none;stroke:#d95f02;stroke-width:3}
.mmt-bookmap .mmt-road[role=option]{cursor:pointer}.mmt-bookmap .mmt-road:focus{outline:none}
.mmt-bookmap .mmt-road:focus-visible .mmt-ring{display:inline}
.mmt-bookmap .mmt-none .mmt-strand{opacity:.35}.mmt-bookmap .mmt-none .mmt-tip{opacity:.5}
.mmt-bookmap .mmt-none .mmt-sign{fill-opacity:0;stroke-dasharray:3 4;stroke-opacity:.6}
.mmt-bookmap .mmt-none text{opacity:.72}
.mmt-bookmap .mmt-road:hover .mmt-strand,.mmt-bookmap .mmt-lit .mmt-strand{opacity:1;stroke-width:3.4}
.mmt-bookmap .mmt-road:hover .mmt-sign{fill-opacity:.16}
.mmt-bookmap .mmt-dim .mmt-strand,.mmt-bookmap .mmt-dim .mmt-tip{opacity:.12}.mmt-bookmap .mmt-dim .mmt-sign{fill-opacity:0;stroke-opacity:.3}
.mmt-bookmap .mmt-dim text{opacity:.72}
.mmt-bookmap .mmt-road.mmt-lit .mmt-strand,.mmt-bookmap .mmt-lit .mmt-tip{opacity:1}.mmt-bookmap .mmt-road.mmt-sel .mmt-strand{opacity:1;stroke-width:4.4}.mmt-bookmap .mmt-sel .mmt-tip{opacity:1}
.mmt-bookmap .mmt-road.mmt-dim.mmt-sel .mmt-strand{opacity:.4}.mmt-bookmap .mmt-road .mmt-strand.mmt-off{opacity:.12}
.mmt-bookmap .mmt-sel .mmt-sign{fill-opacity:.22;stroke-dasharray:none;stroke-opacity:1;stroke-width:2.6}
.mmt-w.mmt-bookmap .mmt-sel text{font-weight:700;opacity:1}
.mmt-bookmap .mmt-key{gap:.3em 1.4em;margin:.2em 0}.mmt-bookmap .mmt-bar{gap:.5em;margin:.2em 0 .4em}
.mmt-w.mmt-bookmap .mmt-key svg,.mmt-w.mmt-bookmap button svg{display:inline-block;height:.8em;margin:0 .4em 0 0;vertical-align:0;width:2.4em}
.mmt-w.mmt-bookmap button[aria-pressed=true]{background:#8883;border-color:currentColor;box-shadow:inset 0 -3px currentColor;color:inherit}
.mmt-w.mmt-bookmap .mmt-card{background:var(--pst-color-background,var(--jp-layout-color0,var(--colab-primary-surface-color,Canvas)));border:1px solid #8889;border-left:6px solid #888;
border-radius:8px;bottom:.5em;margin:.5em auto;max-width:720px;min-height:6em;padding:.6em .9em}
.mmt-w.mmt-bookmap[data-ready] .mmt-card{position:sticky;z-index:1}
.mmt-bookmap .mmt-name{font-weight:700;margin-right:.6em}.mmt-bookmap .mmt-how{display:inline-block;font-style:italic}
.mmt-bookmap .mmt-card a{display:inline-block;font-weight:600;padding:.15em 0}
.mmt-bookmap a{text-decoration:underline}
.mmt-bookmap summary{cursor:pointer;padding:.3em 0}
"""
    + _DARK
    + """
@media(prefers-reduced-motion:reduce){.mmt-bookmap *{transition:none!important}}
</style>"""
)

_SCRIPT = r"""(function(id){document.querySelectorAll('[id="'+id+'"]:not([data-ready])').forEach(function(w){
w.dataset.ready="1";function one(s){return w.querySelector(s)}function all(s){return [].slice.call(w.querySelectorAll(s))}
var d=JSON.parse(one("script[type='application/json']").textContent),now=d.start,way="",NS="http://www.w3.org/2000/svg",run=0;
var maps=all("svg.mmt-roads").map(function(svg){var roads=[].slice.call(svg.querySelectorAll(".mmt-road")),by={};
svg.setAttribute("role","listbox");roads.forEach(function(g){var t=g.querySelector("title");by[g.dataset.i]=g;
g.setAttribute("role","option");g.setAttribute("aria-label",t.textContent);g.removeChild(t);
var x=g.querySelector("text"),room=g.querySelector(".mmt-sign").width.baseVal.value-12;
if(x.getComputedTextLength()>room){x.setAttribute("textLength",room);x.setAttribute("lengthAdjust","spacingAndGlyphs")}});
return{svg:svg,roads:roads,by:by}});
function show(i,move){now=i;var c=d.chapters[i],a=one(".mmt-card a"),no=one(".mmt-not");
maps.forEach(function(m){m.roads.forEach(function(g){var on=+g.dataset.i===i;g.classList.toggle("mmt-sel",on);
g.setAttribute("aria-selected",String(on));g.setAttribute("tabindex",on?"0":"-1")})});
one(".mmt-card").style.borderLeftColor=c.color;one(".mmt-name").textContent=c.name;one(".mmt-how").textContent=c.how;
one(".mmt-line").textContent=c.line;a.hidden=!c.href;no.hidden=!c.note;no.textContent=c.note;
if(c.href){a.setAttribute("href",c.href);a.textContent=d.go}else a.removeAttribute("href");if(move){clear(i);travel(i)}}
function shown(){return maps.filter(function(m){return m.svg.getBoundingClientRect().width>0})[0]}
function clear(i){var m=shown();if(!m)return;var a=m.by[i].querySelector(".mmt-sign").getBoundingClientRect();
var b=one(".mmt-card").getBoundingClientRect();if(a.bottom>b.top-6&&a.top<b.bottom)scrollBy(0,a.bottom-b.top+12)}
function travel(i){if(matchMedia("(prefers-reduced-motion:reduce)").matches||!window.requestAnimationFrame)return;
var turn=++run,m=shown();if(!m)return;
all(".mmt-dot").forEach(function(e){e.remove()});var g=m.by[i],halves=[].slice.call(g.querySelectorAll(".mmt-strand"));
if(halves.length<2)return;var meet=d.chapters[i].meet,dots=(meet?halves.filter(function(h){return h.dataset.way===halves[0].dataset.way}):[0]).map(function(){
var e=document.createElementNS(NS,"circle");e.setAttribute("class","mmt-dot");e.setAttribute("r",6);e.setAttribute("fill",d.chapters[i].color);
e.setAttribute("aria-hidden","true");m.svg.appendChild(e);return e}),began=0;
function at(e,half,t){var L=half.getTotalLength(),p=half.getPointAtLength(L*t);e.setAttribute("cx",p.x);e.setAttribute("cy",p.y)}
function step(time){if(turn!==run)return;began=began||time;var t=(time-began)/1100;if(t>=1){dots.forEach(function(e){e.remove()});return}
t=t*t*(3-2*t);if(meet)dots.forEach(function(e,k){at(e,halves[k],t)});else if(t<.5)at(dots[0],halves[0],2*t);else at(dots[0],halves[1],2-2*t);
requestAnimationFrame(step)}requestAnimationFrame(step)}
function choose(k){way=way===k?"":k;all("button[data-way]").forEach(function(b){b.setAttribute("aria-pressed",String(b.dataset.way===way))});
all(".mmt-road").forEach(function(g){var on=way&&d.chapters[g.dataset.i].ways.indexOf(way)>=0;g.classList.toggle("mmt-dim",!!way&&!on);
g.classList.toggle("mmt-lit",!!on);
g.querySelectorAll(".mmt-strand").forEach(function(p){p.classList.toggle("mmt-off",!!on&&p.dataset.way!==way)})});one(".mmt-about").textContent=way?d.about[way]:d.rest}
maps.forEach(function(m){m.roads.forEach(function(g,k){function pick(){var i=+g.dataset.i;if(i!==now)show(i,true)}
g.addEventListener("click",function(){pick();g.focus({preventScroll:true})});g.addEventListener("focus",pick);
g.addEventListener("keydown",function(e){if(e.ctrlKey||e.metaKey||e.altKey)return;var to=-1;
if(e.key==="ArrowDown"||e.key==="ArrowRight")to=Math.min(k+1,m.roads.length-1);else if(e.key==="ArrowUp"||e.key==="ArrowLeft")to=Math.max(k-1,0);
else if(e.key==="Home")to=0;else if(e.key==="End")to=m.roads.length-1;
else if(e.key==="Enter"){var a=one(".mmt-card a");if(!a.hidden){e.preventDefault();a.click()}return}else return;
e.preventDefault();m.roads[to].focus()})})});
all("button[data-way]").forEach(function(b){b.addEventListener("click",function(){choose(b.dataset.way)})});
one(".mmt-key").hidden=true;one(".mmt-bar").hidden=false;one(".mmt-about").hidden=false;one("details").open=false;show(now,false)})})"""


def bookmap(
    chapters: Iterable[Chapter | Sequence[Any]],
    *,
    label: str,
    start: str | None = None,
    here: str | None = None,
    id: str | None = None,
) -> Widget:
    """A map of a book on which each chapter is a road; touch one to see what it does.

    Args:
        chapters: a :class:`Chapter` each, or a tuple of the same: name, line, source, target, ways,
            address. Modalities are words, sounds, pictures and moving pictures; ways are matching,
            translating, referencing and foundation. On the map they are put in order from top to
            bottom, in the list below it they keep the order given.
        label: the title.
        start: name of the chapter that is chosen first; by default ``here``, else the first.
        here: name of the chapter on whose page the map stands: it is no link there.
        id: an HTML id; made from the content if not given.

    Raises:
        TypeError: a name, a line or an address that is not text.
        ValueError: no chapter or more than 40, a name that occurs twice or is longer than 22
            letters, a modality or a way that is not known, a way between a modality and itself, an
            address that is neither relative nor https, a start that is not among the chapters.
    """
    label = checked_text(label, "label")
    roads = [_checked(row, k) for k, row in enumerate(_listed(chapters))]
    names = [road.name for road in roads]
    if len(set(names)) != len(names):
        raise ValueError(f"a chapter occurs twice: {max(names, key=names.count)!r}")
    for what, name in (("start", start), ("here", here)):
        if name is not None and name not in names:
            raise ValueError(f"{what}: {name!r} is not among the chapters")
    if start is None:
        start = here if here is not None else names[0]
    first = names.index(start)

    notes = [HERE if r.name == here else "" if r.href else NOT_YET for r in roads]
    links = [None if r.name == here else r.href for r in roads]
    said = [_how(r) for r in roads]
    used = [way for way in WAYS if any(way in map(_way, r.ways) for r in roads)]
    data = {
        "start": first,
        "go": GO,
        "rest": "Choose a sign, or one of the ways."
        + (" Dashed signs are not written yet." if NOT_YET in notes else ""),
        "about": {way: _about(way, roads) for way in used},
        "chapters": [
            {
                "name": isolated(r.name),
                "how": said[k],
                "line": isolated(r.line),
                "href": links[k],
                "note": notes[k],
                "ways": [_way(way) for way in r.ways],
                "meet": _way(r.ways[0]) in ("matching", "foundation"),
                "color": _color(r.ways[0], "#888888"),
            }
            for k, r in enumerate(roads)
        ],
    }
    tag = json_tag(data)
    id = made_id(id, "bookmap", label, tag)
    maps = "".join(_drawing(roads, said, notes, first, label, size) for size in (DESK, PHONE))
    chosen = data["chapters"][first]
    link = f'<a href="{escape(chosen["href"])}">{GO}</a>' if chosen["href"] else "<a hidden></a>"
    note = f'<span class="mmt-not"{"" if notes[first] else " hidden"}>{escape(notes[first])}</span>'
    listed = "".join(
        "<li>"
        + (f'<a href="{escape(href)}">{escape(c["name"])}</a>' if href else escape(c["name"]))
        + f" ({escape(c['how'])}): {escape(c['line'])}{' <em>' + note_ + '</em>' if note_ else ''}</li>"
        for c, href, note_ in zip(data["chapters"], links, notes)
    )
    html = (
        f'<div class="mmt-w mmt-bookmap" id="{id}" role="group" aria-label="{escape(label)}">'
        f'{STYLE}{_STYLE}<p class="mmt-title">{escape(label)}</p><ul class="mmt-key">'
        + "".join(f"<li>{_sample(way)}{WAYS[way][0]}: {WAYS[way][1]}</li>" for way in used)
        + '</ul><div class="mmt-bar" role="group" aria-label="Show the roads of" hidden>'
        + "".join(
            f'<button type="button" data-way="{way}" aria-pressed="false">{_sample(way)}'
            f"{WAYS[way][0]}</button>"
            for way in used
        )
        + f'</div><p class="mmt-note mmt-about" aria-live="polite" hidden>{data["rest"]}</p>{maps}'
        f'<div class="mmt-card" aria-live="polite" style="border-left-color:{chosen["color"]}"><p>'
        f'<span class="mmt-name">{escape(chosen["name"])}</span><span class="mmt-how">'
        f'{escape(chosen["how"])}</span></p><p class="mmt-line">{escape(chosen["line"])}</p>'
        f"<p>{link}{note}</p></div><details open><summary>All chapters as a list</summary><ul "
        f'class="mmt-list">{listed}</ul></details>{tag}'
        f"<script>{_SCRIPT}({json.dumps(id)});</script></div>"
    )
    text = "\n".join(
        f"  {r.name} ({how}): {r.line} [{note_.rstrip('.').lower() if note_ else r.href}]"
        for r, how, note_ in zip(roads, said, notes)
    )
    return sized(Widget(id, html, f"{label}: {len(roads)} chapters.\n{text}"), "map")


# --- What is given --------------------------------------------------------------------------------


def _listed(chapters: Any) -> list[Any]:
    if isinstance(chapters, (str, dict)) or not isinstance(chapters, Iterable):
        raise TypeError(f"chapters must be a list of chapters, got {type(chapters).__name__}")
    listed = list(chapters)
    if not 0 < len(listed) <= MOST:
        raise ValueError(f"a map shows 1 to {MOST} chapters, got {len(listed)}")
    return listed


def _checked(row: Any, k: int) -> Chapter:
    """A chapter with its targets and its ways as tuples."""
    if isinstance(row, (str, dict)) or not isinstance(row, Sequence) or not 5 <= len(row) <= 6:
        raise TypeError(
            f"chapter {k} must be (name, line, source, target, ways, address), got {row!r:.80}"
        )
    row = Chapter(*row)
    name = checked_text(row.name, f"name of chapter {k}")
    line = checked_text(row.line, f"line of {name!r}")
    letters = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in name)
    if letters > LONGEST:
        raise ValueError(
            f"{name!r} is too long for a sign: {letters} letters, at most {LONGEST} (a Chinese or "
            "Korean one counts twice)"
        )
    several = row.target is not None and not isinstance(row.target, str)
    targets = () if row.target is None else tuple(row.target) if several else (row.target,)
    for what, modality in (("source", row.source), *(("target", one) for one in targets)):
        if modality not in LEFT + RIGHT:
            known = ", ".join(LEFT + RIGHT)
            raise ValueError(f"{what} of {name!r} must be one of {known}, got {modality!r}")
    if len({row.source, *targets}) != 1 + len(targets):
        raise ValueError(f"{name!r} comes twice to one modality: {row.source}, {row.target}")
    ways = (row.ways,) if isinstance(row.ways, str) else tuple(row.ways)
    if not ways or any(not isinstance(way, str) or _way(way) not in WAYS for way in ways):
        raise ValueError(
            f"ways of {name!r} must be one or several of {', '.join(WAYS)}, got {row.ways!r}"
        )
    if len({*map(_way, ways)}) != len(ways):
        raise ValueError(f"a way of {name!r} stands twice: {row.ways!r}")
    if len(ways) > 1 and "foundation" in map(_way, ways):
        raise ValueError(f"{name!r} is a foundation, so it can be nothing else, got {row.ways!r}")
    if not targets and ways != ("foundation",):
        raise ValueError(f"{name!r} goes from {row.source} to nowhere: only a foundation may")
    if len(targets) > 1 and any(way.endswith(BACK) for way in ways):
        raise ValueError(f"{name!r} comes back from several modalities at once")
    return Chapter(name, line, row.source, targets, ways, _address(row.href, name))


def _address(href: Any, name: str) -> str | None:
    """An address that leads to a page and runs nothing."""
    if href is None:
        return None
    href = checked_text(href, f"address of {name!r}")
    tail = r"(?:\?[\w.~%&=+/-]*)?(?:#[\w.~%&=+/-]*)?"
    relative = rf"(?:\.{{1,2}}/)*[A-Za-z0-9_~%][\w.~%+-]*(?:/[\w.~%+-]+)*/?{tail}"
    secure = rf"https://[A-Za-z0-9.-]+(?::\d+)?(?:/[\w.~%&=+@,-]*)*{tail}"
    if not re.fullmatch(rf"{relative}|{secure}", href, re.ASCII):
        raise ValueError(
            f"address of {name!r} must be relative (chapter.html) or begin with https://, got {href!r:.80}"
        )
    return href


def _way(way: str) -> str:
    return way.removesuffix(BACK)


def _ends(road: Chapter, way: str) -> tuple[str, ...]:
    """The modalities of a road, in the direction of a way."""
    ends = (road.source, *road.target)
    return ends[::-1] if way.endswith(BACK) else ends


def _how(road: Chapter) -> str:
    """In words: which modalities, and what they do."""
    if not road.target:
        return f"about {road.source}"
    told = []
    for way in road.ways:
        first, *others = _ends(road, way)
        if _way(way) in ("matching", "foundation") and len(others) > 1:
            first, others = f"{first}, {', '.join(others[:-1])}", others[-1:]
        told.append(WAYS[_way(way)][2].format(first, " and ".join(others)))
    return ", ".join(told)


def _about(way: str, roads: Sequence[Chapter]) -> str:
    own = [r for r in roads if way in map(_way, r.ways)]
    written = sum(r.href is not None for r in own)
    count = f"{len(own)} chapter" + "s" * (len(own) != 1)
    count += f", {written} written" * (written < len(own))
    return f"{WAYS[way][0]}: {WAYS[way][1]}. {count}."


def _color(way: str, default: str = "currentColor") -> str:
    name = WAYS[_way(way)][3]
    return default if name is None else COLORS[name]


# --- The drawing ----------------------------------------------------------------------------------


def _line(way: str) -> str:
    """Colour and kind of a line, as attributes."""
    dashes = WAYS[_way(way)][4]
    return f'stroke="{_color(way)}"' + (f' stroke-dasharray="{dashes}"' if dashes else "")


def _sample(way: str) -> str:
    """A piece of road for a legend."""
    return (
        '<svg viewBox="0 0 36 12" aria-hidden="true"><path d="M3 6H33" fill="none" stroke-width="4" '
        f'stroke-linecap="round" {_line(way)}/></svg>'
    )


def _rank(road: Chapter) -> tuple[int, int]:
    """Where a road lies between top and bottom: by its left station, then by its right one."""
    ends = (road.source, *road.target)
    left = [LEFT.index(e) for e in ends if e in LEFT]
    right = [RIGHT.index(e) for e in ends if e in RIGHT]
    if not road.target:  # a place: outside all roads of its station
        return (-1, 0) if 0 in left + right else (9, 0)
    if len(left) > 1 or len(right) > 1:
        return (1, 0)
    return (2 * left[0], right[0])


def _n(value: float) -> str:
    return f"{round(value, 1) + 0.0:g}"


def _drawing(
    roads: Sequence[Chapter],
    said: Sequence[str],
    notes: Sequence[str],
    first: int,
    label: str,
    size: _Size,
) -> str:
    order = sorted(range(len(roads)), key=lambda k: _rank(roads[k]))  # stable: else as given
    ys, y = {}, size.pitch / 2 + 4
    for before, k in zip([None, *order], order):
        if before is not None:
            y += size.pitch + size.gap * (_rank(roads[before]) != _rank(roads[k]))
        ys[k] = y
    bottom = y + size.pitch / 2 + 4
    stations, height = _stations(roads, ys, bottom, size)
    shift = (height - bottom) / 2
    ys = {k: y + shift for k, y in ys.items()}

    # Each road leaves its station at a place of its own, in the order of the signs.
    starts: dict[tuple[str, int], tuple[float, float]] = {}
    for name, (x, y) in stations.items():
        own = [k for k in order if name in (roads[k].source, *roads[k].target)]
        for j, k in enumerate(own):
            across = 0.0 if len(own) == 1 else 1.5 * j / (len(own) - 1) - 0.75
            dy = across * size.radius
            dx = math.sqrt(size.radius**2 - dy**2) * (1 if name in LEFT else -1)
            starts[name, k] = (x + dx, y + dy)

    parts = []
    for k in order:
        parts.append(_road(k, roads[k], ys[k], starts, said[k], notes[k], k == first, size))
    places = "".join(_station(name, *stations[name], size) for name in stations)
    time = ""
    if all(name in stations for name in RIGHT):
        x, (top, low) = stations["pictures"][0], (stations[name][1] for name in RIGHT)
        top, low = top + size.radius + 1.5 * size.font + 10, low - size.radius - 4
        middle = (top + low) / 2
        if low - top > 3 * size.font:
            time = (
                f'<g class="mmt-time"><path d="M{_n(x)} {_n(top)}V{_n(middle - size.font)}M{_n(x)} '
                f'{_n(middle + size.font * 0.7)}V{_n(low)}" stroke="currentColor" stroke-width="1.5" '
                f'stroke-dasharray="2 5"/><text x="{_n(x)}" y="{_n(middle + size.font * 0.2)}">'
                "in time</text></g>"
            )
    return (
        f'<svg class="mmt-roads mmt-{size.name}" viewBox="0 0 {size.width} {_n(height)}" role="img" '
        f'font-size="{size.font:g}" aria-label="{escape(label)}: {len(roads)} chapters. Arrow keys '
        f'go to the next one, Enter opens it."><g aria-hidden="true">{time}{places}</g>{"".join(parts)}</svg>'
    )


def _stations(
    roads: Sequence[Chapter], ys: dict[int, float], bottom: float, size: _Size
) -> tuple[dict[str, tuple[float, float]], float]:
    """Middle of each station, and the height of the drawing: a station stands where its roads are,
    and clear of the one above it."""
    used = {end for r in roads for end in (r.source, *r.target)}
    places: dict[str, tuple[float, float]] = {}
    edge, under = size.radius + 6, 1.5 * size.font
    height = bottom
    for side, x in ((LEFT, max(edge, 46)), (RIGHT, size.width - max(edge, 46))):
        own = [name for name in side if name in used]
        room = 2 * size.radius + 12 + under  # with its name below it; the last has two lines
        height = max(height, len(own) * room + size.font * 1.2)
        for name in own:
            at = [y for k, y in ys.items() if name in (roads[k].source, *roads[k].target)]
            places[name] = (x, sum(at) / len(at))
    for side in (LEFT, RIGHT):
        own = [name for name in side if name in places]
        room = 2 * size.radius + 12 + under
        for j, name in enumerate(own):
            x, y = places[name]
            y += (height - bottom) / 2
            low = edge if j == 0 else places[own[j - 1]][1] + room
            high = height - size.radius - 2.7 * size.font - room * (len(own) - 1 - j)
            places[name] = (x, max(low, min(y, high)))
    return places, height


def _road(
    k: int,
    road: Chapter,
    y: float,
    starts: dict[tuple[str, int], tuple[float, float]],
    how: str,
    note: str,
    selected: bool,
    size: _Size,
) -> str:
    left, right = (size.width - size.sign) / 2, (size.width + size.sign) / 2
    strands, tips, hits = [], [], []
    for strand, way in enumerate(road.ways):
        apart = 9.0 * (strand - (len(road.ways) - 1) / 2)
        ends = _ends(road, way)
        for j, end in enumerate(ends):
            side = [e for e in (*LEFT, *RIGHT) if e in ends and (e in LEFT) == (end in LEFT)]
            x0, y0 = starts[end, k]
            x1 = left if end in LEFT else right
            y1 = y + apart + 10 * (side.index(end) - (len(side) - 1) / 2)
            bend = 0.62 * (x1 - x0)
            path = (
                f"M{_n(x0)} {_n(y0 + apart / 2)}C{_n(x0 + bend)} {_n(y0 + apart / 2)} "
                f"{_n(x1 - bend)} {_n(y1)} {_n(x1)} {_n(y1)}"
            )
            strands.append(
                f'<path class="mmt-strand" data-way="{_way(way)}" d="{path}" {_line(way)}/>'
            )
            if strand == 0:
                hits.append(f'<path class="mmt-hit" d="{path}"/>')
            inwards = 1 if end in LEFT else -1  # the direction towards the sign
            tips.append(_tip(way, j, x1, y1, inwards))
    high = size.pitch - 8
    box = f'x="{_n(left)}" y="{_n(y - high / 2)}" width="{_n(size.sign)}" height="{_n(high)}" rx="{_n(high / 2)}"'
    ring = (
        f'x="{_n(left - 4)}" y="{_n(y - high / 2 - 4)}" width="{_n(size.sign + 8)}" '
        f'height="{_n(high + 8)}" rx="{_n(high / 2 + 4)}"'
    )
    color = _color(road.ways[0])
    state = "".join(
        f" {name}" for name, on in (("mmt-sel", selected), ("mmt-none", note == NOT_YET)) if on
    )
    pin, middle = "", size.width / 2
    if note == HERE:
        middle += 8
        pin = (
            f'<path d="M{_n(left + 18)} {_n(y + 9)}c-3 -5 -6 -7 -6 -11a6 6 0 0 1 12 0c0 4 -3 6 -6 11z" '
            f'fill="{COLORS["vermilion"]}"/><circle cx="{_n(left + 18)}" cy="{_n(y - 2)}" r="2.2" '
            'fill="#fff"/>'
        )
    told = f"{isolated(road.name)}: {how}." + (f" {note}" if note else "")
    return (
        f'<g class="mmt-road{state}" data-i="{k}"><title>{escape(told)}</title>{"".join(hits)}'
        f'{"".join(strands)}{"".join(tips)}<rect class="mmt-sign" {box} fill="{color}" '
        f'stroke="{color}"/><rect class="mmt-ring" {ring}/>{pin}<text x="{_n(middle)}" '
        f'y="{_n(y + 0.35 * size.font)}">{escape(isolated(road.name))}</text></g>'
    )


def _tip(way: str, j: int, x: float, y: float, inwards: int) -> str:
    """What stands where a road reaches its sign: arrows that meet, that go on, or a ring."""
    way = _way(way)
    if way == "foundation":
        return ""
    look = f'stroke="{_color(way)}"'
    if way == "referencing" and j == 1:
        return f'<circle class="mmt-tip" cx="{_n(x - 7 * inwards)}" cy="{_n(y)}" r="4" {look}/>'
    if way == "referencing":
        return ""
    toward = inwards if way == "matching" or j == 0 else -inwards
    x -= 6 * inwards
    return (
        f'<path class="mmt-tip" d="M{_n(x - 3 * toward)} {_n(y - 5)}L{_n(x + 3 * toward)} {_n(y)}'
        f'L{_n(x - 3 * toward)} {_n(y + 5)}" {look}/>'
    )


def _station(name: str, x: float, y: float, size: _Size) -> str:
    scale = size.radius / 19
    sun, sky, land = COLORS["orange"], COLORS["sky"], COLORS["green"]
    frame = (
        '<rect x="-10" y="-7.5" width="20" height="15" rx="2"/>'
        f'<circle cx="-4.5" cy="-2.5" r="1.8" fill="{sun}" stroke="none"/>'
        f'<path d="M-9 6.6L-3 0 1 4 4.5 .5 9 5.2V6.6Z" fill="{land}" stroke="none"/>'
    )
    icons = {
        "words": '<path d="M-10 -8H10A2 2 0 0 1 12 -6V4A2 2 0 0 1 10 6H-2L-7 10.5V6H-10A2 2 0 0 1 -12 4V-6A2 2 0 0 1 -10 -8Z"/>'
        f'<path d="M-8 -4H3M-8 -1H8M-8 2H-1" stroke="{sky}" stroke-width="1.8"/>',
        "sounds": f'<path d="M-10 -1.5V1.5M-6 -5V5M-2 -9V9M2 -4V4M6 -7V7M10 -2V2" stroke="{sky}" stroke-width="2.2"/>',
        "pictures": frame,
        "moving pictures": '<rect x="-11" y="-8.5" width="22" height="17" rx="1.5"/>'
        '<path d="M-11 -5H11M-11 5H11"/><path d="M-9 -6.8H10M-9 6.8H10" stroke-width="1.6" '
        f'stroke-dasharray="1.6 2.6" stroke-linecap="butt"/><path d="M-2.5 -3.2L3.2 0 -2.5 3.2Z" fill="{sun}" stroke="none"/>',
    }
    title = name.capitalize().split(" ")
    below = y + size.radius + 1.15 * size.font
    text = "".join(
        f'<text x="{_n(x)}" y="{_n(below + 1.1 * size.font * j)}">{line}</text>'
        for j, line in enumerate(title)
    )
    return (
        f'<g class="mmt-station"><circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(size.radius)}" '
        f'stroke-width="2"/><g transform="translate({_n(x)} {_n(y)}) scale({_n(scale)})" '
        f'stroke-width="1.4" stroke-linecap="round" stroke-linejoin="round">{icons[name]}</g>{text}</g>'
    )
