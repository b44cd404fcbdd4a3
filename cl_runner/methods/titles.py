"""What a run is called where people look."""

from cl_runner.config.schema import Config
from cl_runner.methods.own import resolved
from cl_runner.methods.settings import OWN, parts_of


def describe(config: Config) -> str:
    """A run in a few words, for figures and the terminal."""
    benchmark = config.benchmark
    parts = []
    for name, choice in sorted(parts_of(config).items(), key=lambda item: item[0] != "mask"):
        kind, settings = resolved(choice)
        words = kind.describe(settings)
        parts.append(words if name in (*OWN, config.method.name) else f"{name} {words}".strip())
    added = f" ({', '.join(filter(None, parts))})" if any(parts) else ""
    known = benchmark.dataset in ("curve", "own") or benchmark.dataset in benchmark.name
    dataset = "" if known else f" of {benchmark.dataset}"
    return f"{config.method.name}{added} on {benchmark.name}{dataset}, seed {config.seed}"
