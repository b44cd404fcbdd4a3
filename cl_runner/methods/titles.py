"""What a run is called where people look."""

from cl_runner.config.schema import Config
from cl_runner.methods.method import mask_rule


def describe(config: Config) -> str:
    """A run in a few words, for figures and the terminal."""
    method, benchmark = config.method, config.benchmark
    parts = []
    if mask_rule(config).active:
        parts.append(f"{'soft ' * method.soft}{method.mask} mask, freeze={config.freeze:g}")
    if method.penalty != "none" and method.ewc_lambda > 0:
        parts.append(f"λ={method.ewc_lambda:g}")
    if method.l1_lambda > 0:
        parts.append(f"λ₁={method.l1_lambda:g}")
    settings = f" ({', '.join(parts)})" if parts else ""
    known = benchmark.dataset == "curve" or benchmark.dataset in benchmark.name
    dataset = "" if known else f" of {benchmark.dataset}"
    return f"{method.name}{settings} on {benchmark.name}{dataset}, seed {config.seed}"
