"""The ledger of claims as HTML, made from ``mmtutor/page/claims.json`` and ``book/results/*.json``."""

from __future__ import annotations

from html import escape
from pathlib import Path

from mmtutor.page import ledger


def sources(root: Path) -> list[Path]:
    """The files that the ledger page is made of."""
    return [
        root / "mmtutor" / "page" / "claims.json",
        *ledger.result_files(root / "book" / "results"),
    ]


SHARED = {"vilbert": "vlbert"}  # systems that have no chapter of their own: whose tells of them


def chapter_page(system: str, root: Path) -> str | None:
    """The page of a system's chapter beside the ledger page (``02_word2vec.html``), or None while it is not in the book."""
    system = SHARED.get(system, system)
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
    count = {
        verdict: sum(result.verdict == verdict for result in stored.values())
        for verdict in ledger.VERDICTS
    }
    again = [result for result in stored.values() if result.replicated is not None]
    same = sum(result.replicated == result.verdict for result in again)
    told = {
        "holds": f"hold{'s' if count['holds'] == 1 else ''}",
        "fails": f"do{'es' if count['fails'] == 1 else ''} not",
        "open": "undecided",
    }
    marks = ", ".join(
        f'<span class="{verdict}">{ledger.MARKS[verdict]} {count[verdict]} {told[verdict]}</span>'
        for verdict in ("holds", "fails", "open")
    )
    replicated = (
        f" Of {len(again)} that were measured again on fresh seeds, {same} came to the same verdict."
        if again
        else ""
    )
    return (
        f'<p class="claims-summary">So far <strong>{len(stored)}</strong> of {len(claims)} claims have been measured: {marks}.'
        f"{replicated} The other {len(claims) - len(stored)} wait for their chapters.</p>"
    )


def _parts_html(result: ledger.Result) -> str:
    """A rule part by part: the mark, what is asked, the number with its interval; below it the same on fresh seeds."""
    again = result.replication or [None] * len(result.parts)
    n, m = len(result.runs), len(result.replicated_on)
    seeds = "one run" if n == 1 else f"{n} seeds"
    fresh_seeds = "another run" if m == 1 else f"{m} fresh seeds"
    rows = []
    for judged, fresh in zip(result.parts, again, strict=True):
        lines = [
            f"{_mark(judged.verdict)} {escape(judged.part.words)}",
            f"<strong>{escape(str(judged.summary))}</strong> <span class='claim-note'>asked {escape(judged.part.asked)}, {seeds}</span>",
        ]
        if judged.verdict == "open":
            lines.append(f'<span class="claim-note">{escape(judged.hope)}</span>')
        if fresh:
            lines.append(
                f"<span class='claim-note'>{_mark(fresh.verdict)} {escape(str(fresh.summary))} on {fresh_seeds}</span>"
            )
        rows.append(f"<li>{'<br>'.join(lines)}</li>")
    return f'<ul class="claim-parts">{"".join(rows)}</ul>'


def _mark(verdict: str) -> str:
    return (
        f'<span class="{verdict}"><span aria-hidden="true">{ledger.MARKS[verdict]}</span>'
        f'<span class="sr-only">{ledger.WORDS[verdict]}</span></span>'
    )


def one_html(id: str, said: str, root: Path) -> str:
    """One measured claim in short: its words, its mark, its parts with their intervals, and where to read on.

    Args:
        id: of the claim.
        said: what was measured, in plain words, in the place of the parts' own words; they stand if it is empty.
        root: of the repository.

    Raises:
        ValueError: there is no such claim, it has not been measured, or ``said`` is to stand for several parts.
    """
    claim = ledger.all_claims().get(id)
    result = ledger.results(folder=root / "book" / "results").get(id)
    if claim is None or result is None:
        raise ValueError(f"there is no measured claim {id!r}")
    if said and len(result.parts) > 1:
        raise ValueError(f"{id} has {len(result.parts)} parts; one sentence cannot stand for all")
    n = len(result.runs)
    rows = "".join(
        f"<li>{_mark(judged.verdict)} {escape(said or judged.part.words)}: "
        f"<strong>{escape(str(judged.summary))}</strong>, asked&nbsp;{escape(judged.part.asked).replace(' ', '&nbsp;', 1)} "
        f"({'one run' if n == 1 else f'{n} seeds'})</li>"
        for judged in result.parts
    )
    return (
        f'<section class="claim one-claim {result.verdict}" aria-label="Claim {escape(id)}">'
        f'<p class="claim-head"><span class="claim-id">Claim {escape(id)}</span> '
        f'<span class="claim-mark"><span aria-hidden="true">{ledger.MARKS[result.verdict]}</span> '
        f"{ledger.WORDS[result.verdict]}</span></p>"
        f'<p class="claim-text">“{escape(claim.text)}.”</p><ul class="claim-parts">{rows}</ul>'
        f'<p class="claim-note"><a href="claims.html#{id.lower()}">Its rule and its limits</a>'
        f"{escape(ledger.told_replication(result))}</p></section>"
    )


def part_html(part: str, root: Path) -> str:
    """Every claim of one part: the measured ones with their numbers, then the ones that wait.

    Raises:
        ValueError: no claim belongs to this part.
    """
    claims = [
        claim for claim in ledger.all_claims().values() if claim.part.partition(" (")[0] == part
    ]
    if not claims:
        raise ValueError(f"no claim belongs to the part {part!r}")
    stored, known = ledger.results(folder=root / "book" / "results"), ledger.experiments_at_hand()
    html = []
    for claim in claims:
        result = stored.get(claim.id)
        if result is None:
            continue
        seconds = sum(run["seconds"] for run in result.runs)
        commits = sorted({run["commit"] for run in result.runs})
        note = f"<dt>Note</dt><dd>{escape(result.note)}</dd>" if result.note else ""
        if claim.id in known and result.stale(known[claim.id]):
            note += "<dt>Stale</dt><dd>The code behind these numbers has changed since; they wait to be measured again.</dd>"
        html.append(
            f'<section class="claim {result.verdict}" id="{claim.id.lower()}" aria-label="Claim {claim.id}">'
            f'<p class="claim-head"><span class="claim-id">{claim.id}</span> '
            f'<span class="claim-mark"><span aria-hidden="true">{ledger.MARKS[result.verdict]}</span> '
            f"{ledger.WORDS[result.verdict]}{escape(ledger.told_replication(result))}</span></p>"
            f'<p class="claim-text">{escape(claim.text)}</p><dl>'
            f"<dt>Rule</dt><dd>{escape(result.rule)}</dd>"
            f"<dt>Measured</dt><dd>{_parts_html(result)}</dd>"
            f"<dt>Limits</dt><dd>{escape(result.limits)}</dd>{note}"
            f"<dt>Chapter</dt><dd>{_chapter_html(claim.chapter, root)}</dd>"
            f'<dt>Run</dt><dd class="claim-note">means with 95% intervals over seeds; {seconds:,.0f} s in all, on '
            f"{escape(result.runs[0]['machine'])}; commit {escape(', '.join(commits))}</dd>"
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
