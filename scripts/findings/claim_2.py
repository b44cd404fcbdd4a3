"""Claim 2: significance differs by layer by orders of magnitude."""

from collections.abc import Mapping, Sequence

import pandas as pd

from findings.page import Finding, Verdict
from findings.significance import (
    FROZEN,
    UNITS,
    UNTRAINED,
    Case,
    after,
    cases,
    levels,
    names_of,
    of,
    of_layer,
    ratio,
    span,
    untrained_levels,
)
from findings.significance_shown import draw_layers, draw_ratios, layers_table, ratio_table
from findings.statistics import Estimate, paired_difference

NUMBER = 2
PRESETS = ["significance_regression", "significance_mnist"]
QUICK = {
    "significance_regression": ["train.first_epochs=400", "train.epochs=100"],
    "significance_mnist": ["benchmark.train_samples=2000", "fisher.samples=200"],
}

# "Orders of magnitude", in the plural, are two at the least.
ORDERS = 2
# How far the last hidden layer is said to be above the first, in orders of magnitude, and how near is "about".
CLAIMED, ABOUT = 5, 1
# Neither noisy nor biased; the other estimators are compared with it.
_REFERENCE = "exact"
_FIRST_TASK = ("regression", 1)
_BEFORE = ("regression", UNTRAINED)


def finding(results: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """Two findings: how far the layers are apart, and how far the last hidden layer is above the first."""
    regression, mnist = (results[preset] for preset in PRESETS)
    parts = {"regression": [untrained_levels(regression), levels(regression)], "MNIST": [levels(mnist)]}
    return judged(pd.concat([part.assign(benchmark=name) for name, found in parts.items() for part in found]))


def judged(frame: pd.DataFrame) -> list[Finding]:
    """The same from the levels of `findings.significance`, with a `benchmark`: `regression` or `MNIST`.

    All is in orders of magnitude, log10 of a layer's median or mode. Networks before training are shown, but do not
    count. "Orders of magnitude" is confirmed if in both benchmarks, per parameter and per neuron, the layer with the
    highest median after the first task is `ORDERS` or more above that with the lowest, with the whole interval;
    refuted if nowhere. "100,000 times" is about the mode per neuron: confirmed if after every task of both benchmarks
    the last hidden layer's is `CLAIMED` above the first's, give or take `ABOUT`, and surely above it; refuted if after
    none.
    """
    exact = frame[frame["estimator"] == _REFERENCE]
    return [_layers(exact), _last_to_first(frame, exact)]


def _layers(exact: pd.DataFrame) -> Finding:
    spans = {(case, unit): span(of(exact, case), unit) for case in cases(exact) for unit in UNITS}
    after_first = {key: apart for key, (_, apart) in spans.items() if key[0][1] == 1}
    held = {key: apart.above(ORDERS) for key, apart in after_first.items()}
    far, near = (
        ", ".join(f"{after_first[key].mean:.1f} per {key[1]} on {key[0][0]}" for key in held if held[key] == wanted)
        for wanted in (True, False)
    )
    found = "; ".join(filter(None, [far, near and f"fewer than {ORDERS} for sure are {near}"]))
    return Finding(
        name="significance_by_layer",
        title="Does significance differ by layer?",
        claim="Significance differs by layer by orders of magnitude.",
        verdict=_verdict(list(held.values())),
        words=f"orders of magnitude from the lowest to the highest layer after the first task: {found}.",
        answer=_layers_answer(exact, spans),
        figure=draw_layers(exact),
        table=layers_table(exact),
    )


def _last_to_first(frame: pd.DataFrame, exact: pd.DataFrame) -> Finding:
    ratios = {case: ratio(of(exact, case), "neuron_mode") for case in cases(exact)}
    trained = [value for case, value in ratios.items() if case[1] != UNTRAINED]
    lowest, highest = (end(value.mean for value in trained) for end in (min, max))
    return Finding(
        name="significance_last_to_first",
        title="Is the last hidden layer 100,000 times as significant as the first?",
        claim="Per neuron, the mode of significance in the last hidden layer is about 100,000 times that in the first.",
        verdict=_verdict([value.above(0) and abs(value.mean - CLAIMED) <= ABOUT for value in trained]),
        words=f"it is {_power(lowest)} to {_power(highest)} times that after training, and on regression "
        f"{_power(ratios[_BEFORE].mean)} times before it.",
        answer=_ratio_answer(frame, exact, ratios),
        figure=draw_ratios(frame, CLAIMED),
        table=ratio_table(frame),
    )


def _verdict(held: Sequence[bool]) -> Verdict:
    if all(held):
        return "confirmed"
    return "depends" if any(held) else "refuted"


def _layers_answer(exact: pd.DataFrame, spans: Mapping[tuple[Case, str], tuple[str, Estimate]]) -> str:
    listed = []
    for case in cases(exact):
        found = [
            f"{apart.number('.1f')} per {unit} ({where})" for unit in UNITS for where, apart in [spans[case, unit]]
        ]
        inner = [f"{span(of(exact, case), unit, slice(-1))[1].mean:.1f}" for unit in UNITS]
        listed.append(f"- {after(case)}: {', '.join(found)}; without the output layer {' and '.join(inner)}")
    zeros = exact.groupby(["benchmark", "task", "layer"])["zeros"].mean().max()
    frozen = [
        f"after the first task of {case[0]} "
        + ", ".join(f"{100 * share:.0f} %" for share in of(exact, case).groupby("layer")["top"].mean())
        for case in cases(exact)
        if case[1] == 1
    ]
    return (
        "A layer's level is the median of log10 over its parameters, or over its neurons, each the sum over its "
        f"weights and bias, by the estimator `{_REFERENCE}`. What is exactly zero, up to {100 * zeros:.0f} % of a "
        "layer, is left out. The lowest and the highest layer are apart by these orders of magnitude:\n\n"
        + "\n".join(listed)
        + "\n\nThe significance of a bias is the mean square of the signal that is propagated back to its neuron; that "
        f"of a weight is this times the mean square of its input. The table has both. {_cause(exact)}\n\n"
        f"One threshold for the whole network thus chooses among layers. If it freezes {100 * FROZEN:.0f} % of all "
        f"parameters, these are, from the first layer to the output, {'; '.join(frozen)}. `layerwise_mask` freezes the "
        "same fraction of each."
    )


def _cause(exact: pd.DataFrame) -> str:
    """Why regression's layers are apart, if that is because units are shut."""
    before, trained = (of(exact, case) for case in (_BEFORE, _FIRST_TASK))
    names, mean = names_of(exact), trained.groupby("layer")[["signal", "inputs"]].mean()
    # A layer's outputs are the next one's inputs.
    following = int(mean["inputs"].iloc[1:].to_numpy().argmin()) + 1
    fell = paired_difference(*(of_layer(part, following, "inputs") for part in (trained, before)))
    if not fell.below(-1):
        return "Training on regression leaves the inputs of all layers within about an order of what they were."
    signals = [f"{_power(mean['signal'].iloc[layer])} in the {name}" for layer, name in enumerate(names[:-1])]
    return (
        f"Regression's first task shuts units of the {names[following - 1]} layer: the mean square of the median one's "
        f"output changes by {fell.number('.1f')} orders, to {_power(mean['inputs'].iloc[following])}. A sigmoid unit "
        "that gives out a ≈ 0 has the derivative a(1 − a) ≈ 0 too: it passes little signal to its own weights, and "
        f"little input to the weights behind it. The median squared signal is {', '.join(signals)} layer."
    )


def _ratio_answer(frame: pd.DataFrame, exact: pd.DataFrame, ratios: Mapping[Case, Estimate]) -> str:
    listed = [
        f"- {after(case)}: {value.number('.1f')} per neuron, {ratio(part, 'parameter_mode').number('.1f')} per "
        f"parameter; the output layer {ratio(part, 'neuron_mode', -1).number('.1f')} per neuron"
        for case, value in ratios.items()
        for part in [of(exact, case)]
    ]
    before, trained = (of(exact, case) for case in (_BEFORE, _FIRST_TASK))
    moved = [
        paired_difference(*(of_layer(part, layer, "neuron_mode") for part in (trained, before))).number(".1f")
        for layer in (0, -2)
    ]
    is_that = "is that" if abs(ratios[_BEFORE].mean - CLAIMED) <= ABOUT else "is not even that"
    fan_in = before.groupby("layer")["fan_in"].first()
    off = [
        f"{max(abs(ratio(of(part, case), 'neuron_mode').mean - ratios[case].mean) for case in ratios if case[1]):.1f} "
        f"(`{name}`)"
        for name, part in frame.groupby("estimator", sort=False)
        if name != _REFERENCE
    ]
    return (
        f"By the mode and the estimator `{_REFERENCE}`, the last hidden layer is above the first by these orders of "
        "magnitude:\n\n"
        + "\n".join(listed)
        + f"\n\nThe claimed ratio {is_that} of an untrained sigmoid network. A sigmoid's derivative is at most ¼, and "
        "so the signal shrinks from layer to layer on its way back: its median square is "
        f"{ratio(before, 'signal').number('.1f')} orders higher in the last hidden layer than in the first. The rest "
        f"is that a neuron sums over {fan_in.iloc[-2]} inputs in the last hidden layer and over {fan_in.iloc[0]} in "
        f"the first. Training on the first task moves the first layer by {moved[0]} orders and the last hidden one by "
        f"{moved[1]}.\n\nOver the trained networks the estimator changes this ratio, compared with `{_REFERENCE}`, by "
        f"at most {', '.join(off)} orders.\n\nNo factor between layers holds for all networks, nor for one network "
        "throughout its training. `significance.csv` of each run has it per "
        "parameter."
    )


def _power(exponent: float) -> str:
    return f"10^{exponent:z.1f}"
