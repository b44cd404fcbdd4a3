"""The user's Hydra callbacks on the jobs of a sweep that is trained as stacks: called when a job is really trained.

`hydra.core.utils.run_job` calls them around what it calls itself, which here is done before training begins.
"""

import copy
from dataclasses import replace
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict

from cl_runner.errors import RunError

_NAMES = ("on_job_start", "on_job_end")


class JobCallbacks:
    """Those of `context`, in the process that started the sweep.

    Attributes:
        silent: the context without callbacks, to compose jobs in.
        wanted: whether any callback asks for jobs.
    """

    def __init__(self, context: HydraContext) -> None:
        self._callbacks = context.callbacks
        self.silent = replace(context, callbacks=type(context.callbacks)())
        # To compose a job's config once more takes longer than to see that nobody asks for it.
        self.wanted = any(
            getattr(type(callback), name, None) is not getattr(Callback, name)
            for callback in context.callbacks.callbacks
            for name in _NAMES
        )
        self._begun: set[int] = set()

    def begun(self, number: int, result: JobReturn) -> None:
        """A job is trained from now on; of one that is begun again nobody is told."""
        if number not in self._begun:
            self._begun.add(number)
            self._call("on_job_start", result, task_function=lambda _: None)

    def ended(self, result: JobReturn, failure: str | None) -> None:
        """A job is complete, or failed for a reason."""
        result.status = JobStatus.COMPLETED if failure is None else JobStatus.FAILED
        if failure is not None:
            result.return_value = RunError(failure)
        self._call("on_job_end", result, job_return=result)

    def _call(self, name: str, result: JobReturn, **arguments: Any) -> None:
        # A job that another process submitted was not begun by this one.
        if not self.wanted or result.cfg is None or result.hydra_cfg is None:
            return
        config: DictConfig = copy.deepcopy(result.cfg)
        with open_dict(config):
            config.hydra = result.hydra_cfg.hydra
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(config)
        try:
            getattr(self._callbacks, name)(config=config, **arguments)
        finally:
            HydraConfig.instance().cfg = before
