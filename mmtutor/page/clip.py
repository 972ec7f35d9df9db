"""A clip that plays: moving pictures with a button and a slider, and their sound if they have one.

Like the widgets of :mod:`mmtutor.page.widgets` it is one piece of HTML that needs no kernel, no
network and no other file. It never starts by itself. Where there is sound, the sound is the clock:
the picture that one sees is the one that belongs to the moment one hears. A browser without scripts
shows one picture, and its own player for the sound.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from mmtutor.kit.pictures import rgb
from mmtutor.page._parts import (
    MAX_SECONDS,
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

LEAST_WIDTH = 320  # pixels of a picture; a smaller one is enlarged by a whole number
MAX_FRAMES = 250

_STYLE = """<style>.mmt-clip .mmt-pics>img{cursor:pointer}.mmt-clip .mmt-count{font-variant-numeric:tabular-nums;
min-width:8.5em;text-align:end}.mmt-clip .mmt-cap:empty{display:none}
.mmt-clip .mmt-bar{margin-top:.6em}.mmt-clip [data-play]{min-width:6em}.mmt-clip audio{margin:.4em auto 0}
@media(max-width:500px){.mmt-clip .mmt-count{flex:1 0 100%;text-align:center}}</style>"""

# `now` is the picture that is shown; `began` the moment at which the silent clock stood at nought.
# With sound, the sound's own time decides. `wanted` counts what the reader asked for: a sound that
# starts late, after something else was asked for, changes nothing.
_SCRIPT = """(function(id){document.querySelectorAll('[id="'+id+'"]:not([data-ready])').forEach(function(w){
w.dataset.ready="1";var pics=Array.prototype.slice.call(w.querySelectorAll(".mmt-pics>img"));
var d=JSON.parse(w.querySelector("script[type='application/json']").textContent),n=pics.length;
var slider=w.querySelector("input"),cap=w.querySelector(".mmt-cap"),count=w.querySelector(".mmt-count");
var button=w.querySelector("[data-play]"),sound=w.querySelector("audio"),now=-1,playing=false,began=0,wanted=0;
function said(k){return (k+1)+" of "+n+", "+(k/d.rate).toFixed(2)+" s"}
function show(k){k=Math.max(0,Math.min(n-1,k));if(k===now)return;if(now>=0)pics[now].hidden=true;else
pics.forEach(function(p){p.hidden=true});pics[k].hidden=false;now=k;cap.textContent=d.labels[k]||"";slider.value=k;
slider.setAttribute("aria-valuetext",said(k)+(d.labels[k]?": "+d.labels[k]:""));count.textContent=said(k)}
function state(on){playing=on;button.textContent=on?"\\u275a\\u275a Pause":"\\u25b6 Play";
cap.setAttribute("aria-live",on?"off":"polite");w.dataset.playing=on?"1":""}
function seconds(){return sound?sound.currentTime:(performance.now()-began)/1000}
function tick(){if(!playing)return;var s=seconds();show(Math.floor(s*d.rate+1e-6));
if(sound?sound.ended:s*d.rate>=n){show(n-1);state(false)}else requestAnimationFrame(tick)}
function stop(){wanted++;state(false);if(sound)sound.pause()}
function play(){document.querySelectorAll(".mmt-clip[data-playing='1']").forEach(function(o){
if(o!==w)o.dispatchEvent(new Event("mmt-stop"))});
var k=now>=n-1?0:now,mine=++wanted;show(k);state(true);if(!sound){began=performance.now()-k/d.rate*1000;tick();return}
if(sound.ended||Math.floor(sound.currentTime*d.rate+1e-6)!==k)sound.currentTime=k/d.rate;
sound.play().then(function(){if(mine===wanted)tick()},function(){if(mine===wanted)state(false)})}
function go(k){if(playing)stop();show(k);if(sound)sound.currentTime=(now+.01)/d.rate}
function turn(){if(playing)stop();else play()}
slider.addEventListener("input",function(){go(+slider.value)});
slider.addEventListener("keydown",function(e){if(e.key===" "){e.preventDefault();turn()}});
button.addEventListener("click",turn);w.querySelector(".mmt-pics").addEventListener("click",turn);
w.addEventListener("mmt-stop",function(){if(playing)stop()});
if(sound)document.addEventListener("play",function(e){if(playing&&e.target!==sound)stop()},true);
if(sound){sound.controls=false;sound.addEventListener("pause",function(){if(playing&&!sound.ended)stop()})}
w.querySelector(".mmt-bar").hidden=false;show(+slider.getAttribute("value"))
})})"""


def clip(
    frames: Sequence[Any],
    frames_per_second: float,
    *,
    label: str,
    alt: str | Sequence[str],
    labels: Sequence[str] | None = None,
    wave: Any = None,
    sample_rate: int | None = None,
    normalize: bool = False,
    resample_to: int | None = None,
    id: str | None = None,
    start: int = 0,
    fmt: str = "webp",
    quality: int = 85,
) -> Widget:
    """Moving pictures with a play button, a slider and, where there is one, their sound.

    Args:
        frames: two or more pictures of one size, in their order, each as in
            :func:`mmtutor.page.widgets.frames`: for example an array (N, H, W, 3). Pictures narrower
            than 320 pixels are enlarged by a whole number.
        frames_per_second: how many are shown in a second, 0.5 to 60.
        label: the title.
        alt: what the clip shows, for who cannot see it: one text, or one for each picture.
        labels: a caption below each picture, if given.
        wave: the sound, as in :func:`mmtutor.page.widgets.player`. It must last as long as the
            pictures, give or take two of them or a quarter of a second; silence fills what lacks.
        sample_rate: of the sound, 3,000 to 96,000.
        normalize, resample_to: as in :func:`mmtutor.page.widgets.player`.
        id: an HTML id; made from the content if not given.
        start: which picture is shown first (and by a page that runs no scripts).
        fmt, quality: of the pictures, as in :func:`mmtutor.page.widgets.frames`.

    Raises:
        ValueError: fewer than two pictures or more than 250, pictures of different sizes, lengths
            that differ, a rate out of range, more than 15 seconds, a sound without its rate or
            of another length than the pictures, a widget of more than two megabytes; and as
            :func:`mmtutor.page.widgets.player`.
        TypeError: something that is not a picture or not a text.
    """
    pictures = [_large(frame) for frame in frames]
    rate = _checked_rate(frames_per_second, len(pictures))
    if not 0 <= start < len(pictures):
        raise ValueError(f"start must be in [0, {len(pictures)}), got {start}")
    label = checked_text(label, "label")
    alts = [alt] * len(pictures) if isinstance(alt, str) else alt
    alts, captions = checked_texts(alts, "alt"), checked_texts(labels or [], "labels")
    if len(alts) != len(pictures):
        raise ValueError(f"{len(pictures)} pictures, but {len(alts)} alt texts")
    if labels is not None and len(captions) != len(pictures):
        raise ValueError(f"{len(pictures)} pictures, but {len(captions)} labels")
    sound = _sound(wave, sample_rate, label, normalize, resample_to, len(pictures), rate)
    images = [encoded(picture, fmt, 96, quality) for picture in pictures]
    sizes = sorted({(image.width, image.height) for image in images})
    if len(sizes) > 1:
        raise ValueError(
            f"the pictures of a clip must have one size, got {sizes[0]} and {sizes[1]}"
        )
    id = made_id(
        id,
        "clip",
        label,
        str(rate),
        *alts,
        *captions,
        *(image.data for image in images),
        sound or b"",
    )
    tags = "".join(
        image.tag(fmt, what, ' decoding="sync"' + ("" if k == start else " hidden"))
        for k, (image, what) in enumerate(zip(images, alts))
    )
    said = f"{start + 1} of {len(images)}, {start / rate:.2f} s"
    spoken = said + (f": {captions[start]}" if captions else "")
    audio = ""
    if sound:
        audio = (
            f'<audio controls preload="auto" aria-label="{escape(label)}" '
            f'src="{data_url(sound, "audio/wav")}"></audio>'
        )
    html = (
        f'<div class="mmt-w mmt-clip" id="{id}" role="group" aria-label="{escape(label)}">'
        f'{STYLE}{_STYLE}<p class="mmt-title">{escape(label)}</p><div class="mmt-pics">{tags}</div>'
        f'<p class="mmt-cap" aria-live="polite">{escape(captions[start]) if captions else ""}</p>'
        f'<div class="mmt-bar" hidden><button type="button" data-play>▶ Play</button>'
        f'<input type="range" min="0" max="{len(images) - 1}" step="1" value="{start}" '
        f'aria-label="Picture of {escape(label)}" aria-valuetext="{escape(spoken)}">'
        f'<span class="mmt-count">{said}</span></div>{audio}'
        f"{json_tag({'rate': rate, 'labels': captions})}"
        f"<script>{_SCRIPT}({json.dumps(id)});</script></div>"
    )
    hz = sample_rate if resample_to is None else resample_to
    text = f"{label}: {len(images)} pictures, {rate:g} a second, {len(images) / rate:.1f} s"
    text += f", with sound at {hz} Hz" if sound else ", without sound"
    shown = [alts[0]] if len(set(alts)) == 1 and not captions else alts
    rows = [f"{a}: {b}" for a, b in zip(captions, alts)] if captions else shown
    return sized(Widget(id, html, "\n  ".join([text, *rows])), "clip")


def _checked_rate(frames_per_second: Any, count: int) -> float:
    if count < 2:
        raise ValueError(f"a clip needs two pictures or more, got {count}")
    if count > MAX_FRAMES:
        raise ValueError(f"a clip takes at most {MAX_FRAMES} pictures, got {count}; leave some out")
    if (
        isinstance(frames_per_second, bool)
        or not isinstance(frames_per_second, (int, float, np.integer, np.floating))
        or not 0.5 <= frames_per_second <= 60
    ):
        raise ValueError(f"frames_per_second must be from 0.5 to 60, got {frames_per_second!r}")
    rate = float(frames_per_second)
    if count / rate > MAX_SECONDS:
        raise ValueError(
            f"the clip lasts {count / rate:.1f} s; a page takes at most {MAX_SECONDS:g} s, so cut it"
        )
    return int(rate) if rate.is_integer() else rate


def _sound(
    wave: Any,
    sample_rate: int | None,
    name: str,
    normalize: bool,
    resample_to: int | None,
    count: int,
    rate: float,
) -> bytes | None:
    """A WAV file that lasts at least as long as the pictures; ``None`` where there is no sound."""
    if (wave is None) != (sample_rate is None):
        raise ValueError("wave and sample_rate come together")
    if wave is None or sample_rate is None:
        return None
    samples = samples_of(wave, sample_rate, name, normalize, resample_to)
    hz = sample_rate if resample_to is None else resample_to
    sounding, moving = len(samples) / hz, count / rate
    if abs(sounding - moving) > max(0.25, 2 / rate) + 1e-9:
        raise ValueError(
            f"the sound lasts {sounding:.2f} s and the pictures {moving:.2f} s: they do not belong together"
        )
    return wav(np.pad(samples, (0, max(0, math.ceil(moving * hz) - len(samples)))), hz)


def _large(frame: Any) -> Any:
    """A picture of at least 320 pixels' width whose pixels stay squares; a figure stays as it is."""
    if hasattr(frame, "savefig"):
        return frame
    picture = rgb(frame)
    times = -(-LEAST_WIDTH // picture.width)
    return picture.resize((picture.width * times, picture.height * times), 0)  # 0: nearest
