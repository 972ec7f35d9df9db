"""Make the book's Hangul font anew: python scripts/hangul.py

The pages bring a font of their own for Korean, so that no reader sees empty boxes. It holds just the syllables that the
book's sources use. It is cut from Noto Sans KR, which the package pylopdf-fonts-ko brings with its licence (SIL Open Font
License 1.1); pip fetches that package into a temporary folder, and nothing is installed. `tests/book/test_hangul.py` says
when the font has to be made again: when a page uses a syllable that is not in it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "book" / "_static" / "fonts"
FONT = FOLDER / "hangul.woff"
LICENCE = FOLDER / "OFL.txt"
PACKAGE = "pylopdf-fonts-ko==0.1.1"
SOURCE = "pylopdf_fonts_ko/NotoSansKR-Regular.otf"
FAMILY = "mmtutor Hangul"  # a subset has a name of its own

HANGUL = "[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]"  # the unicode-range of mmtutor.css


def characters(root: Path = ROOT) -> dict[str, str]:
    """Each Hangul character of the book's sources (pages, notebooks with their outputs, drawings), and a file that has it."""
    found: dict[str, str] = {}
    for path in sorted((root / "book").rglob("[!._]*")):
        if path.suffix in (".md", ".ipynb", ".svg"):
            text = path.read_text(encoding="utf-8")
            text = re.sub(r"\\+u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), text)
            for character in re.findall(HANGUL, text):
                found.setdefault(character, str(path.relative_to(root)))
    return found


def cut(source: Path, text: str, target: Path) -> None:
    """A font with the glyphs of ``text`` and no others, as WOFF; the same text gives the same bytes."""
    from fontTools import subset
    from fontTools.ttLib import TTFont

    options = subset.Options(
        flavor="woff",
        hinting=False,
        desubroutinize=True,
        layout_features=[],
        name_IDs=[0, 1, 2, 4, 6, 13, 14],
        name_languages=[0x409],
        notdef_outline=True,
        drop_tables=["BASE", "GPOS", "GSUB", "VORG", "vhea", "vmtx", "DSIG"],
    )
    font = TTFont(source, recalcTimestamp=False)
    cutter = subset.Subsetter(options)
    cutter.populate(text=text)
    cutter.subset(font)
    for record in font["name"].names:
        if record.nameID in (1, 4):
            record.string = FAMILY
        elif record.nameID == 6:
            record.string = FAMILY.replace(" ", "")
    if "CFF " in font:
        table = font["CFF "].cff
        table.fontNames = [FAMILY.replace(" ", "")]
        table.topDictIndex[0].FullName = table.topDictIndex[0].FamilyName = FAMILY
    font.flavor = "woff"
    target.parent.mkdir(parents=True, exist_ok=True)
    font.save(target, reorderTables=True)


def copyright_of(source: Path) -> str:
    """What the font says of its copyright."""
    from fontTools.ttLib import TTFont

    return str(TTFont(source)["name"].getDebugName(0))


def main() -> int:
    """Fetch, cut, write the font and its licence."""
    text = "".join(sorted(characters()))
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder]
        subprocess.run([*pip, PACKAGE], check=True)
        cut(Path(folder) / SOURCE, text, FONT)
        (licence,) = Path(folder).glob("pylopdf_fonts_ko-*.dist-info/licenses/LICENSE")
        LICENCE.write_text(
            f"hangul.woff is a subset of Noto Sans KR, {copyright_of(Path(folder) / SOURCE)}\n"
            f"It was made by scripts/hangul.py from the package {PACKAGE.replace('==', ' ')}.\n\n"
            + "\n".join(line.rstrip() for line in licence.read_text("utf-8").splitlines())
            + "\n",
            encoding="utf-8",
        )
    print(f"{FONT.relative_to(ROOT)}: {len(text)} characters, {FONT.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
