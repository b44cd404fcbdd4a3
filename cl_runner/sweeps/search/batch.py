"""A batch of trials: the worst are dropped after each task, and after each seed that judges those that are left."""

from collections.abc import Sequence
from statistics import fmean

from cl_runner.sweeps.search.progress import SearchProgress
from cl_runner.sweeps.search.record import Record
from cl_runner.sweeps.search.space import overrides
from cl_runner.sweeps.search.study import Searcher
from cl_runner.sweeps.search.training import Trainer


def compete(
    record: Record,
    searcher: Searcher,
    trainer: Trainer,
    progress: SearchProgress,
    given: Sequence[str],
    seeds: Sequence[int],
    tasks: int,
) -> None:
    """Train the trials of the record that were asked, and note in each what came of it.

    All is decided by what the runs have recorded, and so the same when it is done once more.

    Args:
        record: of the search; it is not written.
        searcher, trainer, progress: of the search.
        given: the overrides of the command line.
        seeds: the first is that of all trials, each other one is of those that are not dropped yet.
        tasks: of each run.
    """
    trials = record.asked
    race = searcher.race(record.told, len(trials))
    names = f"trials {trials[0].number}-{trials[-1].number}"
    racing = list(range(len(trials)))
    for number, seed in enumerate(seeds):
        progress.at(f"{names}, seed {number + 1} of {len(seeds)}")
        runs = trainer.begin({place: overrides(trials[place].values, given, seed) for place in racing}, record.jobs)
        record.jobs += len(racing)
        for place, job in runs.jobs.items():
            trials[place].directories[seed] = trainer.within(job.directory)
        racing = list(runs.jobs)
        # Trials that are not dropped have all of their first seed before others are added.
        for task in range(1, tasks + 1) if number == 0 else [tasks]:
            progress.at(f"{names}, seed {number + 1} of {len(seeds)}, task {task} of {tasks}")
            racing = runs.train(racing, task - 1 if number == 0 else 0, task)
            trained = number * tasks + task
            for place in racing:
                if (score := runs.scores[place]) is not None:
                    trials[place].scores[trained] = fmean([*trials[place].by_seed.values(), score])
                    race.report(place, trained, trials[place].scores[trained])
            # A pruner compares with those that it was asked of before, so their order matters.
            dropped = [place for place in racing if trained < tasks * len(seeds) and race.drops(place)]
            racing = [place for place in racing if place not in dropped]
            runs.drop(dropped, task, racing)
            progress.decided(len(racing), len(dropped))
            for place in dropped:
                trials[place].state = "dropped"
        for place, reason in runs.failed.items():
            trials[place].state, trials[place].reason = "failed", reason
        for place in racing:
            if (score := runs.scores[place]) is not None:
                trials[place].by_seed[seed] = score
    for place, trial in enumerate(trials):
        trial.attributes |= race.attributes(place)
        if trial.state == "asked":
            trial.state, trial.value = "complete", fmean(trial.by_seed.values())
