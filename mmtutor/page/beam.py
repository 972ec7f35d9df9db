"""A beam that grows: choose a picture and the width of the beam, and go through the search step by
step.

Beside each path stand its log-probability, the same for each word, and whether what it says is true.
All of it is computed beforehand (:func:`mmtutor.kit.decoding.beam_tree`, once a width); the page
only shows it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from mmtutor.page._parts import STYLE, Widget, checked_text, encoded, json_tag, made_id, sized
from mmtutor.page.plotting import _tree_layout

if TYPE_CHECKING:
    from mmtutor.kit.decoding import BeamTree

PRUNED, KEPT, ENDED = range(3)
STATUS = ("pruned", "kept", "ended")
NO_SENTENCE, FALSE, TRUE = range(3)
TRUTH = ("… no sentence yet", "✗ false", "✓ true")
VERDICTS = {"unparsable": NO_SENTENCE, "false": FALSE, "true": TRUE}
PITCH, ROW, EDGE = 30, 34, 16  # pixels of the drawing: between columns, between steps, at its edge

_STYLE = """<style>
.mmt-beam .mmt-top{align-items:flex-start;display:flex;flex-wrap:wrap;gap:.8em 1.4em}
.mmt-beam .mmt-choose{align-items:center;display:flex;flex-wrap:wrap;gap:.4em;margin:0 0 .5em}
.mmt-beam .mmt-side{flex:1 1 17em;min-width:0}
.mmt-beam .mmt-pics{flex:0 1 320px}
@media(max-width:600px){.mmt-beam .mmt-pics{flex-basis:200px;margin:0 auto}}
.mmt-beam svg.mmt-tree{margin:.4em auto;max-width:100%;width:auto}
.mmt-beam svg.mmt-tree text{font:700 12px sans-serif;paint-order:normal;stroke:none}
.mmt-beam .mmt-say{margin:.5em 0}
.mmt-beam .mmt-paths{list-style:none}
.mmt-beam .mmt-paths li{border-left:5px solid #0072b2;list-style:none;margin:.35em 0;padding:.1em 0 .1em .7em}
.mmt-beam .mmt-paths li.mmt-pruned{border-left:5px dotted #888;font-style:italic}
.mmt-beam .mmt-paths li.mmt-ended{border-left:9px double #b3460a}
.mmt-beam .mmt-no{display:inline-block;font-weight:700;min-width:1.6em}
.mmt-beam .mmt-num{display:block;font-variant-numeric:tabular-nums;opacity:.9;padding-left:1.6em}
.mmt-beam .mmt-mark{font-weight:600;white-space:nowrap}
.mmt-w.mmt-beam .mmt-head{font-weight:600;margin:.8em 0 .2em}
</style>"""

_SCRIPT = """(function(id){document.querySelectorAll('[id="'+id+'"]:not([data-ready])').forEach(function(w){
w.dataset.ready="1";var D=JSON.parse(w.querySelector("script[type='application/json']").textContent),NS="http://www.w3.org/2000/svg";
var p=D.start[0],k=D.start[1],step=D.start[2],svg=w.querySelector(".mmt-tree"),slider=w.querySelector("input");
var pics=[].slice.call(w.querySelectorAll(".mmt-pics>img")),list=w.querySelector(".mmt-now"),ends=w.querySelector(".mmt-ends");
function all(s){return [].slice.call(w.querySelectorAll(s))}
function words(t,i){var s=[];for(;i>0;i=t[i][0])s.unshift(D.words[t[i][2]]);return s}
function num(x){return x.toFixed(2).replace("-","\\u2212")}
function el(tag,cls,text){var e=document.createElement(tag);if(cls)e.className=cls;if(text!==undefined)e.textContent=text;return e}
function row(t,i,no){var n=t[i],li=el("li","mmt-"+D.status[n[4]]),s=words(t,i);
li.appendChild(el("span","mmt-no",no+"."));li.appendChild(document.createTextNode(" "));
li.appendChild(el("span","mmt-path",s.slice(0,-1).join(" ")+(s.length>1?" ":"")));li.lastChild.appendChild(el("b","",s[s.length-1]));
li.appendChild(el("span","mmt-num",D.status[n[4]]+" \\u00b7 log p "+num(n[3])+" \\u00b7 a word "+num(n[3]/n[1])+" \\u00b7 "));
li.lastChild.appendChild(el("span","mmt-mark",D.truth[n[5]]));return li}
function draw(t,W,H,now){while(svg.firstChild)svg.removeChild(svg.firstChild);
svg.setAttribute("viewBox","0 0 "+W+" "+H);svg.setAttribute("width",W);svg.setAttribute("height",H);
function add(tag,a,text){var e=document.createElementNS(NS,tag);for(var q in a)e.setAttribute(q,a[q]);if(text!==undefined)e.textContent=text;svg.appendChild(e)}
var on={};t.forEach(function(n,i){if(n[1]===step&&n[4]===1||n[4]===2&&n[1]<=step)for(var j=i;j>=0;j=t[j][0])on[j]=1});
t.forEach(function(n,i){if(!i||n[1]>step)return;var q=t[n[0]];
add("path",{d:"M"+q[6]+" "+q[7]+"L"+n[6]+" "+n[7],stroke:n[4]?"#111":"#6b6b6b","stroke-width":on[i]?3:1.2,"stroke-dasharray":n[4]?"none":"2 4",fill:"none"})});
t.forEach(function(n,i){if(n[1]>step)return;var x=n[6],y=n[7],no=now.indexOf(i);
if(no<0){if(n[4]===0)add("path",{d:"M"+(x-4)+" "+(y-4)+"l8 8m0 -8l-8 8",stroke:"#6b6b6b","stroke-width":1.6});
else if(n[4]===2)add("rect",{x:x-5,y:y-5,width:10,height:10,fill:"#b3460a",stroke:"#111","stroke-width":1.2});
else add("circle",{cx:x,cy:y,r:4.5,fill:on[i]?"#0072b2":"#fff",stroke:"#111","stroke-width":1.4});return}
if(n[4]===2)add("rect",{x:x-11,y:y-11,width:22,height:22,fill:"#fff",stroke:"#b3460a","stroke-width":3});
else add("circle",{cx:x,cy:y,r:11,fill:n[4]?"#cfe5f3":"#fff",stroke:n[4]?"#0072b2":"#6b6b6b","stroke-width":n[4]?2.5:1.2,"stroke-dasharray":n[4]?"none":"2 3"});
add("text",{x:x,y:y+4,"text-anchor":"middle"},no+1)})}
function order(t,a){return a.sort(function(i,j){return t[j][3]-t[i][3]||i-j})}
function show(){var o=D.pictures[p][k],t=o.nodes,last=o.steps;step=Math.max(1,Math.min(last,step));
var now=[],done=[];t.forEach(function(n,i){if(n[1]===step)now.push(i);if(n[4]===2&&n[1]<=step)done.push(i)});order(t,now);order(t,done);
while(list.firstChild)list.removeChild(list.firstChild);now.forEach(function(i,q){list.appendChild(row(t,i,q+1))});
while(ends.firstChild)ends.removeChild(ends.firstChild);done.forEach(function(i,q){ends.appendChild(row(t,i,q+1))});
w.querySelector(".mmt-none").hidden=done.length>0;draw(t,o.size[0],o.size[1],now);
var c=[0,0,0];now.forEach(function(i){c[t[i][4]]++});
var said="Step "+step+" of "+last+", width "+D.widths[k]+": "+c[1]+" kept, "+c[0]+" of the pruned shown, "+c[2]+" ended.";
if(step===last)said+=" "+o.end;w.querySelector(".mmt-say").textContent=said;
slider.max=last;slider.value=step;slider.setAttribute("aria-valuetext","step "+step+" of "+last);
w.querySelector(".mmt-count").textContent=step+" of "+last;
pics.forEach(function(q,i){q.hidden=i!==p});
all("[data-picture]").forEach(function(b,i){b.setAttribute("aria-pressed",String(i===p))});
all("[data-width]").forEach(function(b,i){b.setAttribute("aria-pressed",String(i===k))})}
all("[data-picture]").forEach(function(b,i){b.disabled=false;b.addEventListener("click",function(){p=i;step=1;show()})});
all("[data-width]").forEach(function(b,i){b.disabled=false;b.addEventListener("click",function(){k=i;show()})});
all("[data-step]").forEach(function(b){b.addEventListener("click",function(){step+=+b.dataset.step;show()})});
slider.addEventListener("input",function(){step=+slider.value;show()});
w.querySelector(".mmt-bar").hidden=false;show()})})"""


@dataclass(frozen=True)
class Searched:
    """One picture and the searches for its caption.

    Args:
        name: what the button that chooses it says.
        image: the picture, as in :func:`mmtutor.page.widgets.frames`.
        alt: what it shows, for who cannot see it.
        trees: for each width the search, from :func:`mmtutor.kit.decoding.beam_tree`.
        judge: takes the words of a path and says ``"true"``, ``"false"`` or ``"unparsable"`` (or
            an enum of these strings, as :func:`mmtutor.world.is_true`).
    """

    name: str
    image: Any
    alt: str
    trees: Mapping[int, BeamTree]
    judge: Callable[[str], Any]


def growing_beam(
    pictures: Sequence[Searched],
    words: Sequence[str],
    *,
    label: str,
    id: str | None = None,
    width: int | None = None,
    step: int | None = None,
    fmt: str = "webp",
    quality: int = 85,
) -> Widget:
    """Step through beam searches: the tree as far as it has grown, and every path of the step with
    its score and its truth.

    Kept, pruned and ended paths differ in a word, in the line beside them and in the shape of their
    places in the tree, not in colour alone.

    Args:
        pictures: what to choose from; all with the same widths.
        words: the words of all ids in their order, for example a
            :class:`mmtutor.kit.text.Vocabulary`.
        label: the title.
        id: an HTML id; made from the content if not given.
        width: the width shown first; by default the second smallest, or the only one.
        step: the step shown first, from 1; by default the last, where the tree is whole.
        fmt, quality: of the pictures.

    Raises:
        ValueError: no picture, no tree, widths that differ, a tree without a step or with an id
            beyond the words, a verdict that is none, or a start that is not there.
        TypeError: something that is not a :class:`Searched`.
    """
    pictures, words = list(pictures), [str(word) for word in words]
    if not pictures:
        raise ValueError("a growing beam needs at least one picture")
    for one in pictures:
        if not isinstance(one, Searched):
            raise TypeError(f"pictures must be Searched objects, got {type(one).__name__}")
    label = checked_text(label, "label")
    widths = sorted(pictures[0].trees)
    if not widths:
        raise ValueError(f"{pictures[0].name!r} has no tree")
    for one in pictures:
        if sorted(one.trees) != widths:
            raise ValueError(
                f"all pictures need trees of the same widths: {pictures[0].name!r} has {widths}, "
                f"{one.name!r} has {sorted(one.trees)}"
            )
    width = widths[min(1, len(widths) - 1)] if width is None else width
    if width not in widths:
        raise ValueError(f"width must be one of {widths}, got {width!r}")
    searched = [[_nodes(one, one.trees[k], words) for k in widths] for one in pictures]
    place = widths.index(width)
    last = searched[0][place]["steps"]
    step = last if step is None else step
    if not 1 <= step <= last:
        raise ValueError(f"step must be from 1 to {last}, got {step!r}")
    used = sorted({node[2] for one in searched for tree in one for node in tree["nodes"][1:]})
    short = {old: new for new, old in enumerate(used)}
    for one in searched:
        for tree in one:
            for node in tree["nodes"][1:]:
                node[2] = short[node[2]]
    data = {
        "words": [words[i] for i in used],
        "widths": widths,
        "status": STATUS,
        "truth": TRUTH,
        "pictures": searched,
        "start": [0, place, step],
    }
    tag = json_tag(data)
    images = [encoded(one.image, fmt, 96, quality) for one in pictures]
    names = [checked_text(one.name, "a picture's name") for one in pictures]
    alts = [checked_text(one.alt, "a picture's alt") for one in pictures]
    id = made_id(id, "beam", label, tag, *names, *alts, *(image.data for image in images))

    tree = searched[0][place]
    now, ended = _at(tree, step)
    rows = "".join(_row(data, tree, i, no) for no, i in enumerate(now, start=1))
    done = "".join(_row(data, tree, i, no) for no, i in enumerate(ended, start=1))
    choose = "".join(
        f'<button type="button" data-picture aria-pressed="{str(i == 0).lower()}" disabled>'
        f"{escape(name)}</button>"
        for i, name in enumerate(names)
    )
    wide = "".join(
        f'<button type="button" data-width aria-pressed="{str(k == width).lower()}" disabled>{k}</button>'
        for k in widths
    )
    html = (
        f'<div class="mmt-w mmt-beam" id="{id}" role="group" aria-label="{escape(label)}">{STYLE}{_STYLE}'
        f'<p class="mmt-title">{escape(label)}</p>'
        f'<div class="mmt-choose" role="group" aria-label="Picture"><span>Picture</span>{choose}</div>'
        f'<div class="mmt-choose" role="group" aria-label="Width of the beam">'
        f"<span>Width of the beam</span>{wide}</div>"
        '<div class="mmt-bar" hidden>'
        '<button type="button" data-step="-99" aria-label="First step">First</button>'
        '<button type="button" data-step="-1" aria-label="Previous step">◀</button>'
        f'<input type="range" min="1" max="{last}" step="1" value="{step}" aria-label="Step" '
        f'aria-valuetext="step {step} of {last}">'
        '<button type="button" data-step="1" aria-label="Next step">▶</button>'
        f'<span class="mmt-count">{step} of {last}</span></div>'
        f'<p class="mmt-say" aria-live="polite">{escape(_said(data, tree, step, width))}</p>'
        '<div class="mmt-top"><div class="mmt-pics">'
        + "".join(
            image.tag(fmt, alt, " hidden" if i else "")
            for i, (image, alt) in enumerate(zip(images, alts))
        )
        + f'</div><div class="mmt-side">{_drawing(tree, step, now)}</div></div>'
        '<p class="mmt-head">The paths of this step, the most probable first</p>'
        f'<ol class="mmt-paths mmt-now" aria-label="Paths of this step">{rows}</ol>'
        '<p class="mmt-head">Captions that have ended so far, the best first</p>'
        f'<p class="mmt-none"{" hidden" if ended else ""}>None yet.</p>'
        f'<ol class="mmt-paths mmt-ends" aria-label="Ended captions">{done}</ol>'
        f"{tag}<script>{_SCRIPT}({json.dumps(id)});</script></div>"
    )
    return sized(Widget(id, html, _text(label, pictures, widths, words)), "beam")


# --- What is shown --------------------------------------------------------------------------------


def _nodes(one: Searched, tree: BeamTree, words: list[str]) -> dict[str, Any]:
    """A tree as plain numbers: for each node its parent, depth, word, log-probability, status,
    truth, and place in the drawing."""
    largest = max((max(node.ids, default=-1) for node in tree.nodes), default=-1)
    if largest < 0:
        raise ValueError(f"a tree of {one.name!r} has no step")
    if largest >= len(words):
        raise ValueError(f"the tree holds the id {largest}, but there are only {len(words)} words")
    depths, across = _tree_layout(tree.nodes)
    middle = EDGE + (max(across) - min(across)) * PITCH / 2
    nodes = []
    for node, depth, y in zip(tree.nodes, depths, across):
        ended = node.ids[-1:] == (tree.eos,)
        status = (ENDED if ended else KEPT) if node.kept else PRUNED
        said = " ".join(words[i] for i in node.ids if i != tree.eos)
        verdict = str(one.judge(said)).lower() if node.ids else "unparsable"
        if verdict not in VERDICTS:
            raise ValueError(f"judge must say one of {sorted(VERDICTS)}, got {verdict!r}")
        place = [round(middle - y * PITCH, 1), round(EDGE + depth * ROW, 1)]
        nodes.append(
            [
                node.parent,
                depth,
                node.ids[-1] if node.ids else 0,
                round(node.logprob, 6) + 0.0,
                status,
                VERDICTS[verdict],
                *place,
            ]
        )
    best = tree.hypotheses[0]
    said = " ".join(words[i] for i in best.ids)
    verdict = TRUTH[VERDICTS[str(one.judge(said)).lower()]]
    how = "No living path can overtake it" if best.finished else "The limit of words is reached"
    return {
        "nodes": nodes,
        "steps": max(depths),
        "size": [round(2 * middle), 2 * EDGE + max(depths) * ROW],
        "end": f"{how}: the caption is “{said}” ({verdict}).",
    }


def _at(tree: Mapping[str, Any], step: int) -> tuple[list[int], list[int]]:
    """The paths of a step and the captions that have ended by then, the most probable first."""
    nodes = tree["nodes"]
    now = [i for i, node in enumerate(nodes) if node[1] == step]
    ended = [i for i, node in enumerate(nodes) if node[4] == ENDED and node[1] <= step]
    return tuple(sorted(those, key=lambda i: (-nodes[i][3], i)) for those in (now, ended))


def _number(x: float) -> str:
    return f"{x:.2f}".replace("-", "−")


def _row(data: Mapping[str, Any], tree: Mapping[str, Any], i: int, no: int) -> str:
    node, path, j = tree["nodes"][i], [], i
    while j > 0:
        path.append(data["words"][tree["nodes"][j][2]])
        j = tree["nodes"][j][0]
    *before, word = reversed(path)
    start = "".join(f"{one} " for one in before)
    return (
        f'<li class="mmt-{STATUS[node[4]]}"><span class="mmt-no">{no}.</span> '
        f'<span class="mmt-path">{escape(start)}<b>{escape(word)}</b></span>'
        f'<span class="mmt-num">{STATUS[node[4]]} · log p {_number(node[3])} · '
        f'a word {_number(node[3] / node[1])} · <span class="mmt-mark">{TRUTH[node[5]]}</span></span></li>'
    )


def _said(data: Mapping[str, Any], tree: Mapping[str, Any], step: int, width: int) -> str:
    counts = [0, 0, 0]
    for node in tree["nodes"][1:]:
        counts[node[4]] += node[1] == step
    said = (
        f"Step {step} of {tree['steps']}, width {width}: {counts[KEPT]} kept, "
        f"{counts[PRUNED]} of the pruned shown, {counts[ENDED]} ended."
    )
    return said + (f" {tree['end']}" if step == tree["steps"] else "")


def _drawing(tree: Mapping[str, Any], step: int, now: list[int]) -> str:
    """The tree from top to bottom as far as it has grown; the list beside it says the same in
    words. The script draws it anew."""
    nodes, (wide, high) = tree["nodes"], tree["size"]
    on: set[int] = set()
    for i, node in enumerate(nodes):
        if (node[1] == step and node[4] == KEPT) or (node[4] == ENDED and node[1] <= step):
            while i >= 0:
                on.add(i)
                i = nodes[i][0]
    parts = []
    for i, node in enumerate(nodes):
        if i and node[1] <= step:
            x, y = nodes[node[0]][6:]
            parts.append(
                f'<path d="M{x:g} {y:g}L{node[6]:g} {node[7]:g}" stroke="{"#111" if node[4] else "#6b6b6b"}" '
                f'stroke-width="{3 if i in on else 1.2}" stroke-dasharray="{"none" if node[4] else "2 4"}" fill="none"/>'
            )
    for i, node in enumerate(nodes):
        if node[1] > step:
            continue
        x, y, status = node[6], node[7], node[4]
        if i in now:
            if status == ENDED:
                parts.append(
                    f'<rect x="{x - 11:g}" y="{y - 11:g}" width="22" height="22" fill="#fff" stroke="#b3460a" stroke-width="3"/>'
                )
            else:
                look = (
                    'fill="#cfe5f3" stroke="#0072b2" stroke-width="2.5" stroke-dasharray="none"'
                    if status
                    else 'fill="#fff" stroke="#6b6b6b" stroke-width="1.2" stroke-dasharray="2 3"'
                )
                parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="11" {look}/>')
            parts.append(
                f'<text x="{x:g}" y="{y + 4:g}" text-anchor="middle">{now.index(i) + 1}</text>'
            )
        elif status == PRUNED:
            parts.append(
                f'<path d="M{x - 4:g} {y - 4:g}l8 8m0 -8l-8 8" stroke="#6b6b6b" stroke-width="1.6"/>'
            )
        elif status == ENDED:
            parts.append(
                f'<rect x="{x - 5:g}" y="{y - 5:g}" width="10" height="10" fill="#b3460a" stroke="#111" stroke-width="1.2"/>'
            )
        else:
            parts.append(
                f'<circle cx="{x:g}" cy="{y:g}" r="4.5" fill="{"#0072b2" if i in on else "#fff"}" stroke="#111" stroke-width="1.4"/>'
            )
    return (
        f'<svg class="mmt-tree" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" role="img" '
        f'aria-label="The tree of the search from top to bottom. The lists below say the same in words.">{"".join(parts)}</svg>'
    )


def _text(
    label: str, pictures: Sequence[Searched], widths: Sequence[int], words: Sequence[str]
) -> str:
    """The plain-text twin: what each search returned."""
    lines = [f"{label}: {len(pictures)} pictures, widths {', '.join(map(str, widths))}"]
    for one in pictures:
        lines.append(f"  {one.name}: {one.alt}")
        for width in widths:
            best = one.trees[width].hypotheses[0]
            said = " ".join(words[i] for i in best.ids)
            mark = TRUTH[VERDICTS[str(one.judge(said)).lower()]]
            length = len(best.ids) + best.finished
            lines.append(
                f"    width {width}: {said} (log p {_number(best.logprob)}, "
                f"a word {_number(best.logprob / length)}, {mark})"
            )
    return "\n".join(lines)
