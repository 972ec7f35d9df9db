"""A map of a shared space, in the page: pictures and words in one plot, to walk through.

Places are given: to bring many dimensions down to two (by PCA, t-SNE or UMAP) is the caller's, and
so is who is near whom, for in a projection near points need not be near. The map can be enlarged;
pictures and words keep their size then, so that what lay on one another comes apart.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from mmtutor.page._parts import (
    STYLE,
    Widget,
    checked_text,
    checked_texts,
    isolated,
    json_tag,
    made_id,
    sized,
)
from mmtutor.page._sheet import THUMB_SCRIPT, alike, matrix_of, number, sheet

DESK, PHONE = (
    (720, 500),
    (330, 380),
)  # pixels of the map: of words that stand on it without a script
THUMB = {DESK: 34, PHONE: 22}  # pixels of a picture on it
LETTER, LINE = 8.2, 20  # pixels: the widest usual letter, the height of a word
MARGIN = 0.05  # of the map, that stays free of points on each side
MOST = 400  # of pictures and words together: more cannot be seen

_STYLE = """<style>
.mmt-space .mmt-bar{margin:.5em 0}.mmt-space .mmt-map{aspect-ratio:36/25;background:#fff;border:1px solid #8889;border-radius:4px;
color:#111;contain:layout paint;min-height:380px;overflow:hidden;position:relative;touch-action:pan-y;user-select:none;width:100%}
.mmt-space .mmt-map.mmt-in{cursor:grab;touch-action:none}.mmt-space .mmt-map svg{background:none;border-radius:0;height:100%;inset:0;
margin:0;pointer-events:none;position:absolute;width:100%;z-index:3}
.mmt-space .mmt-map line{stroke:#0072b2;stroke-width:2;vector-effect:non-scaling-stroke}
.mmt-space [role=option]{cursor:pointer;display:block;position:absolute;transform:translate(-50%,-50%)}
.mmt-space .mmt-pt .mmt-pic{border-radius:3px}.mmt-space .mmt-pt{opacity:.75;z-index:1}
.mmt-space .mmt-wd{background:#fff;border:1px solid #b3460a;border-radius:4px;color:#8a3200;font-size:13px;line-height:16px;
padding:0 3px;white-space:nowrap;z-index:2}
.mmt-space .mmt-wd.mmt-dot{height:9px;overflow:hidden;padding:0;text-indent:12px;width:9px;border-radius:50%;background:#b3460a;color:#fff;z-index:1}
.mmt-space .mmt-lit{opacity:1;outline:3px solid #0072b2;z-index:4}.mmt-space .mmt-wd.mmt-lit{z-index:5}
.mmt-space .mmt-sel{outline:3px solid #111;z-index:6}.mmt-space [role=option]:focus-visible{outline:3px solid #d95f02;z-index:7}
.mmt-space .mmt-pt.mmt-lit,.mmt-space .mmt-pt.mmt-sel{opacity:1;transform:translate(-50%,-50%) scale(1.35)}
.mmt-space .mmt-card{align-items:flex-start;display:flex;flex-wrap:wrap;gap:.6em;margin:.6em 0;min-height:9.6em}
.mmt-space .mmt-card>div{flex:1 1 13em;min-width:0}.mmt-space .mmt-card .mmt-big{flex:none}
.mmt-space .mmt-row{display:flex;flex-wrap:wrap;gap:.4em;list-style:none}.mmt-space .mmt-row li{list-style:none;margin:0}
.mmt-space .mmt-hit{font-variant-numeric:tabular-nums;line-height:1.3;padding:2px;text-align:center}
.mmt-space .mmt-hit .mmt-pic{margin:0 auto}.mmt-space .mmt-say{margin:0 0 .4em}
@media(max-width:640px){.mmt-space .mmt-desk:not([data-on]){display:none}}
</style>"""

_SCRIPT = (
    r"""(function(id){document.querySelectorAll('[id="'+id+'"]:not([data-ready])').forEach(function(w,copy){
w.dataset.ready="1";function one(s){return w.querySelector(s)}function all(s){return Array.prototype.slice.call(w.querySelectorAll(s))}
var d=JSON.parse(one("script[type='application/json']").textContent),map=one(".mmt-map"),svg=one(".mmt-map svg");
var items=all("[role=option]"),N=d.captions.length,input=one("input"),say=one(".mmt-say"),list=one(".mmt-row"),big=one(".mmt-big");
var help=one("datalist"),now=d.start,focus=d.start,half=[],odd=false,z=1,cx=.5,cy=.5,at=new Map(),NS="http://www.w3.org/2000/svg";
help.id=id+"-words-"+document.querySelectorAll("datalist").length+"-"+copy;input.setAttribute("list",help.id);
d.words.forEach(function(x,i){at.set(x.toLowerCase(),N+i)});
"""
    + THUMB_SCRIPT
    + r"""
var round=[[0,0],[0,-1],[0,1],[1,0],[-1,0],[.6,-1],[-.6,-1],[.6,1],[-.6,1],[0,-2],[0,2],[1,-1],[-1,-1],[1,1],[-1,1]];
function px(i){return(d.points[i][0]-cx)*z+.5}function py(i){return(d.points[i][1]-cy)*z+.5}
function side(){return Math.min(d.thumb,Math.round((map.clientWidth<520?22:34)*Math.sqrt(z)))}
function place(){var W=map.clientWidth,H=map.clientHeight;if(!W)return;map.classList.toggle("mmt-in",z>1.001);
var s=side();items.forEach(function(e,i){e.style.left=(100*px(i)).toFixed(3)+"%";e.style.top=(100*py(i)).toFixed(3)+"%";
if(i<N&&e.dataset.size!==String(s)){e.dataset.size=s;e.replaceChildren(thumb(i,s));e.firstChild.removeAttribute("role");
e.firstChild.removeAttribute("aria-label")}});
items.slice(N).forEach(function(e){e.dataset.on="1";e.classList.remove("mmt-dot")});half=items.map(function(e,i){
return i<N?0:[e.offsetWidth/2+1,e.offsetHeight/2+1]});items.forEach(function(e,i){if(i<N)return;var x=px(i)*W,a=half[i][0];
if(x>=0&&x<=W){x=Math.min(W-a,Math.max(a,x));e.style.left=x.toFixed(1)+"px"}half[i].push(x)});names(now)}
function names(chosen){if(!half.length)return;var H=map.clientHeight,taken=[],first=[chosen];
d.near[chosen].forEach(function(p){first.push(p[0])});
var lit=first.length;d.words.forEach(function(x,i){first.push(N+i)});
var done={};first.forEach(function(i,turn){if(i<N||done[i])return;done[i]=1;var e=items[i],a=half[i][0],b=half[i][1],x=half[i][2],
y=py(i)*H,W=map.clientWidth,free=false;(turn<lit?round:round.slice(0,1)).some(function(o){var u=x+o[0]*2*a,v=y+o[1]*2*b;
var r=[u-a,v-b,u+a,v+b];if(o[0]||o[1]){if(r[0]<0||r[1]<0||r[2]>W||r[3]>H)return false}
if(taken.some(function(t){return r[0]<t[2]&&t[0]<r[2]&&r[1]<t[3]&&t[1]<r[3]}))return false;
taken.push(r);free=true;e.style.margin=(o[1]*2*b).toFixed(1)+"px 0 0 "+(o[0]*2*a).toFixed(1)+"px";return true});
if(!free)e.style.margin="";e.classList.toggle("mmt-dot",!free)})}
function light(i){while(svg.firstChild)svg.removeChild(svg.firstChild);items.forEach(function(e){e.classList.remove("mmt-lit","mmt-sel")});
items[i].classList.add("mmt-sel");d.near[i].forEach(function(p){items[p[0]].classList.add("mmt-lit");
var l=document.createElementNS(NS,"line");[["x1",px(i)],["y1",py(i)],["x2",px(p[0])],["y2",py(p[0])]].forEach(function(a){
l.setAttribute(a[0],(100*a[1]).toFixed(2))});svg.appendChild(l)});names(i)}
function show(i){now=i;items.forEach(function(e,j){e.setAttribute("aria-selected",String(i===j));e.tabIndex=i===j?0:-1});focus=i;
light(i);clear(list);clear(big);if(i<N)big.appendChild(thumb(i,d.thumb));big.hidden=i>=N;input.value=i<N?"":d.words[i-N];
say.textContent=(i<N?"Picture \u201c"+d.captions[i]+"\u201d: nearest words":"\u201c"+d.words[i-N]+"\u201d: nearest pictures")+
(d.near[i].length?"":" are not given")+".";
list.setAttribute("aria-label",i<N?"Nearest words, with their cosines":"Nearest pictures, with their cosines");
d.near[i].forEach(function(p){var li=document.createElement("li"),b=document.createElement("button");b.type="button";
if(p[0]<N){b.className="mmt-hit";b.title=d.captions[p[0]];b.appendChild(thumb(p[0],Math.min(72,d.thumb)));
b.appendChild(document.createElement("span")).textContent=number(p[1])}else b.textContent=d.words[p[0]-N]+" "+number(p[1]);
b.addEventListener("click",function(){look(p[0]);show(p[0]);items[p[0]].focus({preventScroll:true})});
li.appendChild(b);list.appendChild(li)})}
function clamp(){z=Math.min(8,Math.max(1,z));var h=.5/z;cx=Math.min(1-h,Math.max(h,cx));cy=Math.min(1-h,Math.max(h,cy));place();light(now)}
function zoom(f,x,y){x=x===undefined?.5:x;y=y===undefined?.5:y;var old=z;z=Math.min(8,Math.max(1,z*f));
cx+=(x-.5)*(1/old-1/z);cy+=(y-.5)*(1/old-1/z);clamp()}
function look(i){var m=.06;if(px(i)<m||px(i)>1-m||py(i)<m||py(i)>1-m){cx=d.points[i][0];cy=d.points[i][1];clamp()}}
function nearest(e){var b=map.getBoundingClientRect(),x=e.clientX-b.left,y=e.clientY-b.top,best=-1,least=32;
var own=items.indexOf(e.target.closest("[role=option]"));if(own>=N||own>=0&&e.type==="click"&&!e.detail)return own;
items.forEach(function(q,i){var dist=Math.hypot(px(i)*b.width-x,py(i)*b.height-y);if(dist<least){least=dist;best=i}});return best}
var hands=new Map(),moved=false,apart=0,hover=-1;
map.addEventListener("pointerdown",function(e){hands.set(e.pointerId,[e.clientX,e.clientY]);if(hands.size===1)moved=false;
if(hands.size===2){apart=spread();moved=true}});
function spread(){var p=Array.from(hands.values());return Math.hypot(p[0][0]-p[1][0],p[0][1]-p[1][1])}
map.addEventListener("pointermove",function(e){var b=map.getBoundingClientRect(),was=hands.get(e.pointerId);
if(!was){if(e.pointerType==="mouse"){var i=nearest(e);if(i!==hover){hover=i;light(i<0?now:i)}}return}
var dx=e.clientX-was[0],dy=e.clientY-was[1];if(hands.size===1){if(!moved&&Math.hypot(dx,dy)<6)return;moved=true;
if(z>1){map.setPointerCapture(e.pointerId);cx-=dx/b.width/z;cy-=dy/b.height/z;clamp()}hands.set(e.pointerId,[e.clientX,e.clientY])}
else if(hands.size===2){hands.set(e.pointerId,[e.clientX,e.clientY]);var s=spread(),p=Array.from(hands.values());
if(apart>0&&s>0)zoom(s/apart,((p[0][0]+p[1][0])/2-b.left)/b.width,((p[0][1]+p[1][1])/2-b.top)/b.height);apart=s}});
function up(e){hands.delete(e.pointerId)}
["pointerup","pointercancel"].forEach(function(t){addEventListener(t,up)});
map.addEventListener("pointerleave",function(){if(hover>=0){hover=-1;light(now)}});
map.addEventListener("click",function(e){if(moved){moved=false;return}var i=nearest(e);if(i>=0){show(i);items[i].focus({preventScroll:true})}});
map.addEventListener("wheel",function(e){if(!e.ctrlKey)return;e.preventDefault();var b=map.getBoundingClientRect();
zoom(Math.exp(-e.deltaY*.01),(e.clientX-b.left)/b.width,(e.clientY-b.top)/b.height)},{passive:false});
map.addEventListener("keydown",function(e){var a={ArrowLeft:[-1,0],ArrowRight:[1,0],ArrowUp:[0,-1],ArrowDown:[0,1]}[e.key],go=-1;
if(e.ctrlKey||e.metaKey||e.altKey)return;
if(a){var b=map.getBoundingClientRect(),least=1/0;items.forEach(function(q,i){if(i===focus)return;
var dx=(d.points[i][0]-d.points[focus][0])*b.width,dy=(d.points[i][1]-d.points[focus][1])*b.height,along=dx*a[0]+dy*a[1],
off=Math.abs(dx*a[1])+Math.abs(dy*a[0]);if(along>.5&&off<=along*2){var cost=along+2*off;if(cost<least){least=cost;go=i}}})}
else if(e.key==="Home")go=N<items.length?N:0;else if(e.key==="End")go=items.length-1;
else if(e.key==="+"||e.key==="="){e.preventDefault();zoom(1.5,within(px(focus)),within(py(focus)));return}
else if(e.key==="-"){e.preventDefault();zoom(1/1.5);return}else if(e.key==="0"){e.preventDefault();zoom(.01);return}else return;
e.preventDefault();if(go>=0){look(go);show(go);items[go].focus({preventScroll:true})}});
function within(x){return x>=0&&x<=1?x:.5}
one(".mmt-plus").addEventListener("click",function(){zoom(1.5,within(px(now)),within(py(now)))});
one(".mmt-minus").addEventListener("click",function(){zoom(1/1.5)});one(".mmt-whole").addEventListener("click",function(){zoom(.01)});
function read(strict){var s=input.value.trim().toLowerCase(),i=at.get(s);if(i!==undefined){if(i!==now||odd){odd=false;look(i);show(i)}}
else if(strict&&s){odd=true;say.textContent="\u201c"+input.value.trim()+"\u201d is not among the "+d.words.length+" words here."}}
input.addEventListener("input",function(){read(false)});input.addEventListener("change",function(){read(true)});
input.addEventListener("keydown",function(e){if(e.key==="Enter"){e.preventDefault();read(true)}});
all(".mmt-hide").forEach(function(e){e.hidden=false});place();show(now);function fit(){place();light(hover<0?now:hover)}
addEventListener("resize",fit);if(window.ResizeObserver)new ResizeObserver(fit).observe(map)})})"""
)


def space_map(
    picture_points: Any,
    word_points: Any,
    pictures: Any,
    captions: Sequence[str],
    words: Sequence[str],
    *,
    label: str,
    near_words: Sequence[Sequence[tuple[int | str, float]]],
    near_pictures: Sequence[Sequence[tuple[int, float]]],
    start: str | int | None = None,
    quality: int = 70,
    id: str | None = None,
) -> Widget:
    """A map of pictures and words; touch one to see who is near it.

    A word shows its nearest pictures, a picture its caption and its nearest words. The neighbours
    are given, not read off the map.

    Args:
        picture_points: (N, 2) places of the pictures.
        word_points: (M, 2) places of the words, in the same plane; the vertical axis points up.
            Both together are stretched to fill the map, each axis by itself.
        pictures: (N, H, W, 3) uint8.
        captions: N texts, what a screen reader says and what stands beside a chosen picture.
        words: M words, all different. Where there is no room the first are written; the others are
            dots until one enlarges the map.
        label: the title.
        near_words: for each picture its nearest words, nearest first: (place or word, cosine).
        near_pictures: for each word its nearest pictures, nearest first: (place, cosine).
        start: the word, or the place of the picture, that is chosen first; by default the first
            word.
        quality: of the pictures' file (WebP).
        id: an HTML id; made from the content if not given.

    Raises:
        TypeError: captions or words that are not text; pictures that are not uint8.
        ValueError: sizes that do not fit, words that occur twice (the box that finds them does not
            tell capitals), points that are not finite, a neighbour that does not exist, more than
            400 pictures and words, more than two megabytes.
    """
    label = checked_text(label, "label")
    captions = [isolated(caption) for caption in checked_texts(captions, "captions")]
    words = checked_texts(words, "words")
    count = len(captions)
    if not words or not count:
        raise ValueError("space_map needs at least one picture and one word")
    if len(words) + count > MOST:
        raise ValueError(
            f"{count} pictures and {len(words)} words are more than the {MOST} that can be seen; "
            "choose some"
        )
    place = {word: count + i for i, word in enumerate(words)}
    plain = [word.strip().lower() for word in words]
    if len(set(plain)) != len(words):
        twice = max(plain, key=plain.count)
        raise ValueError(f"a word occurs twice, capitals and spaces apart: {twice!r}")
    if any(word != word.strip() for word in words):
        raise ValueError("a word begins or ends with a space, so the box cannot find it")
    points = [
        matrix_of(picture_points, "picture_points", count),
        matrix_of(word_points, "word_points", len(words)),
    ]
    for name, one in zip(("picture_points", "word_points"), points):
        if one.shape[1] != 2:
            raise ValueError(f"{name} must have shape (N, 2), got {one.shape}")
    points = np.concatenate(points)
    alike(count, "captions", pictures, "pictures")
    near = _near(near_words, "near_words", "pictures", count, place)
    near += _near(near_pictures, "near_pictures", "words", len(words), range(count))
    first = _first(start, place, count)
    low, span = points.min(0), np.ptp(points, axis=0)
    unit = (points - low) / np.where(span > 0, span, 1.0)
    unit = np.where(span > 0, unit, 0.5) * (1 - 2 * MARGIN) + MARGIN
    unit[:, 1] = 1 - unit[:, 1]
    unit = np.round(unit, 4)

    made = sheet(pictures, quality)
    side = max(made.size)
    chosen = {first, *(i for i, _ in near[first])}
    order = [i for i in (first, *(i for i, _ in near[first])) if i >= count]
    order = list(dict.fromkeys([*order, *place.values()]))
    written = {size: _written(unit, words, count, order, size) for size in (PHONE, DESK)}
    options = []
    for i, (x, y) in enumerate(unit.tolist()):
        left = f"{100 * x:.4g}%"
        lit = " mmt-sel" if i == first else " mmt-lit" if i in chosen else ""
        more = (
            f'role="option" aria-selected="{str(i == first).lower()}" '
            f'tabindex="{0 if i == first else -1}" style="left:{left};top:{100 * y:.4g}%"'
        )
        if i < count:
            thumb = made.place(i, captions[i], min(THUMB[DESK], side))
            thumb = thumb.replace(f' role="img" aria-label="{escape(captions[i])}"', "")
            options.append(
                f'<span class="mmt-pt{lit}" aria-label="{escape(captions[i])}" {more}>{thumb}'
                "</span>"
            )
        else:
            narrow = "" if i in written[PHONE] else " mmt-desk"
            dot = "" if i in written[DESK] else " mmt-dot"
            word = words[i - count]
            # at the edge it is moved inwards, so that it can be read
            more = more.replace(
                f"left:{left}",
                f"left:clamp({_half(word):g}px,{left},calc(100% - {_half(word):g}px))",
            )
            options.append(f'<span class="mmt-wd{lit}{narrow}{dot}" {more}>{escape(word)}</span>')
    lines = "".join(
        f'<line x1="{100 * unit[first, 0]:.4g}" y1="{100 * unit[first, 1]:.4g}" '
        f'x2="{100 * unit[i, 0]:.4g}" y2="{100 * unit[i, 1]:.4g}"/>'
        for i, _ in near[first]
    )
    rows = "".join(
        f'<li><span class="mmt-hit">{made.place(i, captions[i], min(72, side))}'
        f"<span>{number(score)}</span></span></li>"
        if i < count
        else f"<li>{escape(words[i - count])} {number(score)}</li>"
        for i, score in near[first]
    )
    own = made.place(first, captions[first]) if first < count else ""
    said = (
        f"Picture “{captions[first]}”: nearest words"
        if first < count
        else f"“{words[first - count]}”: nearest pictures"
    )
    said += "." if near[first] else " are not given."
    data = {
        "captions": captions,
        "words": words,
        "points": unit.tolist(),
        "near": near,
        "start": first,
        "sheet": made.numbers(),
        "thumb": side,
    }
    tag = json_tag(data)
    id = made_id(id, "space", label, tag, made.data)
    html = (
        f'<div class="mmt-w mmt-space" id="{id}" role="group" aria-label="{escape(label)}">{STYLE}'
        f'{_STYLE}{made.style(id)}<p class="mmt-title">{escape(label)}</p>'
        '<div class="mmt-bar mmt-hide" hidden><label>Find a word <input type="text" size="12" '
        'autocomplete="off" autocapitalize="none" spellcheck="false"></label><button type="button" '
        'class="mmt-plus" aria-label="Enlarge">+</button><button type="button" class="mmt-minus" '
        'aria-label="Make smaller">−</button><button type="button" class="mmt-whole">Whole map'
        "</button></div><datalist>"
        + "".join(f'<option value="{escape(word)}"></option>' for word in words)
        + f'</datalist><div class="mmt-map"><div role="listbox" aria-label="{escape(label)}: '
        f'{count} pictures and {len(words)} words. Arrow keys go to the next one.">'
        + "".join(options)
        + '</div><svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">'
        f'{lines}</svg></div><div class="mmt-card"><div class="mmt-big"'
        f'{"" if own else " hidden"}>{own}</div><div><p class="mmt-say" aria-live="polite">{escape(said)}</p>'
        f'<ol class="mmt-row" aria-label="Nearest {"words" if first < count else "pictures"}, with '
        f'their cosines">{rows}</ol></div></div>{tag}'
        f"<script>{_SCRIPT}({json.dumps(id)});</script></div>"
    )
    told = "; ".join(
        f"{captions[i] if i < count else words[i - count]} ({number(score)})"
        for i, score in near[first]
    )
    text = f"{label}: {count} pictures and {len(words)} words.\n  {said[:-1]}"
    return sized(Widget(id, html, text + (f": {told}" if told else ".")), "map")


def _first(start: Any, place: dict[str, int], count: int) -> int:
    """The place of what is chosen first among pictures and words."""
    if start is None:
        return count
    if isinstance(start, str):
        if start not in place:
            raise ValueError(f"start: {start!r} is not among the words")
        return place[start]
    if isinstance(start, bool) or not hasattr(start, "__index__") or not 0 <= start < count:
        raise ValueError(f"start must be a word or a picture in 0…{count - 1}, got {start!r}")
    return int(start)


def _near(given: Any, what: str, owners: str, rows: int, place: Any) -> list[list[list[float]]]:
    """Neighbours as (place among pictures and words, cosine with four digits).

    ``place`` are the words with their places, or the range of the pictures.
    """
    given = list(given)
    if len(given) != rows:
        raise ValueError(f"{what}: {rows} {owners}, but {len(given)} lists of neighbours")
    places = list(place.values()) if isinstance(place, dict) else place
    made = []
    for row in given:
        own: list[list[float]] = []
        for other, score in row:
            if isinstance(other, str):
                if not isinstance(place, dict) or other not in place:
                    raise ValueError(f"{what}: {other!r} is not among the words")
                other = place[other]
            elif not (0 <= other < len(places) and int(other) == other):
                raise ValueError(f"{what}: there is no number {other} among {len(places)}")
            else:
                other = places[int(other)]
            if not math.isfinite(score):
                raise ValueError(f"{what}: a cosine must be finite, got {score}")
            own.append([other, round(float(score), 4) + 0.0])
        made.append(own)
    return made


def _half(word: str) -> float:
    """Half of the width of a word on the map, in pixels."""
    return len(word) * LETTER / 2 + 5


def _written(
    unit: np.ndarray, words: Sequence[str], count: int, order: Sequence[int], size: tuple[int, int]
) -> set[int]:
    """The words that have room on a map of this size, the first first."""
    taken: list[tuple[float, float, float, float]] = []
    kept = set()
    for i in order:
        half = _half(words[i - count])
        x, y = unit[i] * size
        x = min(max(x, half), size[0] - half)
        box = (x - half, y - LINE / 2, x + half, y + LINE / 2)
        if not any(
            box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3] for t in taken
        ):
            taken.append(box)
            kept.add(i)
    return kept
