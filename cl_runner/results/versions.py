"""By which versions of code something was computed."""

import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = ("cl-runner", "torch", "numpy", "hydra-core")


def session() -> dict[str, Any]:
    """What a run's record says of those who compute it: when they started, versions, commit, and platform."""
    return {"started": datetime.now(UTC).isoformat(timespec="seconds"), **_this()}


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """In which versions two sessions differ, in words: `torch 2.6.0, now 2.7.1`; empty if in none."""
    versions = [session.get("versions") or {} for session in (before, now)]
    pairs = [(name, *(found.get(name) for found in versions)) for name in dict.fromkeys([*versions[0], *versions[1]])]
    pairs.append(("commit", before.get("commit"), now.get("commit")))
    return "; ".join(f"{name} {old or 'unknown'}, now {new or 'unknown'}" for name, old, new in pairs if old != new)


@cache
def _this() -> dict[str, Any]:
    return {
        "versions": {name: version(name) for name in _PACKAGES} | {"python": platform.python_version()},
        "commit": _commit(),
        "platform": platform.platform(),
    }


def _commit() -> str | None:
    """Commit of the package's own checkout, with `+changes` if it was edited; None if it is not one."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    git = ["git", "-C", str(root)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changes = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if changes.strip() else "")
