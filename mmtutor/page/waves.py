"""Waves to touch and to compare by ear: no kernel, no network and no other file, as in
:mod:`mmtutor.page.widgets`.

======================  ==================================================================
:func:`wave_explorer`   lay a frequency over a wave; see how well it fits, and take it away
:func:`playhead`        a sound with a picture over time, and where in it one is
:func:`compare`         versions of one sound, equally loud; a switch keeps the place in time
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
    Encoded,
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

_STYLE = """<style>
.mmt-waves .mmt-ph{cursor:pointer;margin:0 auto;max-width:100%;overflow:hidden;position:relative;
touch-action:pan-y;width:fit-content}
.mmt-waves .mmt-ph img{user-select:none}
.mmt-waves .mmt-line{background:#fff;box-shadow:0 0 0 1px #000;margin-left:-1px;pointer-events:none;
position:absolute;width:2px}
.mmt-waves .mmt-bar,.mmt-waves .mmt-names{margin:.5em 0}
.mmt-waves .mmt-names{display:flex;flex-wrap:wrap;gap:.4em}
.mmt-waves .mmt-at,.mmt-waves .mmt-now{font-variant-numeric:tabular-nums}
.mmt-waves .mmt-now{min-width:5em}
.mmt-waves .mmt-say{min-height:3em}
.mmt-waves .mmt-row{align-items:center;display:grid;gap:0 .8em;grid-template-areas:"l s o";
grid-template-columns:5.5em 1fr 10em}
.mmt-waves .mmt-row label{grid-area:l}.mmt-waves .mmt-row input{grid-area:s;width:100%}
.mmt-waves .mmt-row output{font-variant-numeric:tabular-nums;grid-area:o}
.mmt-waves .mmt-two{align-items:flex-end;display:flex;flex-wrap:wrap;gap:.6em}
.mmt-waves .mmt-two>div{flex:1 1 15em}.mmt-waves .mmt-two>div+div{flex:0 1 11em}
.mmt-waves svg{margin:.2em 0 .6em}.mmt-waves svg *{vector-effect:non-scaling-stroke}
.mmt-waves svg[data-drag]{cursor:ew-resize;touch-action:pan-y}
.mmt-waves .mmt-b,.mmt-waves .mmt-o,.mmt-waves .mmt-g{font-weight:600}
.mmt-waves .mmt-b::before,.mmt-waves .mmt-o::before,.mmt-waves .mmt-g::before{border-radius:3px;
content:"";display:inline-block;height:.7em;margin-right:.25em;width:1.2em}
.mmt-waves .mmt-b::before{background:#0072b2}.mmt-waves .mmt-o::before{background:#d55e00}
.mmt-waves .mmt-g::before{background:#007a5a}
@media (max-width:40em){.mmt-waves .mmt-row{grid-template-areas:"l o" "s s";
grid-template-columns:auto 1fr}.mmt-waves .mmt-row output{text-align:right}}
</style>"""

# --- One transport for one or more sounds ---------------------------------------------------------

_TRANSPORT = """(function(id){document.querySelectorAll('[id="'+id+'"]:not([data-ready])')
.forEach(function(w){w.dataset.ready="1";
var one=function(s){return w.querySelector(s)},
all=function(s){return Array.prototype.slice.call(w.querySelectorAll(s))};
var d=JSON.parse(one("script[type='application/json']").textContent),a=all("audio"),k=d.start;
var pics=all(".mmt-ph>img"),line=one(".mmt-line"),names=all("[data-k]"),again=one("[data-again]");
var play=one("[data-play]"),at=one("[data-at]"),out=one(".mmt-at"),now=one(".mmt-now");
var say=one(".mmt-say"),t=0,on=false;
function show(){at.value=t;at.setAttribute("aria-valuetext",t.toFixed(2)+" seconds");
out.textContent=t.toFixed(2)+" of "+d.seconds.toFixed(2)+" s";
if(line)line.style.left=100*(d.span[0]+(d.span[1]-d.span[0])*t/d.seconds)+"%";
if(now){var m=d.marks.filter(function(m){return t>=m[0]&&t<m[1]})[0];now.textContent=m?m[2]:"–"}}
function state(){play.textContent=on?"❚❚":"▶";play.setAttribute("aria-label",on?"Pause":"Play")}
function seek(s){t=Math.max(0,Math.min(d.seconds,s));a[k].currentTime=t;show()}
function stop(){on=false;a[k].pause();state()}
function start(){if(t>=d.seconds-.01)seek(0);on=true;state();
go(a[k]);requestAnimationFrame(follow)}
function go(x){var p=x.play();if(p)p.catch(function(){if(x===a[k]&&x.paused)stop()})}
function follow(){if(!on)return;if(!a[k].seeking){t=Math.min(d.seconds,a[k].currentTime);show()}
requestAnimationFrame(follow)}
function choose(j){if(j===k||!a[j])return;if(on)t=a[k].currentTime;a[k].pause();k=j;
a[k].currentTime=t;if(on)go(a[k]);look()}
function look(){pics.forEach(function(p,i){p.hidden=i!==k});
names.forEach(function(b,i){b.setAttribute("aria-pressed",String(i===k))});
if(say)say.textContent=d.notes[k];show()}
a.forEach(function(x){x.addEventListener("ended",function(){if(!on||x!==a[k])return;
if(again&&again.checked){seek(0);go(x)}
else{stop();t=d.seconds;show()}})});
document.addEventListener("play",function(e){if(on&&a.indexOf(e.target)<0)stop()},true);
play.addEventListener("click",function(){if(on)stop();else start()});
at.addEventListener("input",function(){seek(+at.value)});
names.forEach(function(b,i){b.addEventListener("click",function(){choose(i)})});
w.addEventListener("keydown",function(e){if(e.ctrlKey||e.altKey||e.metaKey)return;
if(e.key===" "&&e.target===at){e.preventDefault();play.click()}
else if(e.key>="1"&&e.key<="9"&&names.length>1&&names[+e.key-1])choose(+e.key-1)});
var ph=one(".mmt-ph");if(ph){var to=function(e){var r=ph.getBoundingClientRect();
seek(d.seconds*((e.clientX-r.left)/r.width-d.span[0])/(d.span[1]-d.span[0]))},held=false;
ph.addEventListener("pointerdown",function(e){held=true;ph.setPointerCapture(e.pointerId);
e.preventDefault();to(e)});
ph.addEventListener("pointermove",function(e){if(held)to(e)});
["pointerup","pointercancel"].forEach(function(n){ph.addEventListener(n,function(){held=false})});
line.hidden=false}
one(".mmt-plain").hidden=true;all(".mmt-live").forEach(function(e){e.hidden=false});
state();look()})})"""


def playhead(
    wave: Any,
    sample_rate: int,
    picture: Any,
    *,
    label: str,
    alt: str,
    marks: Sequence[tuple[float, float, str]] = (),
    id: str | None = None,
    dpi: int = 110,
    quality: int = 85,
) -> Widget:
    """A sound with a picture of it over time; a line moves with the sound, a click goes there.

    Args:
        wave: (T,) or (1, T), floats or int16; scaled so that its largest sample is 0.95.
        sample_rate: samples a second, 3,000 to 96,000; the label on the page names it.
        picture: a matplotlib figure, whose first axes have seconds from left to right, or a picture
            (see :func:`mmtutor.page.widgets.frames`) that spans the sound from edge to edge.
        label: the title.
        alt: what the picture shows.
        marks: (start, end, text), in seconds: what is to be heard there, for example phonemes. The
            text stands beside the time while the line is there.
        id: an HTML id; made from the content if not given.
        dpi: of a matplotlib figure.
        quality: of the picture, 1 to 100.

    Raises:
        ValueError, TypeError: a wave, picture or text that :func:`mmtutor.page.widgets.player`
            refuses too; a mark that ends before it begins; axes that do not show the sound.
    """
    samples = samples_of(wave, sample_rate, label, True, None)
    checked_text(label, "label")
    return _transport(
        "playhead",
        [label],
        [samples],
        sample_rate,
        label,
        None,
        [picture],
        [alt],
        marks,
        0,
        id,
        (dpi, quality),
    )


def compare(
    sounds: Mapping[str, Any] | Sequence[tuple[str, Any]],
    sample_rate: int,
    *,
    label: str,
    notes: Sequence[str] | None = None,
    pictures: Sequence[Any] | None = None,
    alt: Sequence[str] | None = None,
    marks: Sequence[tuple[float, float, str]] = (),
    start: int = 0,
    id: str | None = None,
    dpi: int = 110,
    quality: int = 85,
) -> Widget:
    """Versions of one sound with one transport: a switch keeps the place in time.

    All are made equally loud (the same root mean square, the loudest peak at 0.95) and cut to the
    length of the shortest.

    Args:
        sounds: names and waves, two or more, as a mapping or as pairs; each (T,) or (1, T), floats
            or int16, of any loudness.
        sample_rate: of all of them, 3,000 to 96,000; the page names it.
        label: the title.
        notes: a sentence for each version, shown while it is chosen.
        pictures, alt: a picture over time for each version (see :func:`playhead`), and what it
            shows; all of one size and with the same axes.
        marks: as in :func:`playhead`.
        start: which version is chosen first.
        id: an HTML id; made from the content if not given.
        dpi: of matplotlib figures.
        quality: of the pictures, 1 to 100.

    Raises:
        ValueError, TypeError: as :func:`playhead`; fewer than two versions or more than nine, a
            silent one, lengths that differ by more than a tenth, lists whose lengths differ.
    """
    pairs = list(sounds.items() if isinstance(sounds, Mapping) else sounds)
    if not 2 <= len(pairs) <= 9:
        raise ValueError(f"compare needs two to nine versions of a sound, got {len(pairs)}")
    names = checked_texts([name for name, _ in pairs], "sounds' names")
    for what, other in (("notes", notes), ("pictures", pictures), ("alt", alt)):
        if other is not None and len(other) != len(pairs):
            raise ValueError(f"{len(pairs)} sounds, but {len(other)} {what}")
    if (pictures is None) != (alt is None):
        raise ValueError("pictures and alt (what each picture shows) come together")
    if not 0 <= start < len(pairs):
        raise ValueError(f"start must be in [0, {len(pairs)}), got {start}")
    waves = [samples_of(wave, sample_rate, name, True, None) for name, wave in pairs]
    waves = equally_loud(dict(zip(names, waves)))
    return _transport(
        "compare",
        names,
        waves,
        sample_rate,
        label,
        notes,
        pictures,
        alt,
        marks,
        start,
        id,
        (dpi, quality),
    )


def equally_loud(waves: Mapping[str, np.ndarray], peak: float = 0.95) -> list[np.ndarray]:
    """The waves, cut to the shortest and scaled to one root mean square; no sample is beyond
    ``peak``.

    Raises:
        ValueError: a wave is silent, or the lengths differ by more than a tenth.
    """
    lengths = {name: len(wave) for name, wave in waves.items()}
    shortest = min(lengths.values())
    if max(lengths.values()) > 1.1 * shortest:
        raise ValueError(f"versions of one sound last equally long; these have {lengths} samples")
    cut = [np.asarray(wave, dtype=np.float64)[:shortest] for wave in waves.values()]
    loudness = [float(np.sqrt(np.mean(wave**2))) for wave in cut]
    for name, level in zip(waves, loudness):
        if level == 0:
            raise ValueError(f"the sound {name!r} is silent: it cannot be made as loud as others")
    common = min(level / np.abs(wave).max() for wave, level in zip(cut, loudness)) * peak
    return [wave * (common / level) for wave, level in zip(cut, loudness)]


def _transport(
    kind: str,
    names: list[str],
    waves: list[np.ndarray],
    sample_rate: int,
    label: str,
    notes: Sequence[str] | None,
    pictures: Sequence[Any] | None,
    alt: Sequence[str] | None,
    marks: Sequence[tuple[float, float, str]],
    start: int,
    id: str | None,
    look: tuple[int, int],
) -> Widget:
    label = checked_text(label, "label")
    said = checked_texts(notes, "notes") if notes is not None else list(names)
    seconds = len(waves[0]) / sample_rate
    marks = [_mark(mark) for mark in marks]
    files = [wav(wave, sample_rate) for wave in waves]
    shown, span, box = _pictures(pictures, seconds, *look)
    texts = checked_texts(alt, "alt") if alt is not None else []
    data = {
        "seconds": round(seconds, 4),
        "span": [round(edge, 5) for edge in span],
        "marks": marks,
        "notes": said,
        "start": start,
    }
    tag = json_tag(data)
    id = made_id(id, kind, label, tag, *names, *texts, *files, *(p.data for p in shown))

    image = ""
    if shown:
        fmt = "webp"
        image = '<div class="mmt-ph">' + "".join(
            picture.tag(fmt, what, "" if k == start else " hidden")
            for k, (picture, what) in enumerate(zip(shown, texts))
        )
        image += (
            f'<i class="mmt-line" hidden style="left:0;top:{100 * box[0]:.2f}%;'
            f'height:{100 * (box[1] - box[0]):.2f}%"></i></div>'
        )
    several = len(names) > 1
    rate = f"{sample_rate:,} samples a second" + (", all equally loud" if several else "")
    switch = ""
    if several:
        buttons = "".join(
            f'<button type="button" data-k aria-pressed="{str(k == start).lower()}">{k + 1} '
            f"{escape(name)}</button>"
            for k, name in enumerate(names)
        )
        switch = (
            '<div class="mmt-names mmt-live" role="group" aria-label="Versions" hidden>'
            f"{buttons}</div>"
            + (f'<p class="mmt-say" aria-live="polite">{escape(said[start])}</p>' if notes else "")
        )
    players = "".join(
        f'<li><p id="{id}-{k}">{escape(name)}</p><audio controls preload="auto" '
        f'aria-labelledby="{id}-{k}" src="{data_url(file, "audio/wav")}"></audio>'
        + (f'<p class="mmt-note">{escape(said[k])}</p>' if notes else "")
        + "</li>"
        for k, (name, file) in enumerate(zip(names, files))
    )
    html = (
        f'<div class="mmt-w mmt-waves mmt-{kind}" id="{id}" role="group" '
        f'aria-label="{escape(label)}">'
        f'{STYLE}{_STYLE}<p class="mmt-title">{escape(label)} <span class="mmt-note">({rate})</span>'
        f'</p>{image}<div class="mmt-bar mmt-live" hidden><button type="button" data-play '
        f'aria-label="Play">▶</button><input type="range" data-at min="0" max="{seconds:.4f}" '
        f'step="0.01" value="0" aria-label="Place in the sound" aria-valuetext="0.00 seconds">'
        f'<span class="mmt-at">0.00 of {seconds:.2f} s</span>'
        + ('<span class="mmt-now">–</span>' if marks else "")
        + (
            '<label><input type="checkbox" data-again checked> again and again</label>'
            if several
            else ""
        )
        + f'</div>{switch}<ul class="mmt-list mmt-plain">{players}</ul>'
        f"{tag}<script>{_TRANSPORT}({json.dumps(id)});</script></div>"
    )
    lines = [f"{label}: {seconds:.1f} s of sound, {rate}"]
    if several:
        lines += [f"  {name}: {note}" if notes else f"  {name}" for name, note in zip(names, said)]
    lines += [f"  picture: {what}" for what in texts]
    return sized(Widget(id, html, "\n".join(lines)), kind)


def _mark(mark: Any) -> list[Any]:
    """A mark as [start, end, text], checked."""
    try:
        begin, end, text = mark
        begin, end = float(begin), float(end)
    except (TypeError, ValueError) as error:
        raise ValueError(f"a mark is (start, end, text), in seconds, got {mark!r}") from error
    if not 0 <= begin <= end < math.inf:
        raise ValueError(f"a mark must begin at 0 or later and not end before, got {mark!r}")
    return [round(begin, 4), round(end, 4), checked_text(text, "a mark's text")]


def _pictures(
    pictures: Sequence[Any] | None, seconds: float, dpi: int, quality: int
) -> tuple[list[Encoded], tuple[float, float], tuple[float, float]]:
    """The pictures, encoded; where in their width the sound begins and ends, and where in their
    height the line runs."""
    if pictures is None:
        return [], (0.0, 1.0), (0.0, 1.0)
    places = [_axes_of(picture, seconds) for picture in pictures]
    shown = [encoded(picture, "webp", dpi, quality) for picture in pictures]
    for picture, place in zip(shown, places):
        if (picture.width, picture.height) != (shown[0].width, shown[0].height):
            raise ValueError("the pictures of all versions must have one size")
        if not np.allclose(place, places[0], atol=2e-3):
            raise ValueError("the axes must stand at the same place in all pictures")
    return shown, places[0][:2], places[0][2:]


def _axes_of(picture: Any, seconds: float) -> tuple[float, float, float, float]:
    """Where the sound begins and ends (shares of the width), and the line's top and bottom (shares
    of the height)."""
    if not hasattr(picture, "savefig"):
        return 0.0, 1.0, 0.0, 1.0
    if not picture.axes:
        raise ValueError("the figure has no axes, so time has no place in it")
    picture.draw_without_rendering()  # the layout is made as it is drawn
    first, boxes = picture.axes[0], [axes.get_position() for axes in picture.axes]
    (low, high), box = first.get_xlim(), boxes[0]
    if not (high > low and abs(low) < 0.05 * seconds and abs(high - seconds) < 0.05 * seconds):
        raise ValueError(
            f"the first axes must run from 0 to {seconds:.2f} seconds, they run from {low:g} to "
            f"{high:g}"
        )
    left, right = (box.x0 + box.width * (t - low) / (high - low) for t in (0.0, seconds))
    return left, right, 1 - max(b.y1 for b in boxes), 1 - min(b.y0 for b in boxes)


# --- A frequency over a wave ----------------------------------------------------------------------

WIDE, HIGH = 640, 130  # of a panel, in its own units
DIAL = 120  # of the panel with the arrow

_EXPLORER = """(function(id){document.querySelectorAll('[id="'+id+'"]:not([data-ready])')
.forEach(function(w){w.dataset.ready="1";
var one=function(s){return w.querySelector(s)};
var d=JSON.parse(one("script[type='application/json']").textContent),N=d.x.length,PI=Math.PI;
var W=d.wide,H=d.high,R=d.dial/2,s={k:d.k,a:d.a,phi:d.phi},x=d.x.slice(),taken=0;
var slider={k:one("[data-s=k]"),a:one("[data-s=a]"),phi:one("[data-s=phi]")};
function f(v,n){var t=v.toFixed(n);if(+t===0)t=t.replace("-","");return t.replace("-","\\u2212")}
function big(v){return String(Math.round(v)).replace(/\\B(?=(\\d{3})+$)/g,",")}
function dft(y,k){var re=0,im=0;for(var n=0;n<N;n++){re+=y[n]*Math.cos(2*PI*k*n/N);
im-=y[n]*Math.sin(2*PI*k*n/N)}return[re,im]}
function probe(n){return s.a*Math.cos(2*PI*s.k*n/N+s.phi)}
function xy(u,v){return u.toFixed(1)+" "+v.toFixed(1)}
function row(y,top){return"M"+y.map(function(v,n){return xy(W*(n+.5)/N,H/2-v/top*H*.46)}).join("L")}
function set(name,path){one("[data-p="+name+"]").setAttribute("d",path)}
function say(name,text){one("[data-t="+name+"]").textContent=text}
function degrees(r){var g=r*180/PI;g-=360*Math.round(g/360);return g}
function draw(){var X=dft(x,s.k),size=Math.hypot(X[0],X[1]),best=Math.atan2(X[1],X[0]);
var p=[],n,fine=[];for(n=0;n<N;n++)p.push(x[n]*probe(n));
for(n=0;n<=320;n++)fine.push("L"+xy(W*n/320,H/2-probe(N*n/320-.5)/d.top*H*.46));
set("given",taken?row(d.x,d.top):"");
set("sum",taken?row(d.x.map(function(v,i){return v-x[i]}),d.top):"");
set("wave",row(x,d.top));set("probe","M"+fine.join("").slice(1));
var up="",down="",plus=0,minus=0,most=d.top*Math.max(s.a,1e-9),b=W/N;
p.forEach(function(v,i){var h=Math.min(1,Math.abs(v)/most)*H*.46,at=xy(W*i/N,H/2);
if(v>=0){plus+=v;up+="M"+at+"v"+(-h).toFixed(1)+"h"+b.toFixed(1)+"v"+h.toFixed(1)+"z"}
else{minus+=v;down+="M"+at+"v"+h.toFixed(1)+"h"+b.toFixed(1)+"v"+(-h).toFixed(1)+"z"}});
set("up",up);set("down",down);
var stems="",curve=[],all=H-8;for(n=0;n<=N/2;n++){var c=dft(x,n);
stems+="M"+xy(W*(n+.5)/(N/2+1),H-4)+"v"+(-Math.hypot(c[0],c[1])/d.tall*all).toFixed(1)}
for(n=0;n<=2*N;n++){var g=dft(x,n/4);
curve.push(xy(W*(n/4+.5)/(N/2+1),H-4-Math.hypot(g[0],g[1])/d.tall*all))}
set("stems",stems);set("curve","M"+curve.join("L"));
set("chosen","M"+xy(W*(s.k+.5)/(N/2+1),H)+"V0");
var z=R*.94/d.tall,c2=Math.cos(s.phi),s2=Math.sin(s.phi),sum=plus+minus;
var proj=size*Math.cos(s.phi-best);
set("turn","M"+xy(R-c2*R,R+s2*R)+"L"+xy(R+c2*R,R-s2*R));
set("fall","M"+xy(R+X[0]*z,R-X[1]*z)+"L"+xy(R+proj*c2*z,R-proj*s2*z));
set("onto","M"+xy(R,R)+"L"+xy(R+proj*c2*z,R-proj*s2*z));
set("arrow",arrow(R,R,R+X[0]*z,R-X[1]*z));
var hz=s.k*d.rate/N,e=0,e0=0;for(n=0;n<N;n++){e+=x[n]*x[n];e0+=d.x[n]*d.x[n]}
say("k",f(s.k,2)+" turns, "+big(hz)+" Hz");say("a",f(s.a,2));say("phi",f(degrees(s.phi),0)+"°");
say("sum","above "+f(plus,2)+", below "+f(minus,2)+", together "+f(sum,2));
say("say","A wave of "+f(s.k,2)+" turns ("+big(hz)+" Hz): the products add up to "+f(sum,2)
+(size>1e-6*d.tall?". The best phase is "+f(degrees(best),0)
+"°; with it and amplitude 1 they add up to "+f(size,2)+", the length of the arrow.":". This frequency is not in the wave: no phase gives more than 0."));
say("left",taken?f(100*e/e0,1)+" % of the energy is left after taking away "+taken+
(taken>1?" waves.":" wave."):"Nothing has been taken away yet.");
slider.k.value=s.k;slider.a.value=s.a;slider.phi.value=degrees(s.phi);
slider.k.setAttribute("aria-valuetext",f(s.k,2)+" turns, "+big(hz)+" hertz");
slider.phi.setAttribute("aria-valuetext",f(degrees(s.phi),0)+" degrees");
w.dataset.re=X[0].toFixed(6);w.dataset.im=X[1].toFixed(6);w.dataset.sum=sum.toFixed(6)}
function arrow(a,b,c,e){var l=Math.hypot(c-a,e-b),t="M"+xy(a,b)+"L"+xy(c,e);if(l<8)return t;
var u=(c-a)/l,v=(e-b)/l;return t+"M"+xy(c-7*u+4*v,e-7*v-4*u)+"L"+xy(c,e)+"L"+xy(c-7*u-4*v,e-7*v+4*u)}
function bound(k){return Math.max(0,Math.min(N/2,k))}
slider.k.addEventListener("input",function(){s.k=+slider.k.value;draw()});
slider.a.addEventListener("input",function(){s.a=+slider.a.value;draw()});
slider.phi.addEventListener("input",function(){s.phi=+slider.phi.value*PI/180;draw()});
function click(name,act){one("[data-do="+name+"]").addEventListener("click",function(){act();draw()})}
click("less",function(){s.k=bound(Math.ceil(s.k)-1)});
click("more",function(){s.k=bound(Math.floor(s.k)+1)});
click("fit",function(){var X=dft(x,s.k),end=s.k===0||s.k===N/2;
s.a=Math.hypot(X[0],X[1])*(end?1:2)/N;s.phi=Math.atan2(X[1],X[0]);
if(end){s.a*=Math.abs(Math.cos(s.phi));s.phi=X[0]<0?PI:0}});
click("take",function(){x=x.map(function(v,n){return v-probe(n)});taken++});
click("back",function(){x=d.x.slice();taken=0;s={k:d.k,a:d.a,phi:d.phi}});
function drag(name,act){var e=one("[data-drag="+name+"]"),last=null;
e.addEventListener("pointerdown",function(v){e.setPointerCapture(v.pointerId);v.preventDefault();
last=v.clientX;act(0,(v.clientX-e.getBoundingClientRect().left)/e.getBoundingClientRect().width);draw()});
e.addEventListener("pointermove",function(v){if(last===null)return;var r=e.getBoundingClientRect();
act((v.clientX-last)/r.width,(v.clientX-r.left)/r.width);last=v.clientX;draw()});
["pointerup","pointercancel"].forEach(function(n){e.addEventListener(n,function(){last=null})})}
drag("wave",function(moved){s.phi-=2*PI*s.k*moved});
drag("spectrum",function(moved,at){s.k=bound(Math.round(4*(at*(N/2+1)-.5))/4)});
w.querySelectorAll(".mmt-live").forEach(function(e){e.hidden=false});draw()})})"""


def wave_explorer(
    wave: Any,
    sample_rate: int,
    *,
    label: str,
    start: float = 1.0,
    amplitude: float = 1.0,
    phase: float = 0.0,
    id: str | None = None,
) -> Widget:
    """Lay a wave of any frequency, amplitude and phase over a given one, and see how well it fits.

    Four pictures: both waves; their products, sample by sample, whose sum is the inner product; the
    spectrum with the chosen frequency; and the Fourier coefficient as an arrow, with the phase as a
    direction: the sum is the arrow's shadow in this direction. What fits can be taken away, one wave
    after the other, until nothing is left.

    Args:
        wave: (N,), 8 to 400 real numbers, N even: one turn of the lowest frequency.
        sample_rate: samples a second, to say hertz.
        label: the title.
        start: the first frequency, in turns over the whole wave, 0 to N / 2. At whole numbers it is
            a bin of the discrete Fourier transform.
        amplitude, phase: of the first wave that is laid over; phase in degrees.
        id: an HTML id; made from the content if not given.

    Raises:
        ValueError: a wave of another length, not finite or zero everywhere, or a start out of range.
    """
    x = np.asarray(wave.detach().cpu() if hasattr(wave, "detach") else wave, dtype=np.float64)
    if x.ndim != 1 or not 8 <= len(x) <= 400 or len(x) % 2:
        raise ValueError(f"the wave must have an even number of samples, 8 to 400, got {x.shape}")
    if not np.isfinite(x).all() or not x.any():
        raise ValueError("the wave must be finite, and not zero everywhere")
    label, N = checked_text(label, "label"), len(x)
    for what, value, low, high in (
        ("start", start, 0, N / 2),
        ("amplitude", amplitude, 0, 1000),
        ("phase", phase, -180, 180),
        ("sample_rate", sample_rate, 1, 1e6),
    ):
        if not low <= value <= high:
            raise ValueError(f"{what} must lie in [{low:g}, {high:g}], got {value!r}")
    x = np.round(x, 6)
    top = float(np.abs(x).max()) * 1.15
    data = {
        "x": x.tolist(),
        "rate": sample_rate,
        "k": float(start),
        "a": float(amplitude),
        "phi": math.radians(phase),
        "top": round(max(top, amplitude), 6),
        "tall": round(_tallest(x), 6),
        "wide": WIDE,
        "high": HIGH,
        "dial": DIAL,
    }
    paths, texts = _drawn(data)
    tag = json_tag(data)
    id = made_id(id, "explorer", label, tag)

    def path(name: str, look: str) -> str:
        return f'<path data-p="{name}" d="{paths[name]}" {look}/>'

    def line(colour: str, width: float = 2, more: str = "") -> str:
        return f'fill="none" stroke="{colour}" stroke-width="{width}"{more}'

    def panel(inner: str, drag: str = "") -> str:
        return (
            f'<svg viewBox="0 0 {WIDE} {HIGH}" height="{HIGH}" preserveAspectRatio="none" '
            f'style="height:{HIGH}px" aria-hidden="true"{drag}>{inner}</svg>'
        )

    hint = '<span class="mmt-live" hidden> (drag)</span>'
    middle = f'<path d="M0 {HIGH / 2:g}H{WIDE}" stroke="#999" stroke-width="1"/>'
    dashed = ' stroke-dasharray="5 4"'
    most = max(2.0, math.ceil(2 * top) / 2)

    def slider(name: str, words: str, low: float, high: float, step: float, value: float) -> str:
        return (
            f'<div class="mmt-row"><label for="{id}-{name}">{words}</label>'
            f'<input type="range" id="{id}-{name}" data-s="{name}" min="{low:g}" max="{high:g}" step="{step:g}" value="{value:g}">'
            f'<output data-t="{name}" for="{id}-{name}">{escape(texts[name])}</output></div>'
        )

    def button(name: str, words: str, spoken: str = "") -> str:
        named = f' aria-label="{spoken}"' if spoken else ""
        return f'<button type="button" data-do="{name}"{named}>{words}</button>'

    html = (
        f'<div class="mmt-w mmt-waves mmt-explorer" id="{id}" role="group" '
        f'aria-label="{escape(label)}">{STYLE}{_STYLE}<p class="mmt-title">{escape(label)}</p>'
        f'<p><span class="mmt-b">the wave</span> and <span class="mmt-o">the one laid over it</span>'
        f"{hint}</p>"
        + panel(
            middle
            + path("given", line("#999", 1.2))
            + path("sum", line("#007a5a", 1.6, dashed))
            + path("wave", line("#0072b2"))
            + path("probe", line("#d55e00", 2, ' stroke-dasharray="7 3"')),
            ' data-drag="wave"',
        )
        + f'<p>their products: <span data-t="sum">{escape(texts["sum"])}</span></p>'
        + panel(
            middle
            + path("up", 'fill="#007a5a"')
            + path("down", 'fill="#d55e00" fill-opacity=".75"')
        )
        + '<div class="mmt-two"><div><p>how much of each frequency is in the wave'
        + hint
        + "</p>"
        + panel(
            path("curve", line("#aaa", 1.2))
            + path("stems", line("#0072b2", 3))
            + path("chosen", line("#d55e00", 2, dashed)),
            ' data-drag="spectrum"',
        )
        + "</div><div><p>the arrow</p>"
        f'<svg viewBox="0 0 {DIAL} {DIAL}" style="max-width:{HIGH}px" aria-hidden="true">'
        f'<circle cx="{DIAL / 2:g}" cy="{DIAL / 2:g}" r="{DIAL / 2 - 1:g}" fill="none" stroke="#999"/>'
        + path("turn", line("#d55e00", 1.4, dashed))
        + path("fall", line("#777", 1, ' stroke-dasharray="2 3"'))
        + path("onto", line("#d55e00", 5, ' stroke-opacity=".6"'))
        + path("arrow", line("#0072b2", 2.4))
        + '</svg></div></div><div class="mmt-sliders mmt-live" hidden>'
        + slider("k", "frequency", 0, N / 2, 0.25, start)
        + slider("phi", "phase", -180, 180, 5, phase)
        + slider("a", "amplitude", 0, most, 0.05, amplitude)
        + '</div><div class="mmt-bar mmt-live" hidden>'
        + button("less", "−1", "One turn less")
        + button("more", "+1", "One turn more")
        + button("fit", "best phase and amplitude")
        + button("take", "take it away")
        + button("back", "start again")
        + f'</div><p class="mmt-say" data-t="say" aria-live="polite">{escape(texts["say"])}</p>'
        f'<p class="mmt-note" data-t="left" aria-live="polite">{escape(texts["left"])}</p>'
        f"{tag}<script>{_EXPLORER}({json.dumps(id)});</script></div>"
    )
    return sized(Widget(id, html, f"{label}: {N} samples. {texts['say']}"), "explorer")


def coefficient(x: np.ndarray, turns: float) -> complex:
    """The Fourier coefficient of a wave (N,) at any number of turns: at whole numbers, that of the
    discrete Fourier transform."""
    return complex(np.sum(x * np.exp(-2j * np.pi * turns * np.arange(len(x)) / len(x))))


def _tallest(x: np.ndarray) -> float:
    return max(abs(coefficient(x, k / 4)) for k in range(2 * len(x) + 1))


def _number(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return (text.replace("-", "") if float(text) == 0 else text).replace("-", "−")


def _degrees(radians: float) -> float:
    turned = math.degrees(radians)
    return turned - 360 * math.floor(turned / 360 + 0.5)


def _drawn(data: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """The first paths and texts, as the script draws them."""
    x, N, k, a, phi = np.array(data["x"]), len(data["x"]), data["k"], data["a"], data["phi"]
    n, half = np.arange(N), HIGH / 2

    def points(pairs: Any) -> str:
        return "L".join(f"{u:.1f} {v:.1f}" for u, v in pairs)

    def laid(at: np.ndarray) -> np.ndarray:
        return a * np.cos(2 * np.pi * k * at / N + phi)

    X = coefficient(x, k)
    size, best = abs(X), math.atan2(X.imag, X.real)
    fine = np.arange(321)
    products = x * laid(n)
    most, bars = data["top"] * max(a, 1e-9), {"up": "", "down": ""}
    for i, value in enumerate(products):
        high = min(1, abs(value) / most) * HIGH * 0.46 * (1 if value >= 0 else -1)
        bars["up" if value >= 0 else "down"] += (
            f"M{WIDE * i / N:.1f} {half:.1f}v{-high:.1f}h{WIDE / N:.1f}v{high:.1f}z"
        )
    places = np.arange(N // 2 + 1)
    sizes = [abs(coefficient(x, int(j))) / data["tall"] * (HIGH - 8) for j in places]
    between = np.arange(2 * N + 1) / 4
    curve = [HIGH - 4 - abs(coefficient(x, j)) / data["tall"] * (HIGH - 8) for j in between]
    across = WIDE / (N // 2 + 1)
    R = DIAL / 2
    z, shadow = R * 0.94 / data["tall"], size * math.cos(phi - best)
    tip = (R + X.real * z, R - X.imag * z)
    foot = (R + shadow * math.cos(phi) * z, R - shadow * math.sin(phi) * z)
    away = (R * math.cos(phi), R * math.sin(phi))
    paths = {
        "given": "",
        "sum": "",
        "wave": "M" + points(zip(WIDE * (n + 0.5) / N, half - x / data["top"] * HIGH * 0.46)),
        "probe": "M"
        + points(
            zip(WIDE * fine / 320, half - laid(N * fine / 320 - 0.5) / data["top"] * HIGH * 0.46)
        ),
        **bars,
        "stems": "".join(
            f"M{across * (j + 0.5):.1f} {HIGH - 4:.1f}v{-s:.1f}" for j, s in zip(places, sizes)
        ),
        "curve": "M" + points(zip(across * (between + 0.5), curve)),
        "chosen": f"M{across * (k + 0.5):.1f} {HIGH:.1f}V0",
        "turn": "M" + points([(R - away[0], R + away[1]), (R + away[0], R - away[1])]),
        "fall": "M" + points([tip, foot]),
        "onto": "M" + points([(R, R), foot]),
        "arrow": _arrow((R, R), tip),
    }
    hertz = f"{math.floor(k * data['rate'] / N + 0.5):,}"
    plus, minus = float(products[products >= 0].sum()), float(products[products < 0].sum())
    total = _number(plus + minus, 2)
    turns = _number(k, 2)
    told = f"A wave of {turns} turns ({hertz} Hz): the products add up to {total}"
    if size > 1e-6 * data["tall"]:
        told += (
            f". The best phase is {_number(_degrees(best), 0)}°; with it and amplitude 1 they add "
            f"up to {_number(size, 2)}, the length of the arrow."
        )
    else:
        told += ". This frequency is not in the wave: no phase gives more than 0."
    texts = {
        "k": f"{turns} turns, {hertz} Hz",
        "a": _number(a, 2),
        "phi": f"{_number(_degrees(phi), 0)}°",
        "sum": f"above {_number(plus, 2)}, below {_number(minus, 2)}, together {total}",
        "say": told,
        "left": "Nothing has been taken away yet.",
    }
    return paths, texts


def _arrow(tail: tuple[float, float], tip: tuple[float, float]) -> str:
    path = f"M{tail[0]:.1f} {tail[1]:.1f}L{tip[0]:.1f} {tip[1]:.1f}"
    length = math.hypot(tip[0] - tail[0], tip[1] - tail[1])
    if length < 8:
        return path
    u, v = (tip[0] - tail[0]) / length, (tip[1] - tail[1]) / length
    left = f"{tip[0] - 7 * u + 4 * v:.1f} {tip[1] - 7 * v - 4 * u:.1f}"
    right = f"{tip[0] - 7 * u - 4 * v:.1f} {tip[1] - 7 * v + 4 * u:.1f}"
    return f"{path}M{left}L{tip[0]:.1f} {tip[1]:.1f}L{right}"
