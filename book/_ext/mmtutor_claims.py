"""The ledger of claims as HTML, made from ``mmtutor/page/claims.json`` and ``book/results/*.json``."""

from __future__ import annotations

from html import escape
from pathlib import Path

from mmtutor.page import ledger


def sources(root: Path) -> list[Path]:
    """The files that the ledger page is made of."""
    return [root / "mmtutor" / "page" / "claims.json", *ledger.result_files(root / "book" / "results")]


def chapter_page(system: str, root: Path) -> str | None:
    """The page of a system's chapter beside the ledger page (``02_word2vec.html``), or None while it is not in the book."""
    for line in (root / "_toc.yml").read_text(encoding="utf-8").splitlines():
        name = line.partition("file:")[2].strip().removeprefix("book/")
        if name == system or name.partition("_")[2] == system:
            return f"{name}.html"
    return None


def _chapter_html(system: str, root: Path) -> str:
    name, page = escape(system.replace("_", " ")), chapter_page(system, root)
    return f'<a href="{escape(page)}">{name}</a>' if page else name


def summary_html(root: Path) -> str:
    """One sentence with the counts."""
    claims, stored = ledger.all_claims(), ledger.results(folder=root / "book" / "results")
    held = sum(result.holds for result in stored.values())
    failed = len(stored) - held
    return (
        f'<p class="claims-summary">So far <strong>{len(stored)}</strong> of {len(claims)} claims have been measured: '
        f'<span class="holds">✓ {held} hold{"s" if held == 1 else ""}</span>, '
        f'<span class="fails">✗ {failed} do{"es" if failed == 1 else ""} not</span>. '
        f"The other {len(claims) - len(stored)} wait for their chapters.</p>"
    )


def _measured_html(result: ledger.Result) -> str:
    """The headline number with its interval; a curve is written as its list of numbers."""
    value = result[result.headline]
    values = value if isinstance(value, list) else [value]
    shown = "; ".join(str(summary) for summary in values)
    seeds = len(result.runs)
    unit = f"{escape(result.unit)} " if result.unit else ""
    if seeds == 1:
        spread = "one run"
    elif all(summary.low == summary.high for summary in values):
        spread = f"the same in all {seeds} seeds"
    else:
        spread = f"mean and 95% interval over {seeds} seeds"
    return f'{unit}<strong>{escape(shown)}</strong> <span class="claim-note">({spread})</span>'


def part_html(part: str, root: Path) -> str:
    """Every claim of one part: the measured ones with their numbers, then the ones that wait.

    Raises:
        ValueError: no claim belongs to this part.
    """
    claims = [claim for claim in ledger.all_claims().values() if claim.part.partition(" (")[0] == part]
    if not claims:
        raise ValueError(f"no claim belongs to the part {part!r}")
    stored = ledger.results(folder=root / "book" / "results")
    html = []
    for claim in claims:
        result = stored.get(claim.id)
        if result is None:
            continue
        state, mark, words = ("holds", "✓", "holds") if result.holds else ("fails", "✗", "does not hold")
        seconds = sum(run["seconds"] for run in result.runs)
        commits = sorted({run["commit"] for run in result.runs})
        html.append(
            f'<section class="claim {state}" id="{claim.id.lower()}" aria-label="Claim {claim.id}">'
            f'<p class="claim-head"><span class="claim-id">{claim.id}</span> '
            f'<span class="claim-mark"><span aria-hidden="true">{mark}</span> {words}</span></p>'
            f'<p class="claim-text">{escape(claim.text)}</p><dl>'
            f"<dt>Rule</dt><dd>{escape(result.rule)}</dd>"
            f"<dt>Measured</dt><dd>{_measured_html(result)}</dd>"
            f"<dt>Chapter</dt><dd>{_chapter_html(claim.chapter, root)}</dd>"
            f'<dt>Run</dt><dd class="claim-note">{seconds:,.0f} s in all, on {escape(result.runs[0]["machine"])}; '
            f"commit {escape(', '.join(commits))}</dd>"
            f"</dl></section>"
        )
    waiting = [claim for claim in claims if claim.id not in stored]
    if waiting:
        rows = "".join(
            f'<tr id="{claim.id.lower()}"><th scope="row">{claim.id}</th><td>{escape(claim.text)}</td>'
            f"<td>{escape(claim.measure)}</td><td>{_chapter_html(claim.chapter, root)}</td></tr>"
            for claim in waiting
        )
        html.append(
            '<table class="table claims-waiting"><caption>Not yet measured</caption><thead><tr><th scope="col">Id</th>'
            '<th scope="col">Claim</th><th scope="col">How it will be measured</th><th scope="col">Chapter</th>'
            f"</tr></thead><tbody>{rows}</tbody></table>"
        )
    return "\n".join(html)
