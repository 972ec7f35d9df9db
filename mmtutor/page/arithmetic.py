"""Arithmetic with words, in the page: type a − b + c and see the ten nearest words.

All the words travel with the page. Their vectors are rounded to whole numbers from −127 to 127, one
byte each, which moves a cosine by less than 0.01; they lie there as text until the first touch. With
:func:`rounded` and :func:`nearest` the same sum is done in Python, so that a test can hold the
script against it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from mmtutor.page._parts import STYLE, Widget, checked_text, checked_texts, json_tag, made_id, sized

Question = tuple[str, str, str]  # a, b, c of a − b + c; "" leaves a place out

_STYLE = """<style>
.mmt-sum .mmt-bar{margin:.5em 0}.mmt-sum .mmt-ask label{flex:1 1 7em;min-width:6em}
.mmt-sum .mmt-ask label span{display:block}.mmt-sum .mmt-ask input{width:100%}
.mmt-sum .mmt-check{cursor:pointer}.mmt-sum .mmt-say{margin:.5em 0;min-height:1.5em}
.mmt-sum .mmt-ten{list-style:none}
.mmt-sum .mmt-ten li{align-items:center;display:grid;gap:.6em;grid-template-columns:minmax(6.7em,26%) 1fr 2.7em;margin:.15em 0}
.mmt-sum .mmt-word{overflow-wrap:anywhere}.mmt-sum .mmt-asked .mmt-word{font-style:italic}
.mmt-sum .mmt-meter{background:#8883;border-radius:3px;height:.9em}
.mmt-sum .mmt-meter i{background:#0072b2;border-radius:3px;display:block;height:100%}
.mmt-sum .mmt-asked .mmt-meter i{background:#b3460a}
.mmt-sum .mmt-num{font-variant-numeric:tabular-nums;text-align:right}
</style>"""

_SCRIPT = """(function(id){document.querySelectorAll('[id="'+id+'"]:not([data-ready])').forEach(function(w,copy){
w.dataset.ready="1";var all=function(s){return Array.prototype.slice.call(w.querySelectorAll(s))};
var d=JSON.parse(w.querySelector("script[type='application/json']").textContent),store=all("script[type='text/plain']");
var fields=all(".mmt-ask input"),pick=all("[data-set]"),ready=all("[data-ask]"),own=w.querySelector(".mmt-check input");
var say=w.querySelector(".mmt-say"),ten=w.querySelector(".mmt-ten"),help=w.querySelector("datalist"),sets=[],now=0;
help.id=id+"-words-"+document.querySelectorAll("datalist").length+"-"+copy;
fields.forEach(function(f){f.setAttribute("list",help.id)});
function set(){if(!sets[now]){var s=d.sets[now],raw=atob(store[now].textContent.trim()),q=new Int8Array(raw.length);
for(var i=0;i<raw.length;i++)q[i]=raw.charCodeAt(i);var words=s.words.split(" "),n=words.length,size=q.length/n,at=new Map();
var length=new Float64Array(n);for(var k=0;k<n;k++){at.set(words[k],k);var sum=0;
for(var j=0;j<size;j++)sum+=q[k*size+j]*q[k*size+j];length[k]=Math.sqrt(sum)}
sets[now]={words:words,at:at,q:q,size:size,length:length,name:s.name}}return sets[now]}
function typed(){return fields.map(function(f){return f.value.trim().toLowerCase().replace(/\\u2019/g,"'")})}
function told(a){var s="";a.forEach(function(x,i){if(x)s+=(i===1?(s?" \\u2212 ":"\\u2212"):s?" + ":"")+x});return s}
function clear(e){while(e.firstChild)e.removeChild(e.firstChild)}
function near(x,words){return words.map(function(y,i){if(Math.abs(x.length-y.length)>2)return[9,i];var row=[];
for(var j=0;j<=y.length;j++)row[j]=j;for(var k=1;k<=x.length;k++){var last=row[0];row[0]=k;
for(j=1;j<=y.length;j++){var was=row[j];row[j]=Math.min(row[j]+1,row[j-1]+1,last+(x[k-1]!==y[j-1]));last=was}}
return[row[y.length],i]}).filter(function(p){return p[0]<=2}).sort(function(a,b){return a[0]-b[0]||a[1]-b[1]})
.slice(0,3).map(function(p){return words[p[1]]})}
function bar(word,score,asked){var li=document.createElement("li"),name=document.createElement("span");
if(asked)li.className="mmt-asked";name.className="mmt-word";name.textContent=word+(asked?" (in the question)":"");
var m=document.createElement("span");m.className="mmt-meter";m.setAttribute("aria-hidden","true");
var i=document.createElement("i");i.style.width=Math.max(0,100*score).toFixed(1)+"%";m.appendChild(i);
var n=document.createElement("span");n.className="mmt-num";n.textContent=number(score);
[name,m,n].forEach(function(e){li.appendChild(e)});ten.appendChild(li)}
function number(x){var s=x.toFixed(2);return s==="-0.00"?"0.00":s.replace("-","\\u2212")}
function answer(strict){var s=set(),a=typed();
if(!a.join("")){if(strict){clear(ten);say.textContent="Type at least one word."}return}
var lost=a.filter(function(x){return x&&!s.at.has(x)});
if(lost.length){if(strict){clear(ten);var like=near(lost[0],s.words);
say.textContent="\\u201c"+lost[0]+"\\u201d is not among the "+s.words.length.toLocaleString("en")+" words of "+s.name+"."+
(like.length?" Near in spelling: "+like.join(", ")+".":"")}return}
var u=new Float64Array(s.size),sum=0,ids=a.map(function(x){return x?s.at.get(x):-1});
ids.forEach(function(k,i){if(k<0)return;var f=(i===1?-1:1)/s.length[k];for(var j=0;j<s.size;j++)u[j]+=f*s.q[k*s.size+j]});
for(var j=0;j<s.size;j++)sum+=u[j]*u[j];sum=Math.sqrt(sum);
if(sum<1e-9){clear(ten);say.textContent=told(a)+" leaves nothing.";return}
var found=[];for(var k=0;k<s.words.length;k++){if(!own.checked&&ids.indexOf(k)>=0)continue;
var dot=0,o=k*s.size;for(j=0;j<s.size;j++)dot+=s.q[o+j]*u[j];found.push([dot/(s.length[k]*sum),k])}
found.sort(function(x,y){return y[0]-x[0]||x[1]-y[1]});found=found.slice(0,d.k);clear(ten);
found.forEach(function(p){bar(s.words[p[1]],p[0],ids.indexOf(p[1])>=0)});
say.textContent=told(a)+", "+s.name+": nearest is "+s.words[found[0][1]]+" ("+number(found[0][0])+")"+
(found.length>1?", then "+s.words[found[1][1]]+" ("+number(found[1][0])+").":".")}
function complete(f){var s=set(),x=f.value.trim().toLowerCase(),n=0;clear(help);if(!x)return;
for(var k=0;k<s.words.length&&n<12;k++)if(s.words[k].indexOf(x)===0&&s.words[k]!==x){var o=document.createElement("option");
o.value=s.words[k];help.appendChild(o);n++}}
fields.forEach(function(f){f.addEventListener("input",function(){complete(f);answer(false)});
f.addEventListener("change",function(){answer(true)});
f.addEventListener("keydown",function(e){if(e.key==="Enter"){e.preventDefault();answer(true)}})});
pick.forEach(function(b,i){b.addEventListener("click",function(){now=i;pick.forEach(function(c,j){
c.setAttribute("aria-pressed",String(i===j))});answer(true)})});
ready.forEach(function(b){b.addEventListener("click",function(){JSON.parse(b.dataset.ask).forEach(function(x,i){
fields[i].value=x});answer(true)})});
own.addEventListener("change",function(){answer(true)});
fields.forEach(function(f,i){f.value=d.start[i]});all(".mmt-bar").forEach(function(b){b.hidden=false})})})"""


def rounded(matrix: Any) -> np.ndarray:
    """Vectors as bytes: each row scaled so that its largest entry is ±127, and rounded; int8 (V, d).

    Only directions count in a cosine, so the scale of a row need not be kept.
    """
    rows = matrix.detach().cpu().numpy() if hasattr(matrix, "detach") else np.asarray(matrix)
    rows = rows.astype(np.float64)
    if rows.ndim != 2 or not rows.size or not np.isfinite(rows).all():
        raise ValueError(f"vectors must be finite numbers of shape (V, d), got {rows.shape}")
    largest = np.abs(rows).max(1, keepdims=True)
    if not (largest > 0).all():
        raise ValueError(f"vector {int(np.argmin(largest))} is all zeros: it has no direction")
    return np.round(rows / largest * 127).astype(np.int8)


def nearest(
    words: Sequence[str], matrix: Any, question: Question, k: int = 10, own: bool = False
) -> list[tuple[str, float]]:
    """The k words nearest to a − b + c by their rounded vectors, with cosines: what the page shows.

    Args:
        words: V words.
        matrix: their vectors, (V, d).
        question: (a, b, c); ``""`` leaves a place out.
        k: how many.
        own: whether the words of the question may answer.

    Raises:
        KeyError: a word of the question that is not among the words.
        ValueError: a question of nothing.
    """
    place = {word: i for i, word in enumerate(words)}
    q = rounded(matrix).astype(np.float64)
    unit = q / np.linalg.norm(q, axis=1, keepdims=True)
    for word in question:
        if word and word not in place:
            raise KeyError(f"{word!r} is not among the {len(place):,} words")
    asked = [(place[word], sign) for word, sign in zip(question, (1, -1, 1)) if word]
    query = sum((sign * unit[i] for i, sign in asked), np.zeros(q.shape[1]))
    length = np.linalg.norm(query)
    if length < 1e-9:
        raise ValueError(f"{told(question) or 'a question without words'} leaves nothing")
    scores = unit @ (query / length)
    left_out = set() if own else {i for i, _ in asked}
    order = [int(i) for i in np.argsort(-scores, kind="stable") if int(i) not in left_out][:k]
    return [(words[i], float(scores[i])) for i in order]


def told(question: Question) -> str:
    """The question as one reads it: ``king − man + woman``."""
    text = ""
    for i, word in enumerate(question):
        if word:
            between = (" − " if text else "−") if i == 1 else (" + " if text else "")
            text += between + word
    return text


def word_arithmetic(
    sets: Mapping[str, tuple[Sequence[str], Any]],
    *,
    label: str,
    start: Question = ("king", "man", "woman"),
    examples: Sequence[Question] = (),
    k: int = 10,
    id: str | None = None,
) -> Widget:
    """Three words to type, and the ten words nearest to a − b + c.

    The words of the question can be let in as answers, and one can switch between sets of vectors.

    Args:
        sets: for each name, for example ``"1611"``, the words and their vectors (V, d).
        label: the title.
        start: the question that is shown first, answered in the first set.
        examples: questions that are one click away.
        k: how many answers are shown.
        id: an HTML id; made from the content if not given.

    Raises:
        ValueError: no set, vectors that do not fit the words, words that occur twice or hold white
            space or capitals, k out of range, or more than two megabytes.
        KeyError: a word of the first question or of an example that no set has.
        TypeError: words that are not text.
    """
    label, names = checked_text(label, "label"), checked_texts(list(sets), "the sets' names")
    if not names:
        raise ValueError("word_arithmetic needs at least one set of vectors")
    known: list[list[str]] = []
    stored: list[str] = []
    for name, (words, matrix) in sets.items():
        words = checked_texts(list(words), f"the words of {name}")
        q = rounded(matrix)
        if len(words) != len(q):
            raise ValueError(f"{name}: {len(words)} words, but {len(q)} vectors")
        if len(set(words)) != len(words):
            raise ValueError(f"{name}: a word occurs twice")
        odd = next((w for w in words if w.split() != [w] or w != w.lower()), None)
        if odd is not None:
            raise ValueError(f"{name}: {odd!r} holds white space or capitals")
        if not 1 <= k <= len(words) - 3:
            raise ValueError(f"k must lie in 1…{len(words) - 3} for {name}, got {k}")
        known.append(words)
        stored.append(base64.b64encode(q.tobytes()).decode())
    start, examples = _question(start), [_question(one) for one in examples]
    for question in examples:
        if not any(all(not w or w in words for w in question) for words in known):
            raise KeyError(f"no set has all the words of {told(question)}")

    answers = {}
    for name, (words, matrix) in sets.items():
        if name == names[0] or all(not w or w in words for w in start):
            answers[name] = nearest(list(words), matrix, start, k)
    first = answers[names[0]]
    said = f"{told(start)}, {names[0]}: nearest is {_pair(first[0])}"
    said += f", then {_pair(first[1])}." if k > 1 else "."
    data = {
        "sets": [{"name": name, "words": " ".join(words)} for name, words in zip(names, known)],
        "start": list(start),
        "k": k,
    }
    tag = json_tag(data)
    id = made_id(id, "sum", label, tag, *stored, *map(told, examples))
    places = ("a", "− b", "+ c")
    fields = "".join(
        f'<label><span>{place}</span><input type="text" value="{escape(word)}" autocomplete="off" '
        'autocapitalize="none" spellcheck="false"></label>'
        for place, word in zip(places, start)
    )
    switch = "".join(
        f'<button type="button" data-set="{i}" aria-pressed="{str(i == 0).lower()}">{escape(name)}'
        "</button>"
        for i, name in enumerate(names)
    )
    ready = "".join(
        f'<button type="button" data-ask="{escape(json.dumps(question))}">{escape(told(question))}'
        "</button>"
        for question in examples
    )
    rows = "".join(
        f'<li><span class="mmt-word">{escape(word)}</span><span class="mmt-meter" '
        f'aria-hidden="true"><i style="width:{max(0.0, 100 * score):.1f}%"></i></span>'
        f'<span class="mmt-num">{_number(score)}</span></li>'
        for word, score in first
    )
    html = (
        f'<div class="mmt-w mmt-sum" id="{id}" role="group" aria-label="{escape(label)}">'
        f'{STYLE}{_STYLE}<p class="mmt-title">{escape(label)}</p>'
        + (
            f'<div class="mmt-bar" role="group" aria-label="Vectors from" hidden><span>Vectors '
            f"from</span>{switch}</div>"
            if len(names) > 1
            else ""
        )
        + f'<div class="mmt-bar mmt-ask" hidden>{fields}</div><datalist></datalist>'
        + (
            f'<div class="mmt-bar" role="group" aria-label="Examples" hidden>{ready}</div>'
            if ready
            else ""
        )
        + '<div class="mmt-bar" hidden><label class="mmt-check"><input type="checkbox"> Words of '
        "the question may answer</label></div>"
        f'<p class="mmt-say" aria-live="polite">{escape(said)}</p>'
        f'<ol class="mmt-ten" aria-label="Nearest words, with their cosines">{rows}</ol>{tag}'
        + "".join(f'<script type="text/plain">{text}</script>' for text in stored)
        + f"<script>{_SCRIPT}({json.dumps(id)});</script></div>"
    )
    text = f"{label}:" + "".join(
        f"\n  {told(start)}, {name}: {', '.join(_pair(one) for one in found[:5])}"
        for name, found in answers.items()
    )
    return sized(Widget(id, html, text), "word arithmetic")


def _question(given: Any) -> Question:
    if isinstance(given, str) or len(given) != 3 or not all(isinstance(w, str) for w in given):
        raise ValueError(f"a question is three words a, b, c of a − b + c, got {given!r}")
    return tuple(given)


def _number(score: float) -> str:
    text = f"{score:.2f}"
    return "0.00" if text == "-0.00" else text.replace("-", "−")


def _pair(one: tuple[str, float]) -> str:
    return f"{one[0]} ({_number(one[1])})"
