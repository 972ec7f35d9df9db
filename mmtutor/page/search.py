"""A search box over pictures: the text tower runs in the page.

Where the text tower is a sum of word vectors, it is one table, and the table travels with the page.
The script adds the vectors of the words it knows, scales the sum to length 1 and takes its cosines
with the vectors of all pictures. A picture may ask too: for its nearest pictures and words, and, as
*picture − word + word*, for what it would be with something exchanged.

Vectors are rounded to whole numbers of 16 bits with a scale for each, which moves a cosine by less
than 0.0001. They lie in the page as text until the first touch. :func:`embed`, :func:`find`,
:func:`find_words` and :func:`exchanged` do in Python what the script does, with the same rounding,
so that a test can hold one against the other.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np

from mmtutor.kit.text import tokenize
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
from mmtutor.page._sheet import THUMB_SCRIPT, Sheet, alike, matrix_of, number, sheet, whole

LARGEST = 32767  # of 16 bits
NOTHING = 1e-9  # a sum shorter than that has no direction
REST = 1e-3  # what a picture − word may leave by rounding alone
#: A picture (its place), what goes and what comes: an example of *picture − word + word*.
Exchange = tuple[int, str, str]

_STYLE = """<style>
.mmt-find .mmt-bar{margin:.5em 0}.mmt-find .mmt-ask{display:block}
.mmt-find .mmt-ask span{display:block}.mmt-find .mmt-ask input{width:100%}
.mmt-find .mmt-say,.mmt-find .mmt-lost{margin:.4em 0}.mmt-find .mmt-say{min-height:2.9em}.mmt-find .mmt-lost:empty{margin:0}
.mmt-find .mmt-hits{display:flex;flex-wrap:wrap;gap:.5em;list-style:none}.mmt-find .mmt-hits li{list-style:none;margin:0}
.mmt-find .mmt-hit{border:1px solid transparent;border-radius:6px;display:block;font-variant-numeric:tabular-nums;
line-height:1.3;padding:2px;text-align:center}.mmt-find button.mmt-hit{border-color:#8889}
.mmt-find .mmt-hit span{display:block;margin:0 auto}
.mmt-find .mmt-like{align-items:flex-start;border-left:4px solid #0072b2;display:flex;flex-wrap:wrap;gap:.6em;
margin:.6em 0;padding-left:.6em}.mmt-find .mmt-like>div{flex:1 1 13em;min-width:0}
.mmt-find .mmt-like label{flex:1 1 6em;min-width:5em}.mmt-find .mmt-like label span{display:block}
.mmt-find .mmt-like input{width:100%}.mmt-find .mmt-ex{align-items:center;display:inline-flex;gap:.4em}
</style>"""

_SCRIPT = (
    r"""(function(id){document.querySelectorAll('[id="'+id+'"]:not([data-ready])').forEach(function(w,copy){
w.dataset.ready="1";function one(s){return w.querySelector(s)}function all(s){return Array.prototype.slice.call(w.querySelectorAll(s))}
var d=JSON.parse(one("script[type='application/json']").textContent),store=all("script[type='text/plain']"),data=null;
var input=one(".mmt-ask input"),say=one(".mmt-say"),lost=one(".mmt-lost"),hits=one(".mmt-hits"),like=one(".mmt-like");
var shown=one(".mmt-shown"),told=one(".mmt-told"),fields=all(".mmt-like input"),near=one(".mmt-near"),help=one("datalist");
var now=-1,last="";help.id=id+"-words-"+document.querySelectorAll("datalist").length+"-"+copy;
fields.forEach(function(f){f.setAttribute("list",help.id)});
"""
    + THUMB_SCRIPT
    + r"""
var L="[\\p{L}\\p{N}]",J="[\\u200c\\u200d]",M="(?:(?![\\ufe0e\\ufe0f\\u20e3])\\p{M})";
var run=L+"+(?:"+J+"*"+M+"+"+L+"*|"+J+"+"+L+"+)*",token=new RegExp(run+"(?:['\u2019-]"+run+")*","gu");
function tokens(s){return(s.toLowerCase().normalize("NFC").match(token)||[]).map(function(t){return t.replace(/\u2019/g,"'")})}
function rows(n){var raw=atob(store[n].textContent.trim()),size=d.size,count=raw.length/2/size,v=new Float64Array(count*size),
length=new Float64Array(count);for(var i=0;i<v.length;i++)
v[i]=((raw.charCodeAt(2*i)|raw.charCodeAt(2*i+1)<<8)<<16>>16)*d.scale[n][Math.floor(i/size)];
for(var k=0;k<count;k++){for(var sum=0,j=0;j<size;j++)sum+=v[k*size+j]*v[k*size+j];length[k]=Math.sqrt(sum)}
return{v:v,count:count,length:length}}
function tables(){if(!data){var at=new Map();d.words.forEach(function(x,i){at.set(x,i)});
data={at:at,words:rows(0),pictures:rows(1)}}return data}
function unit(u,least){for(var s=0,j=0;j<u.length;j++)s+=u[j]*u[j];s=Math.sqrt(s);if(s<least)return null;
for(j=0;j<u.length;j++)u[j]/=s;return u}
function embed(known){var t=tables(),u=new Float64Array(d.size);known.forEach(function(x){var o=t.at.get(x)*d.size;
for(var j=0;j<d.size;j++)u[j]+=t.words.v[o+j]});return unit(u,1e-9)}
function best(table,u,k,without){var found=[];for(var i=0;i<table.count;i++){if(i===without||table.length[i]<1e-9)continue;
for(var dot=0,o=i*d.size,j=0;j<d.size;j++)dot+=table.v[o+j]*u[j];found.push([i,Math.round(dot/table.length[i]*1e9)/1e9])}
found.sort(function(x,y){return y[1]-x[1]||x[0]-y[0]});return found.slice(0,k)}
function close(x){x=Array.from(x);var far=x.length<5?1:2;return d.words.map(function(y,i){y=Array.from(y);
if(Math.abs(x.length-y.length)>far)return[9,i];var row=[];for(var j=0;j<=y.length;j++)row[j]=j;
for(var k=1;k<=x.length;k++){var last=row[0];row[0]=k;for(j=1;j<=y.length;j++){var was=row[j];
row[j]=Math.min(row[j]+1,row[j-1]+1,last+(x[k-1]!==y[j-1]));last=was}}return[row[y.length],i]})
.filter(function(p){return p[0]<=far}).sort(function(a,b){return a[0]-b[0]||a[1]-b[1]}).slice(0,3)
.map(function(p){return d.words[p[1]]})}
function parted(s,strict){var at=tables().at,known=[],odd=[],t=tokens(s);t.forEach(function(x,i){if(at.has(x)){known.push(x);return}
if(!strict&&i===t.length-1&&/[^\s.,;:!?]$/.test(s)&&d.words.some(function(y){return y.indexOf(x)===0}))return;
if(odd.indexOf(x)<0)odd.push(x)});return{known:known,odd:odd}}
function unknown(odd){lost.textContent=odd.length?"I do not know: "+odd.map(function(x){var c=close(x);
return x+(c.length?" (near in spelling: "+c.join(", ")+")":"")}).join(", ")+".":""}
function list(found){var key=JSON.stringify(found);if(key===last)return;last=key;clear(hits);found.forEach(function(p){var li=document.createElement("li"),b=document.createElement("button");
b.type="button";b.className="mmt-hit";b.title=d.captions[p[0]];b.appendChild(thumb(p[0],d.thumb));
b.appendChild(document.createElement("span")).textContent=number(p[1]);
b.addEventListener("click",function(){choose(p[0],"","");like.focus()});li.appendChild(b);hits.appendChild(li)})}
function first(what,found){say.textContent=what+": nearest is \u201c"+d.captions[found[0][0]]+"\u201d ("+number(found[0][1])+")."}
function answer(strict){now=-1;like.hidden=true;var p=parted(input.value,strict),u=p.known.length?embed(p.known):null;
unknown(p.odd);if(!u){list([]);say.textContent=p.known.length?p.known.join(" ")+" leaves nothing.":
p.odd.length?"None of these words has a vector here, so there is nothing to compare.":"Type what a picture should show.";return}
var found=best(tables().pictures,u,d.k);list(found);first(p.known.join(" "),found)}
function choose(i,minus,plus){now=i;fields[0].value=minus;fields[1].value=plus;clear(shown);shown.appendChild(thumb(i,d.thumb));
told.textContent=d.captions[i];like.hidden=false;change(true)}
function change(strict){var t=tables(),o=now*d.size,u=new Float64Array(t.pictures.v.subarray(o,o+d.size)),what="This picture",odd=[];
unit(u,1e-9);fields.forEach(function(f,n){var p=parted(f.value,strict),x=p.known.length?embed(p.known):null;
odd=odd.concat(p.odd.filter(function(y){return odd.indexOf(y)<0}));if(!x)return;
what+=(n?" + ":" \u2212 ")+p.known.join(" ");for(var j=0;j<d.size;j++)u[j]+=(n?1:-1)*d.weight*x[j]});
unknown(odd);clear(near);if(!unit(u,1e-3)){list([]);say.textContent=what+" leaves nothing.";return}
var found=best(t.pictures,u,d.k,now);list(found);first(what,found);
best(t.words,u,d.near).forEach(function(p){var li=document.createElement("li"),b=document.createElement("button");b.type="button";
b.textContent=d.words[p[0]]+" "+number(p[1]);b.addEventListener("click",function(){input.value=d.words[p[0]];answer(true);
hits.focus()});li.appendChild(b);near.appendChild(li)})}
function complete(f){var x=f.value.trim().toLowerCase(),n=0;clear(help);if(!x)return;d.words.forEach(function(y){
if(n<12&&y!==x&&y.indexOf(x)===0){help.appendChild(document.createElement("option")).value=y;n++}})}
function enter(f,then){f.addEventListener("change",then);f.addEventListener("keydown",function(e){
if(e.key==="Enter"){e.preventDefault();then()}})}
input.addEventListener("input",function(){answer(false)});enter(input,function(){answer(true)});
fields.forEach(function(f){f.addEventListener("input",function(){complete(f);change(false)});enter(f,function(){if(now>=0)change(true)})});
one(".mmt-back").addEventListener("click",function(){answer(true);input.focus()});
all("[data-ask]").forEach(function(b){b.addEventListener("click",function(){var a=JSON.parse(b.dataset.ask);
if(typeof a==="string"){input.value=a;answer(true)}else choose(a[0],a[1],a[2])})});
input.value=d.start;list(d.first);all(".mmt-hide").forEach(function(e){e.hidden=false})})})"""
)


class Stored(NamedTuple):
    """Vectors as the page holds them: whole numbers of 16 bits and a scale for each row."""

    whole: np.ndarray  # (N, E) int16
    scale: np.ndarray  # (N,) float64

    def vectors(self) -> np.ndarray:
        """What they stand for, (N, E) float64."""
        return self.whole * self.scale[:, None]


def stored(vectors: Any, what: str = "vectors", rows: int | None = None) -> Stored:
    """Round each row so that its largest entry is ±32767, and keep the scale: the length of a
    word's vector counts in a sum.

    Raises:
        ValueError: not (N, E), another number of rows, NaN or infinity.
    """
    x = matrix_of(vectors, what, rows)
    scale = np.abs(x).max(1) / LARGEST
    scale = np.array([float(f"{s:.7g}") for s in scale])  # as it is written in the page
    whole = np.round(x / np.where(scale > 0, scale, 1.0)[:, None])
    return Stored(whole.clip(-LARGEST, LARGEST).astype("<i2"), scale)


def embed(
    words: Sequence[str], word_vectors: Any, text: str
) -> tuple[np.ndarray | None, list[str], list[str]]:
    """The text tower of the page: the sum of the vectors of the known words at length 1.

    Args:
        words: V words.
        word_vectors: their vectors (V, E), not scaled to length 1.
        text: a sentence; it is split by :func:`mmtutor.kit.text.tokenize`.

    Returns:
        The unit vector (E,), or None where no known word is left or the sum is nothing; the known
        words in their order; the unknown ones, each once.
    """
    place = {word: i for i, word in enumerate(words)}
    table = stored(word_vectors, "word_vectors").vectors()
    tokens = tokenize(text)
    known = [token for token in tokens if token in place]
    unknown = list(dict.fromkeys(token for token in tokens if token not in place))
    total = sum((table[place[word]] for word in known), np.zeros(table.shape[1]))
    return _unit(total), known, unknown


def find(
    picture_vectors: Any, query: np.ndarray, k: int = 6, without: int | None = None
) -> list[tuple[int, float]]:
    """The k pictures nearest to a unit vector as (place, cosine), nearest first.

    Args:
        picture_vectors: (N, E).
        query: (E,), of length 1.
        k: how many.
        without: a picture that may not answer.
    """
    return _best(stored(picture_vectors, "picture_vectors").vectors(), query, k, without)


def find_words(
    words: Sequence[str], word_vectors: Any, query: np.ndarray, k: int = 8
) -> list[tuple[str, float]]:
    """The k words nearest to a unit vector, with their cosines."""
    table = stored(word_vectors, "word_vectors").vectors()
    return [(words[i], score) for i, score in _best(table, query, k, None)]


def exchanged(
    words: Sequence[str],
    word_vectors: Any,
    picture_vectors: Any,
    picture: int,
    minus: str = "",
    plus: str = "",
    weight: float = 1.0,
) -> np.ndarray | None:
    """A picture − words + words at length 1, as
    :func:`mmtutor.joint_embedding.arithmetic` has it; None where nothing is left."""
    query = _unit(stored(picture_vectors, "picture_vectors").vectors()[picture])
    for sign, text in ((-1, minus), (1, plus)):
        vector = embed(words, word_vectors, text)[0]
        if vector is not None:
            query = query + sign * weight * vector
    return _unit(query, REST)


def near_spelling(word: str, words: Sequence[str]) -> list[str]:
    """At most three words that differ from it by a letter or two, nearest first."""
    far = 1 if len(word) < 5 else 2
    found = [(_changes(word, other, far), i) for i, other in enumerate(words)]
    return [words[i] for changes, i in sorted(found) if changes <= far][:3]


def search_box(
    words: Sequence[str],
    word_vectors: Any,
    picture_vectors: Any,
    pictures: Any,
    captions: Sequence[str],
    *,
    label: str,
    start: str,
    examples: Sequence[str | Exchange] = (),
    k: int = 6,
    near: int = 8,
    weight: float = 1.0,
    quality: int = 70,
    id: str | None = None,
) -> Widget:
    """A sentence to type, and the pictures nearest to it, while one types.

    A click on a picture asks for its nearest pictures and words; two fields beside it take words
    away and add words. Words without a vector are named, never guessed.

    Args:
        words: V words, as :func:`mmtutor.kit.text.tokenize` writes them; no ``<pad>``, no
            ``<unk>``.
        word_vectors: (V, E), the rows of the text tower's table; not scaled.
        picture_vectors: (N, E), unit vectors.
        pictures: (N, H, W, 3) uint8; each is shown pixel by pixel.
        captions: N texts: what a screen reader says, and what stands beside a chosen picture.
        label: the title.
        start: the sentence that is answered before any touch.
        examples: questions that are one click away: sentences, and (picture, minus, plus).
        k: how many pictures answer.
        near: how many words are shown beside a chosen picture.
        weight: how much the words count in *picture − word + word*.
        quality: of the pictures' file (WebP).
        id: an HTML id; made from the content if not given.

    Raises:
        TypeError: words, captions or sentences that are not text; pictures that are not uint8.
        ValueError: sizes that do not fit, fewer than two pictures, words that occur twice or cannot
            be typed, a first sentence without a known word, a picture vector of (nearly) no length,
            k or near out of range, more than two megabytes.
    """
    label, words = checked_text(label, "label"), checked_texts(list(words), "words")
    if not words:
        raise ValueError("search_box needs at least one word")
    if len(set(words)) != len(words):
        raise ValueError("a word occurs twice")
    odd = next((word for word in words if tokenize(word) != [word]), None)
    if odd is not None:
        raise ValueError(f"{odd!r} cannot be typed: tokenize makes {tokenize(odd)} of it")
    captions = [isolated(caption) for caption in checked_texts(list(captions), "captions")]
    table, seen = (
        stored(word_vectors, "word_vectors", len(words)),
        stored(picture_vectors, "picture_vectors", len(captions)),
    )
    if table.whole.shape[1] != seen.whole.shape[1]:
        raise ValueError(
            f"words have vectors of {table.whole.shape[1]} numbers, pictures of "
            f"{seen.whole.shape[1]}: they must lie in one space"
        )
    length = np.linalg.norm(seen.vectors(), axis=1)
    if not (length >= NOTHING).all():
        least = int(np.argmin(length))
        much = (
            f"has the length {length[least]:.1g}, too little" if length[least] else "is all zeros"
        )
        raise ValueError(f"the vector of picture {least} {much}: it has no direction")
    alike(len(captions), "captions", pictures, "pictures")
    if len(captions) < 2:
        raise ValueError("search_box needs at least two pictures: one asks, another answers")
    k, near = whole(k, "k", 1, len(captions) - 1), whole(near, "near", 1, len(words))
    if not (isinstance(weight, (int, float)) and math.isfinite(weight)):
        raise ValueError(f"weight must be finite, got {weight}")
    start = checked_text(start, "start")
    asked = [_example(one, len(captions)) for one in examples]
    query, known, unknown = embed(words, table.vectors(), start)
    if query is None:
        raise ValueError(f"start: no word of {start!r} has a vector, so nothing can be shown")

    first = find(seen.vectors(), query, k)
    made = sheet(pictures, quality)
    side = max(made.size)
    said = f"{' '.join(known)}: nearest is “{captions[first[0][0]]}” ({number(first[0][1])})."
    data = {
        "words": words,
        "size": table.whole.shape[1],
        "scale": [one.scale.tolist() for one in (table, seen)],
        "captions": captions,
        "sheet": made.numbers(),
        "thumb": side,
        "start": start,
        "first": [[i, round(score, 9)] for i, score in first],
        "k": k,
        "near": near,
        "weight": weight,
    }
    tag = json_tag(data)
    raw = [base64.b64encode(one.whole.tobytes()).decode() for one in (table, seen)]
    id = made_id(id, "find", label, tag, *raw, made.data, json.dumps(asked))
    ready = "".join(
        f'<button type="button" data-ask="{escape(json.dumps(one))}"{_shown(one, made, captions)}'
        "</button>"
        for one in asked
    )
    rows = "".join(
        f'<li><span class="mmt-hit">{made.place(i, captions[i])}<span>{number(score)}</span></span>'
        "</li>"
        for i, score in first
    )
    one_field = (
        '<label><span>{}</span><input type="text" autocomplete="off" autocapitalize="none" '
        'spellcheck="false"></label>'
    )
    html = (
        f'<div class="mmt-w mmt-find" id="{id}" role="group" aria-label="{escape(label)}">'
        f'{STYLE}{_STYLE}{made.style(id)}<p class="mmt-title">{escape(label)}</p>'
        '<label class="mmt-ask mmt-hide" hidden><span>What should the picture show?</span><input '
        f'type="text" value="{escape(start)}" autocomplete="off" autocapitalize="none" '
        'spellcheck="false"></label>'
        + (
            f'<div class="mmt-bar mmt-hide" role="group" aria-label="Examples" hidden>{ready}</div>'
            if ready
            else ""
        )
        + '<div class="mmt-like" role="group" aria-label="The chosen picture" tabindex="-1" hidden>'
        '<div class="mmt-shown" style="flex:none"></div><div><p class="mmt-told"></p>'
        f'<div class="mmt-bar">{one_field.format("− word")}{one_field.format("+ word")}</div>'
        '<p>Nearest words:</p><ul class="mmt-near" aria-label="Nearest words, with their cosines">'
        '</ul><div class="mmt-bar"><button type="button" class="mmt-back">Back to the sentence'
        "</button></div></div></div><datalist></datalist>"
        f'<div aria-live="polite"><p class="mmt-say">{escape(said)}</p>'
        f'<p class="mmt-lost">{escape(_unknown(unknown, words))}</p></div>'
        '<ol class="mmt-hits" tabindex="-1" aria-label="Nearest pictures, with their cosines">'
        f"{rows}</ol>{tag}"
        + "".join(f'<script type="text/plain">{one}</script>' for one in raw)
        + f"<script>{_SCRIPT}({json.dumps(id)});</script></div>"
    )
    text = f"{label}:\n  {start}: " + "; ".join(
        f"{captions[i]} ({number(score)})" for i, score in first[:5]
    )
    if unknown:
        text += f"\n  {_unknown(unknown, words)}"
    return sized(Widget(id, html, text), "search")


def _unit(vector: np.ndarray, least: float = NOTHING) -> np.ndarray | None:
    length = float(np.linalg.norm(vector))
    return None if length < least else vector / length


def _best(
    table: np.ndarray, query: np.ndarray, k: int, without: int | None
) -> list[tuple[int, float]]:
    length = np.linalg.norm(table, axis=1)
    scores = np.round(table @ query / np.where(length < NOTHING, 1.0, length), 9) + 0.0
    order = np.argsort(-scores, kind="stable")
    kept = [int(i) for i in order if i != without and length[i] >= NOTHING][:k]
    return [(i, float(scores[i])) for i in kept]


def _changes(a: str, b: str, far: int) -> int:
    """Letters to change, to add or to leave out until a is b (Levenshtein)."""
    if abs(len(a) - len(b)) > far:
        return far + 1
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


def _unknown(unknown: Sequence[str], words: Sequence[str]) -> str:
    if not unknown:
        return ""
    told = []
    for word in unknown:
        near = near_spelling(word, words)
        told.append(word + (f" (near in spelling: {', '.join(near)})" if near else ""))
    return f"I do not know: {', '.join(told)}."


def _example(given: Any, count: int) -> str | list[Any]:
    if isinstance(given, str):
        return checked_text(given, "an example")
    try:
        picture, minus, plus = given
    except (TypeError, ValueError):
        picture = minus = plus = None
    if not (isinstance(minus, str) and isinstance(plus, str) and hasattr(picture, "__index__")):
        raise ValueError(f"an example is a sentence or (picture, minus, plus), got {given!r}")
    if not 0 <= int(picture) < count:
        raise ValueError(f"an example asks picture {picture} of {count}")
    return [int(picture), minus, plus]


def _shown(example: str | list[Any], made: Sheet, captions: Sequence[str]) -> str:
    """The rest of an example's button: its text, or the picture with its words."""
    if isinstance(example, str):
        return f">{escape(example)}"
    i, minus, plus = example
    told = (f" − {minus}" if minus.strip() else "") + (f" + {plus}" if plus.strip() else "")
    return f' class="mmt-ex">{made.place(i, captions[i], 40)}<span>{escape(told.strip())}</span>'
