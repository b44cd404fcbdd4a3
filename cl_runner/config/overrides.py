"""Settings as they are written on the command line: `key=value` in Hydra's grammar."""

import re
from pathlib import Path

# https://hydra.cc/docs/1.3/advanced/override_grammar/basic/
_PLAIN = re.compile(r"[A-Za-z_./][\w./-]*", re.ASCII)
# Mappings to which a setting may be added, as one's own code has settings that no schema knows, and Optuna has.
OPEN = (
    "method.parts.",
    "model.arguments.",
    "benchmark.arguments.",
    "hydra.sweeper.space",
    "hydra.sweeper.sampler_arguments",
    "hydra.sweeper.pruner_arguments",
)
_HOME = re.compile(r"([\w.+@/]+)=(~[\w.-]*(?:/[^,'\"]*)?)", re.ASCII)


def quoted(text: str) -> str:
    """A value of any characters: in Hydra's quotes where it is not plain."""
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def with_home(argument: str) -> str:
    """`hydra.run.dir=~/runs` with the home in place of the tilde, which shells leave and Hydra does not understand."""
    found = _HOME.fullmatch(argument)
    return f"{found[1]}={quoted(str(Path(found[2]).expanduser()))}" if found else argument


def with_entry(argument: str) -> str:
    """`method.parts.si.strength=0.1` in Hydra's words for a setting that may be there or not, if it is of one's own
    code; what is said with a `+` stays.
    """
    return f"++{argument}" if argument.startswith(OPEN) else argument
