"""What a command changes in its process, put back afterwards: for a process that is somebody else's."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobRuntime
from hydra.version import VersionBase

from cl_runner.signals import listening

# What Hydra keeps of the application that runs.
_OF_AN_APPLICATION = (GlobalHydra, HydraConfig, JobRuntime, VersionBase)


@contextmanager
def put_back() -> Iterator[None]:
    """Logging, Hydra's state and the answers to signals are afterwards what they were."""
    with ExitStack() as stack:
        for part in (_logging, _hydra, listening):
            stack.enter_context(part())
        yield


@contextmanager
def _hydra() -> Iterator[None]:
    """Meanwhile Hydra is as if nobody had started it yet in this process."""
    before = {kind: Singleton._instances.pop(kind, None) for kind in _OF_AN_APPLICATION}
    try:
        yield
    finally:
        for kind, instance in before.items():
            Singleton._instances.pop(kind, None)
            if instance is not None:
                Singleton._instances[kind] = instance


@contextmanager
def _logging() -> Iterator[None]:
    """Hydra configures logging anew, which would take away, and close, every handler that logging knows of."""
    # No public function takes a handler out of what is closed.
    registry: Any = logging
    known = [logger for logger in logging.Logger.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    loggers = {
        logger: (logger.level, logger.handlers[:], logger.propagate, logger.disabled)
        for logger in (logging.getLogger(), *known)
    }
    handlers, names, tells = registry._handlerList[:], dict(registry._handlers), logging.raiseExceptions
    registry._handlerList.clear()
    # Where the disk is full, the error that is raised says so, and not the log file's own.
    logging.raiseExceptions = False
    try:
        yield
    finally:
        # Those of Hydra hold files open.
        logging.shutdown(registry._handlerList)
        registry._handlerList[:] = handlers
        registry._handlers.update(names)
        logging.raiseExceptions = tells
        for logger, (level, own, propagate, disabled) in loggers.items():
            logger.setLevel(level)
            logger.handlers[:], logger.propagate, logger.disabled = own, propagate, disabled
