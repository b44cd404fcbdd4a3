"""What Hydra leaves in the directory of a job that it runs: its log, and its settings in `.hydra/`."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from cl_runner.config.hydra_internals import yaml_of


class HydraFiles:
    """Writes for many jobs what `hydra.core.utils.run_job` would, to the letter.

    That takes several times as long, for copies, and for YAML that is the same in all jobs.
    """

    def __init__(self) -> None:
        # Lines of YAML by the depth, the key and the value that they are of.
        self._lines: dict[tuple[int, str, str], str] = {}

    def write(self, composed: DictConfig) -> None:
        """Make the directory of a job, have its log begin there, and write its settings. `composed` is told of it."""
        hydra, before = composed.hydra, HydraConfig.instance().cfg
        # Settings may name others by `${hydra:...}`.
        HydraConfig.instance().cfg = cast(HydraConf, composed)
        try:
            directory = Path(os.path.abspath(Path(hydra.sweep.dir, hydra.sweep.subdir)))  # noqa: PTH100 # links stay
            with read_write(hydra.runtime), open_dict(hydra.runtime):
                hydra.runtime.output_dir = str(directory)
            directory.mkdir(parents=True, exist_ok=True)
            configure_log(hydra.job_logging, hydra.verbose)
            if hydra.output_subdir is not None:
                self._write_settings(composed, directory / hydra.output_subdir)
        finally:
            HydraConfig.instance().cfg = before

    def _write_settings(self, composed: DictConfig, folder: Path) -> None:
        settings = OmegaConf.to_container(composed, enum_to_str=True)
        assert isinstance(settings, dict)
        hydra = settings.pop("hydra")
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (
            ("config.yaml", self.as_yaml(settings)),
            ("hydra.yaml", self.as_yaml({"hydra": hydra})),
            ("overrides.yaml", yaml_of(hydra["overrides"]["task"])),
        ):
            (folder / name).write_text(text, encoding="utf-8")

    def as_yaml(self, settings: Mapping[Any, Any]) -> str:
        """What `OmegaConf.to_yaml` makes of plain data."""
        return "".join(self._entries(settings, 0)) or yaml_of({})

    def _entries(self, settings: Mapping[Any, Any], depth: int) -> Iterator[str]:
        for key, value in settings.items():
            if isinstance(value, dict) and value:
                head = self._entry(depth, key, {})
                # Where a key is long or has lines, YAML has another form.
                if head.endswith(": {}\n") and head.count("\n") == 1:
                    yield head.removesuffix(" {}\n") + "\n"
                    yield from self._entries(value, depth + 1)
                    continue
            yield self._entry(depth, key, value)

    def _entry(self, depth: int, key: Any, value: Any) -> str:
        known = depth, repr(key), repr(value)
        if known not in self._lines:
            inner = {key: value}
            for _ in range(depth):
                inner = {"_": inner}
            # Where lines are broken hangs on how far they are indented.
            self._lines[known] = yaml_of(inner).split("\n", depth)[-1]
        return self._lines[known]
