"""The page of all findings, in Markdown."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
from matplotlib.figure import Figure

from cl_runner.report.terminal import as_text

Verdict = Literal["confirmed", "refuted", "depends"]


@dataclass(frozen=True)
class Finding:
    """What was found about a claim.

    `name` is that of its files. `claim` is the statement tested, a sentence. The verdict follows from the data by a
    rule, and `words` say in a sentence what decided it. `answer` is paragraphs of Markdown whose numbers come from the
    data. `table` is ready to show: a row per setting, with means, intervals and n as text. `advice` is a sentence for
    those who read no more than the README, of few findings.
    """

    name: str
    title: str
    claim: str
    verdict: Verdict
    words: str
    answer: str
    figure: Figure
    table: pd.DataFrame
    advice: str = ""


@dataclass(frozen=True)
class Chapter:
    """The findings on claim `number`, with the commands that reproduce them and a sentence on what they cost."""

    number: int
    findings: Sequence[Finding]
    commands: Sequence[str]
    cost: str


# Between them stands what `with_advice` writes.
_MARKS = "<!-- written by scripts/reproduce.py -->", "<!-- end -->"

_OPENING = """# Findings

Claims about continual learning, each tested by a sweep that is kept as a preset. This page is written by
`scripts/reproduce.py` from the results: its numbers come from the runs, its verdicts from rules in `scripts/findings/`.

    uv run scripts/reproduce.py          # all of it; goes on where it was stopped
    uv run scripts/reproduce.py 1        # one claim
    uv run scripts/reproduce.py --quick  # a small version, into outputs/findings-quick/

Intervals are 95 % intervals of the mean over seeds by Student's t; differences between settings are paired by seed. Of
fewer than five seeds, as in the small version, nothing is called clear.
"""


def page(chapters: Sequence[Chapter], open_claims: Mapping[int, Sequence[str]], cost: str) -> str:
    """The page of `chapters`.

    Args:
        chapters: of the claims whose runs are complete.
        open_claims: by number, what the others lack.
        cost: a sentence on what all of it took.
    """
    lines = [_OPENING, cost, ""]
    if chapters:
        found = [(chapter.number, finding) for chapter in chapters for finding in chapter.findings]
        lines.append("| | claim | verdict | why |\n| --- | --- | --- | --- |")
        lines += [
            f"| {number} | [{finding.claim}](#{_anchor(number, finding)}) | **{finding.verdict}** | {finding.words} |"
            for number, finding in found
        ]
        lines.append("")
    if open_claims:
        lines.append("## Not shown, as runs are missing\n")
        lines += [f"- claim {number}: {'; '.join(lacks)}" for number, lacks in open_claims.items()]
        lines.append("")
    for chapter in chapters:
        lines += [_section(chapter, finding) for finding in chapter.findings]
        lines += [*(f"    {command}" for command in chapter.commands), f"\n{chapter.cost}\n"]
    return "\n".join(lines)


def with_advice(text: str, chapters: Sequence[Chapter]) -> str:
    """The README's `text` with the advice of the findings between its two marks, that of the last claim first.

    Raises:
        ValueError: a mark is missing.
    """
    found = [finding for chapter in reversed(chapters) for finding in chapter.findings]
    advice = [finding.advice for finding in found if finding.advice]
    before, _, rest = text.partition(_MARKS[0])
    _, end, after = rest.partition(_MARKS[1])
    if not end:
        raise ValueError(f"the marks {' and '.join(_MARKS)} are not in the text")
    return f"{before}{_MARKS[0]}\n{' '.join(advice)}\n{_MARKS[1]}{after}"


def _section(chapter: Chapter, finding: Finding) -> str:
    return f"""## {_heading(chapter.number, finding)}

Claim: {finding.claim}

**{finding.verdict.capitalize()}**: {finding.words}

![{finding.title}](findings/{finding.name}.png)

{finding.answer}

{as_text(finding.table, "markdown")}"""


def _heading(number: int, finding: Finding) -> str:
    return f"{number}. {finding.title}"


def _anchor(number: int, finding: Finding) -> str:
    """As GitHub makes one of a heading."""
    kept = [letter for letter in _heading(number, finding).lower() if letter.isalnum() or letter in " -_"]
    return "".join(kept).replace(" ", "-")


def png(figure: Figure) -> bytes:
    """The figure as a file, the same bytes each time."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=140, metadata={"Software": None})
    return file.getvalue()
