"""Writing files so that none is ever half-written under its own name."""

import json
from pathlib import Path

# Written last: a run whose directory holds it is complete.
COMPLETE = "metrics.json"
# What an unfinished run goes on from.
STATE = "state.safetensors"
# Held by the process that is at work in a run's directory.
LOCK = ".lock"
# Holds the reason why a run failed.
FAILED = "failed.json"


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary file beside `path` and rename it, so that `path` is whole or absent."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def mark_failed(directory: Path, reason: str) -> None:
    """Leave the reason why the run in `directory` failed."""
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / FAILED, (json.dumps({"reason": reason}, ensure_ascii=False) + "\n").encode())
