"""Composing many jobs of a sweep: each is what Hydra composes of it, but not composed anew.

Jobs that choose the same presets differ in values alone. Hydra composes those presets once; each job is a copy, to
which Hydra's own function applies its values.
"""

import copy
import pickle
from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass
from functools import cached_property

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from cl_runner.config.hydra_internals import APPLY_OVERRIDES, name_overrides


@dataclass
class Composed:
    """A job's `settings`, without Hydra's own."""

    settings: DictConfig
    compose: InitVar[Callable[[], DictConfig]]

    def __post_init__(self, compose: Callable[[], DictConfig]) -> None:
        self._compose = compose

    @cached_property
    def whole(self) -> DictConfig:
        """With Hydra's own."""
        return self._compose()


class Composer:
    """Composes the jobs of `sweep`.

    Args:
        loader: finds the presets. One that changes meanwhile is as it was first read.
        sweep: the sweep's config.
    """

    def __init__(self, loader: ConfigLoader, sweep: DictConfig) -> None:
        self._loader, self._sweep = loader, sweep
        self._parser = OverridesParser.create()
        self._parsed: dict[str, Override] = {}
        # By key, and whether the value is a mapping, which no choice of a preset is.
        self._is_value: dict[tuple[str, bool], bool] = {}
        # By the overrides that choose them, without Hydra's own settings and with them. Pickled, as that is copied
        # five times as fast as by `copy.deepcopy`.
        self._presets: dict[tuple[str, ...], tuple[bytes, bytes]] = {}

    def composed(self, overrides: Sequence[str]) -> Composed:
        """What Hydra's `load_sweep_config` composes of a job's overrides.

        Raises:
            Exception: what Hydra raises over wrong ones.
        """
        try:
            return self._by_values(list(overrides))
        except Exception:
            # What is unusual Hydra composes by itself, and what is wrong it says in its own words.
            whole = self._loader.load_sweep_config(self._sweep, list(overrides))
            return Composed(_without_hydra(whole), lambda: whole)

    def _by_values(self, overrides: list[str]) -> Composed:
        parsed = [self._parse(line) for line in overrides]
        choices = self._choices(overrides, parsed)
        values = [override for override, line in zip(parsed, overrides, strict=True) if line not in choices]
        # The value that is taken out may be one that Hydra sets later.
        if any(map(_is_unusual, parsed)) or any(override.is_delete() for override in values):
            raise ValueError("it takes more than setting values in what presets give")
        if choices not in self._presets:
            config = self._loader.load_sweep_config(self._sweep, list(choices))
            self._presets[choices] = pickle.dumps(_without_hydra(config)), pickle.dumps(config)
        settings, whole = self._presets[choices]

        def with_hydra() -> DictConfig:
            config = _with(values, whole)
            config.hydra.overrides.task = overrides
            name_overrides(config, parsed)
            return self._with_cache(config)

        return Composed(self._with_cache(_with(values, settings)), with_hydra)

    def _with_cache(self, config: DictConfig) -> DictConfig:
        # Times of day, say, are those of the sweep.
        OmegaConf.copy_cache(from_config=self._sweep, to_config=config)
        return config

    def _parse(self, line: str) -> Override:
        if line not in self._parsed:
            (self._parsed[line],) = self._parser.parse_overrides([line])
        return self._parsed[line]

    def _choices(self, lines: list[str], overrides: list[Override]) -> tuple[str, ...]:
        """Those of the overrides that choose presets, which Hydra tells from values."""
        kinds = [(override.key_or_group, isinstance(override.value(), dict)) for override in overrides]
        if not all(kind in self._is_value for kind in kinds):
            given = [*self._sweep.hydra.overrides.hydra, *lines]
            found = self._loader.compute_defaults_list(self._sweep.hydra.job.config_name, given, RunMode.RUN)
            values = {override.input_line for override in found.config_overrides}
            self._is_value |= {kind: line in values for kind, line in zip(kinds, lines, strict=True)}
        return tuple(line for kind, line in zip(kinds, lines, strict=True) if not self._is_value[kind])


def _is_unusual(override: Override) -> bool:
    """Whether it is of Hydra's own settings, or of a package, or a list to sweep over, which a job has none of."""
    own = override.is_hydra_override() or override.key_or_group == "hydra"
    return own or override.package is not None or override.is_sweep_override()


def _without_hydra(config: DictConfig) -> DictConfig:
    settings = copy.deepcopy(config)
    with open_dict(settings):
        del settings["hydra"]
    return settings


def _with(values: list[Override], pickled: bytes) -> DictConfig:
    config = pickle.loads(pickled)
    assert isinstance(config, DictConfig)
    APPLY_OVERRIDES(values, config)
    return config
