"""A batch of trials: the worst are dropped task by task, and further seeds judge those that reach the end."""

from collections.abc import Sequence
from statistics import fmean

from cl_runner.sweeps.search.progress import SearchProgress
from cl_runner.sweeps.search.record import Record
from cl_runner.sweeps.search.space import overrides
from cl_runner.sweeps.search.study import Searcher
from cl_runner.sweeps.search.training import Runs, Trainer

# A trial's place in its batch, and a seed.
_Name = tuple[int, int]


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
        seeds: the first is that of all trials, the others are of those that are not dropped.
        tasks: of each run.
    """
    trials = record.asked
    race = searcher.race(record.told, len(trials))
    names = f"trials {trials[0].number}-{trials[-1].number}"

    def begun(pairs: Sequence[_Name], number: int) -> Runs[_Name]:
        progress.at(names)
        jobs = {(place, seed): overrides(trials[place].values, given, seed) for place, seed in pairs}
        return trainer.begin(jobs, number)

    first = begun([(place, seeds[0]) for place in range(len(trials))], record.jobs)
    racing = list(first.jobs)
    for task in range(1, tasks + 1):
        progress.at(f"{names}, task {task} of {tasks}")
        racing = first.train(racing, task - 1, task)
        for place, seed in racing:
            if (score := first.scores[place, seed]) is not None:
                trials[place].scores[task] = score
                race.report(place, task, score)
        # A pruner compares with those that it was asked of before, so their order matters.
        dropped = [pair for pair in racing if task < tasks and race.drops(pair[0])]
        racing = [pair for pair in racing if pair not in dropped]
        first.drop(dropped, task, racing)
        progress.decided(len(racing), len(dropped))
        for place, _ in dropped:
            trials[place].state = "dropped"

    pairs = [(place, seed) for place, _ in racing for seed in seeds[1:]]
    further = begun(pairs, record.jobs + len(trials))
    progress.at(f"{names}, further seeds")
    further.train(further.jobs, 0, tasks)
    record.jobs += len(trials) + len(pairs)

    for place, trial in enumerate(trials):
        trial.attributes |= race.attributes(place)
        found = [(seed, first if seed == seeds[0] else further, (place, seed)) for seed in seeds]
        trial.directories = {seed: runs.name(pair) for seed, runs, pair in found if pair in runs.jobs}
        if trial.state == "dropped":
            continue
        reasons = [runs.failed[pair] for _, runs, pair in found if pair in runs.failed]
        trial.state, trial.reason = ("failed", reasons[0]) if reasons else ("complete", "")
        if not reasons:
            scores = {seed: runs.scores[pair] for seed, runs, pair in found}
            trial.by_seed = {seed: score for seed, score in scores.items() if score is not None}
            trial.value = fmean(trial.by_seed.values())
