"""By which versions of code something was computed."""

import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cl_runner.config.imports import file_and_hash, imported
from cl_runner.config.schema import Config

_PACKAGES = ("cl-runner", "torch", "numpy", "hydra-core")


def session(config: Config) -> dict[str, Any]:
    """What the record of a run with these settings says of those who compute it: when they started, versions, commit,
    and platform; and of code of one's own that the settings name, the file and its SHA-256.
    """
    named = {f"method.parts.{name}._target_": part["_target_"] for name, part in config.method.parts.items()}
    if config.model.kind == "module":
        named["model.target"] = config.model.target
    if config.benchmark.family == "own":
        named["benchmark.target"] = config.benchmark.target
    own = {name: file_and_hash(imported(key, name)) for key, name in named.items()}
    return {"started": datetime.now(UTC).isoformat(timespec="seconds"), **_this()} | ({"own_code": own} if own else {})


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """In which versions two sessions differ, in words: `torch 2.6.0, now 2.7.1`; empty if in none."""
    versions = [(session.get("versions") or {}) | _digests(session) for session in (before, now)]
    pairs = [(name, *(found.get(name) for found in versions)) for name in dict.fromkeys([*versions[0], *versions[1]])]
    pairs.append(("commit", before.get("commit"), now.get("commit")))
    return "; ".join(f"{name} {old or 'unknown'}, now {new or 'unknown'}" for name, old, new in pairs if old != new)


def _digests(session: Mapping[str, Any]) -> dict[str, str]:
    """Of code of one's own by its name, as long as they need be to tell two apart."""
    return {name: str(code.get("sha256"))[:12] for name, code in session.get("own_code", {}).items()}


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
