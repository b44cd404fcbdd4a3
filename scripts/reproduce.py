"""Run the sweeps behind the claims and write docs/findings.md from their results.

    uv run scripts/reproduce.py [CLAIM...] [--seeds N] [--quick] [--data-dir DIR] [--page]

Finished runs are skipped, so that it goes on where it was stopped.
"""

import argparse
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from findings.claims import Claim, all_claims
from findings.page import Chapter, page, png, with_advice
from findings.results import add_cost, command, cost, jobs, load, missing

from cl_runner.results.files import COMPLETE, write_atomically

ROOT = Path(__file__).parents[1]
# Where the sweeps go, and where the page does.
FULL = Path("outputs/findings"), Path("docs")
QUICK = Path("outputs/findings-quick"), Path("outputs/findings-quick")
QUICK_SEEDS = 2


def main() -> int:
    claims = all_claims()
    options = parsed(claims)
    outputs, place = (ROOT / folder for folder in (QUICK if options.quick else FULL))
    seeds = options.seeds or (QUICK_SEEDS if options.quick else None)
    spent: dict[int, float] = {}
    failed = False
    for claim in [] if options.page else selected(claims, options.claims):
        started = time.perf_counter()
        for preset in claim.PRESETS:
            overrides = list(claim.QUICK[preset]) if options.quick else []
            overrides += [f"seed=range(0,{seeds})"] if seeds else []
            overrides += [f"data_dir={options.data_dir.resolve()}"] if options.data_dir else []
            failed |= sweep(preset, outputs / preset, overrides) != 0
        spent[claim.NUMBER] = time.perf_counter() - started
    chapters = write(claims, outputs, place)
    if not options.quick and len(chapters) == len(claims):
        readme = ROOT / "README.md"
        write_atomically(readme, with_advice(readme.read_text(encoding="utf-8"), chapters).encode())
    for number, seconds in spent.items():
        print(f"claim {number}: {seconds:.0f} s")
    print(f"page: {place / 'findings.md'}")
    return int(failed)


def parsed(claims: Sequence[Claim]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = [str(claim.NUMBER) for claim in claims] + [preset for claim in claims for preset in claim.PRESETS]
    # argparse checks the default of a list against `choices`, and so these are told here.
    parser.add_argument("claims", nargs="*", metavar="CLAIM", help=f"one of {', '.join(known)} (all)")
    parser.add_argument("--seeds", type=int, help="how many (the preset's)")
    parser.add_argument("--quick", action="store_true", help="small versions, into outputs/findings-quick/")
    parser.add_argument("--data-dir", type=Path, help="where MNIST lies or is downloaded to")
    parser.add_argument("--page", action="store_true", help="run nothing, write the page anew")
    options = parser.parse_args()
    for name in options.claims:
        if name not in known:
            parser.error(f"CLAIM: got {name}, allowed: {', '.join(known)}")
    return options


def selected(claims: Sequence[Claim], names: Sequence[str]) -> list[Claim]:
    """The claims named, by number or by one of their presets; all if none is."""
    return [claim for claim in claims if not names or {str(claim.NUMBER), *claim.PRESETS} & set(names)]


def sweep(preset: str, folder: Path, overrides: Sequence[str]) -> int:
    """Run what is missing of a preset, and record how long that took; gives the exit code."""
    arguments = ["-m", f"experiment={preset}", *overrides, f"hydra.sweep.dir={folder.relative_to(ROOT)}"]
    print(shlex.join(["cl-run", *arguments]), flush=True)
    before = set(folder.glob(f"*/{COMPLETE}"))
    started = time.perf_counter()
    try:
        return subprocess.run([sys.executable, "-m", "cl_runner", *arguments], cwd=ROOT, check=False).returncode
    finally:
        # A start that finds all finished composes the jobs, which is no part of what the results cost.
        if set(folder.glob(f"*/{COMPLETE}")) != before:
            add_cost(folder, time.perf_counter() - started)


def write(claims: Sequence[Claim], outputs: Path, place: Path) -> list[Chapter]:
    """The page from the results of all claims, and the figure and table of each finding beside it."""
    chapters, lacking = [], {}
    for claim in claims:
        if problems := incomplete(claim, outputs):
            lacking[claim.NUMBER] = problems
        else:
            chapters.append(chapter(claim, outputs))
    (place / "findings").mkdir(parents=True, exist_ok=True)
    for finding in (finding for found in chapters for finding in found.findings):
        write_atomically(place / "findings" / f"{finding.name}.png", png(finding.figure))
        write_atomically(place / "findings" / f"{finding.name}.csv", finding.table.to_csv(index=False).encode())
    presets = dict.fromkeys(preset for claim in claims for preset in claim.PRESETS)
    total = told([outputs / preset for preset in presets])
    write_atomically(place / "findings.md", page(chapters, lacking, f"All of it: {total}").encode())
    return chapters


def incomplete(claim: Claim, outputs: Path) -> list[str]:
    """What each of the claim's sweeps lacks: nothing if all are complete."""
    lines = []
    for preset in claim.PRESETS:
        expected, absent = jobs(outputs / preset), missing(outputs / preset)
        if not expected:
            lines.append(f"`{preset}` was not run")
        elif absent:
            names = ", ".join(f"{directory.name} ({name})" for directory, name in absent.items())
            lines.append(f"`{preset}` lacks {len(absent)} of {len(expected)} runs: {names}")
    return lines


def chapter(claim: Claim, outputs: Path) -> Chapter:
    """What a claim whose sweeps are complete has shown."""
    folders = [outputs / preset for preset in claim.PRESETS]
    results = {preset: load(folder) for preset, folder in zip(claim.PRESETS, folders, strict=True)}
    return Chapter(claim.NUMBER, claim.finding(results), [command(folder) for folder in folders], told(folders))


def told(folders: Sequence[Path]) -> str:
    """What the sweeps in these folders have cost, in words."""
    runs = sum(len(jobs(folder)) for folder in folders)
    costs = [known for known in map(cost, folders) if known]
    seconds = sum(known.seconds for known in costs)
    cores = " or ".join(sorted({str(known.cores) for known in costs}))
    of = "core" if cores == "1" else "cores"
    return f"{runs:,} runs" + (f" in {seconds / 60:.1f} minutes on {cores} {of}." if costs else ".")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
