"""What all widgets are made of: their style, text, pictures and sounds as pieces of HTML."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
import sys
import unicodedata
import wave as wave_file
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np

from mmtutor.kit.pictures import rgb
from mmtutor.page.plotting import smallest_text

MAX_BYTES = 2_000_000  # of one widget: a notebook stays under 3 MB
MAX_SECONDS = 15.0  # of one sound
#: Unicode's directions of characters that a text from left to right may have; and the characters
#: that turn what follows them, until another ends it.
_LEFT_TO_RIGHT = {"", "L", "EN", "ES", "ET", "CS", "NSM", "BN", "B", "S", "WS", "ON"}
_TURNING = {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}

STYLE = """<style>
.mmt-w{border:1px solid #8889;border-radius:8px;box-sizing:border-box;color:inherit;font-family:inherit;line-height:1.45;
margin:.6em 0;max-width:100%;padding:.8em;text-align:left}
.mmt-w *{box-sizing:border-box}.mmt-w [hidden]{display:none!important}
.mmt-w p,.mmt-w ul,.mmt-w ol{margin:0;max-width:none;padding:0}
.mmt-w .mmt-title{font-weight:600;margin-bottom:.5em}.mmt-w .mmt-note{opacity:.9}
.mmt-w img{background:#fff;border-radius:4px;display:block;height:auto;margin:0 auto;max-width:100%}
.mmt-w .mmt-cap{margin:.5em 0;min-height:1.5em;text-align:center}
.mmt-w .mmt-bar{align-items:center;display:flex;flex-wrap:wrap;gap:.6em}
.mmt-w input{font:inherit;max-width:100%}
.mmt-w input[type=range]{accent-color:#0072b2;flex:1 1 8em;min-width:6em}
.mmt-w input[type=text]{background:Field;border:1px solid #888;border-radius:6px;color:FieldText;padding:.35em .6em}
.mmt-w button{background:transparent;border:1px solid #888;border-radius:6px;color:inherit;cursor:pointer;font:inherit;
min-height:2.2em;min-width:2.2em;padding:.2em .6em}
.mmt-w button:hover{background:#8883}.mmt-w button[aria-pressed=true]{background:#0072b2;border-color:#0072b2;color:#fff}
.mmt-w :focus-visible{outline:3px solid #d95f02;outline-offset:2px}
.mmt-w audio{display:block;height:2.6em;max-width:100%;width:24em}
.mmt-w .mmt-list{list-style:none}.mmt-w .mmt-list li{list-style:none;margin:.6em 0 0}
.mmt-w .mmt-words{display:flex;flex-wrap:wrap;gap:.3em;justify-content:center;list-style:none;margin:.5em 0}
.mmt-w svg{background:#fff;border-radius:4px;display:block;height:auto;margin:.6em 0;width:100%}
.mmt-w svg text{fill:#111;font:13px sans-serif;paint-order:stroke;stroke:#fff;stroke-width:3px}
.mmt-w svg .mmt-p{opacity:.6}.mmt-w svg .mmt-n{opacity:.75}.mmt-w svg.mmt-small .mmt-n{display:none}
.mmt-w svg .mmt-o text{font-weight:700}.mmt-w svg.mmt-small .mmt-o text{font-size:26px;stroke-width:5px}
.mmt-w svg .mmt-o path{fill:none;stroke:#111;stroke-width:1}
.mmt-w svg .mmt-p path{cursor:pointer}
.mmt-w .mmt-near{display:flex;flex-wrap:wrap;gap:.4em;list-style:none}.mmt-w .mmt-near li{list-style:none}
.mmt-w .mmt-key{display:flex;flex-wrap:wrap;gap:.2em 1em;list-style:none}.mmt-w .mmt-key li{list-style:none}
.mmt-w .mmt-key svg{background:#fff;border-radius:3px;display:inline-block;height:1.1em;margin:0 .3em 0 0;
vertical-align:-.15em;width:1.1em}
</style>"""


class Widget:
    """HTML for a notebook and a page, with a plain-text twin."""

    def __init__(self, id: str, html: str, text: str) -> None:
        self.id, self._html, self._text = id, html, text

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return self._text


# --- Text and data --------------------------------------------------------------------------------


def checked_text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{what} must be text, got {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{what} must not be empty: it is what a screen reader says")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # no page can hold it
        raise ValueError(f"{what} holds half of a surrogate pair: {value!r:.80}") from error
    return value


def isolated(text: str) -> str:
    """A text that stands inside another one, and leaves its order alone.

    Beside Hebrew or Arabic letters a number or a bracket changes its side. A text that runs, or may
    run, from right to left is put between two invisible marks (Unicode's FSI and PDI), and marks
    inside it that turn what follows are left out. Any other text stays as it is.
    """
    if all(unicodedata.bidirectional(c) in _LEFT_TO_RIGHT for c in text):
        return text
    return "\u2068" + "".join(c for c in text if c not in _TURNING) + "\u2069"


def checked_texts(values: Sequence[str], what: str) -> list[str]:
    if isinstance(values, str):
        raise TypeError(f"{what} must be a list of texts, not one text")
    return [checked_text(value, what) for value in values]


def made_id(id: str | None, kind: str, *content: str | bytes) -> str:
    """The given id, checked, or one made from the content: the same content has the same id
    everywhere."""
    if id is None:
        digest = hashlib.blake2b(digest_size=6)
        for part in content:
            raw = part if isinstance(part, bytes) else part.encode()
            digest.update(len(raw).to_bytes(8, "big") + raw)
        return f"mmt-{kind}-{digest.hexdigest()}"
    if not isinstance(id, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", id):
        raise ValueError(
            f"id must start with a letter and have only letters, digits, - and _, got {id!r}"
        )
    return id


def json_tag(data: Any) -> str:
    """Data inside a script tag, with every character escaped that could end the tag."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f'<script type="application/json">{text}</script>'


def data_url(data: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def sized(widget: Widget, kind: str) -> Widget:
    size = len(widget._html.encode())
    if size > MAX_BYTES:
        raise ValueError(
            f"this {kind} widget has {size / 1e6:.1f} MB, more than {MAX_BYTES / 1e6:g} MB; use fewer or smaller pictures, "
            "fmt='webp', shorter sounds or a lower sample rate"
        )
    return widget


# --- Pictures and sounds --------------------------------------------------------------------------


class Encoded(NamedTuple):
    """A picture as bytes."""

    data: bytes
    width: int  # pixels
    height: int
    text: (
        float  # pixels of the smallest text in a matplotlib figure; infinite where nothing is known
    )

    def tag(self, fmt: str, alt: str, more: str = "") -> str:
        """The picture as an HTML tag; ``more`` are further attributes."""
        size = f' data-smallest-text="{self.text:.2f}"' if math.isfinite(self.text) else ""
        return (
            f'<img src="{data_url(self.data, f"image/{fmt}")}" width="{self.width}" '
            f'height="{self.height}" alt="{escape(alt)}"{size}{more}>'
        )


def encoded(image: Any, fmt: str, dpi: int, quality: int) -> Encoded:
    """A picture, an array or a matplotlib figure, encoded; a figure is closed."""
    if fmt not in ("png", "webp", "jpeg"):
        raise ValueError(f"fmt must be 'png', 'webp' or 'jpeg', got {fmt!r}")
    from PIL import Image

    smallest = math.inf
    if hasattr(image, "savefig"):
        figure, buffer = image, io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
        smallest = smallest_text(figure)[0] * dpi / figure.dpi
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close(figure)
        image = Image.open(buffer)
    image = rgb(image)
    buffer = io.BytesIO()
    options: dict[str, Any] = {"optimize": True} if fmt == "png" else {"quality": quality}
    image.save(buffer, format=fmt.upper(), **options)
    return Encoded(buffer.getvalue(), image.width, image.height, smallest)


def samples_of(
    wave: Any, sample_rate: int, name: str, normalize: bool, resample_to: int | None
) -> np.ndarray:
    """The wave as floats in [-1, 1], shape (T,), checked."""
    for what, rate in (("sample_rate", sample_rate), ("resample_to", resample_to)):
        if rate is not None and (
            isinstance(rate, bool)
            or not isinstance(rate, (int, np.integer))
            or not 3000 <= rate <= 96000
        ):
            raise ValueError(f"{what} must be an integer from 3000 to 96000 Hz, got {rate!r}")
    if hasattr(wave, "detach"):
        wave = wave.detach().cpu().numpy()
    array = np.asarray(wave)
    if array.dtype == np.int16:
        array = array.astype(np.float64) / 32768
    elif array.dtype.kind != "f":
        raise TypeError(f"the sound {name!r} must be floats in [-1, 1] or int16, got {array.dtype}")
    array = array.astype(np.float64)
    if array.ndim == 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 1:
        raise ValueError(
            f"the sound {name!r} must have shape (T,) or (1, T), got {array.shape}; give one channel"
        )
    if array.size == 0:
        raise ValueError(f"the sound {name!r} is empty")
    if not np.isfinite(array).all():
        raise ValueError(f"the sound {name!r} has samples that are not finite")
    if len(array) > MAX_SECONDS * sample_rate:
        raise ValueError(
            f"the sound {name!r} lasts {len(array) / sample_rate:.1f} s; a page takes at most {MAX_SECONDS:g} s, so cut it"
        )
    if resample_to is not None and resample_to != sample_rate:
        array = _resample(array, sample_rate, resample_to)
    peak = float(np.abs(array).max())
    if normalize:
        return array * (0.95 / peak) if peak > 0 else array
    if peak > 1.0 + 1e-3 and not (
        resample_to is not None and peak < 1.2
    ):  # a filter may overshoot a little
        raise ValueError(
            f"the sound {name!r} reaches {peak:.3g}, beyond full scale; pass normalize=True or scale it"
        )
    return array.clip(-1.0, 1.0)


def _resample(wave: np.ndarray, old: int, new: int) -> np.ndarray:
    """Band-limited resampling in the frequency domain, with silence around the wave so that its
    ends do not meet."""
    step_old, step_new = old // math.gcd(old, new), new // math.gcd(old, new)
    blocks = -(-len(wave) // step_old) + max(
        1, old // 20 // step_old
    )  # at least 50 ms of silence, whole blocks only
    padded = np.pad(wave, (0, blocks * step_old - len(wave)))
    spectrum = np.fft.rfft(padded)
    length = blocks * step_new
    out = np.zeros(length // 2 + 1, dtype=complex)
    keep = min(len(out), len(spectrum))
    out[:keep] = spectrum[:keep]
    return np.fft.irfft(out, length)[: max(1, round(len(wave) * new / old))] * (new / old)


def wav(samples: np.ndarray, sample_rate: int) -> bytes:
    """A 16-bit mono WAV file."""
    buffer = io.BytesIO()
    with wave_file.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(int(sample_rate))
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    return buffer.getvalue()
