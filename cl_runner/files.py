"""Writing files so that none is ever half-written under its own name."""

from pathlib import Path

# Written last: a run whose directory holds it is complete.
COMPLETE = "metrics.json"


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary file beside `path` and rename it, so that `path` is whole or absent."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
