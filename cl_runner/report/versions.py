"""By which versions the runs of a report were trained: where these differ, numbers may differ for that alone."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from cl_runner.report.words import runs_in_words
from cl_runner.results.record import sessions_of
from cl_runner.results.versions import changes

# Each time that a run was computed, or gone on with: `versions` by package, and `commit`.
Sessions = Sequence[Mapping[str, Any]]
_TOLD = ("torch", "cl-runner", "commit")
_NAMED = 3


def recorded_sessions(directories: Sequence[str]) -> dict[str, Sessions]:
    """By whom each of these runs was computed, as far as it says so."""
    return {
        directory: [session for session in sessions_of(Path(directory)) if isinstance(session.get("versions"), Mapping)]
        for directory in directories
    }


def versions_in_words(sessions: Mapping[str, Sessions]) -> list[str]:
    """Where the runs, by directory, are of several versions, and which were gone on with by others than began them."""
    lines = []
    for name in _TOLD:
        by_version: dict[str, int] = {}
        for of_run in sessions.values():
            found = dict.fromkeys(_version(session, name) for session in of_run)
            words = " and then ".join(version for version in found if version) or "unknown"
            by_version[words] = by_version.get(words, 0) + 1
        unknown = by_version.pop("unknown", 0)
        if len(by_version) > 1:
            parts = [f"{runs_in_words(count)} by {version}" for version, count in sorted(by_version.items())]
            parts += [f"{runs_in_words(unknown)} by one that is unknown"] if unknown else []
            what = "commits of cl-runner" if name == "commit" else f"versions of {name}"
            lines.append(f"Several {what} trained these runs: {', '.join(parts)}. Differences may come from that.")
    others = {
        directory: "; then ".join(filter(None, (changes(before, now) for before, now in pairwise(of_run))))
        for directory, of_run in sessions.items()
    }
    taken_up = [f"{directory} ({differing})" for directory, differing in others.items() if differing]
    if taken_up:
        more = f" and {len(taken_up) - _NAMED} more" if len(taken_up) > _NAMED else ""
        was, them = ("was", "it") if len(taken_up) == 1 else ("were", "them")
        named = "; ".join(taken_up[:_NAMED])
        gone_on = f"{runs_in_words(len(taken_up))} {was} gone on with by other versions than began {them}"
        lines.append(f"{gone_on}: {named}{more}.")
    return lines


def _version(session: Mapping[str, Any], name: str) -> str:
    """Empty if that is unknown."""
    if name != "commit":
        return str((session.get("versions") or {}).get(name) or "")
    commit, changed, _ = str(session.get("commit") or "").partition("+changes")
    return f"{commit[:10]}{changed}"
