"""The claims that there are."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

import pandas as pd

from findings.page import Finding


class Claim(Protocol):
    """What a module `claim_N.py` holds: its number, the presets that it needs, and by preset what makes it quick."""

    NUMBER: int
    PRESETS: Sequence[str]
    QUICK: Mapping[str, Sequence[str]]

    def finding(self, results: Mapping[str, pd.DataFrame]) -> Sequence[Finding]:
        """What the results, by preset as `findings.results.load` gives them, say."""


def all_claims() -> list[Claim]:
    """Every claim that has a module, in order."""
    names = [file.stem for file in Path(__file__).parent.glob("claim_*.py")]
    modules = [cast(Claim, importlib.import_module(f"findings.{name}")) for name in names]
    return sorted(modules, key=lambda claim: claim.NUMBER)
