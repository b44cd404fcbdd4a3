import pytest
import torch
from conftest import MakeConfig
from torchvision.transforms.functional import InterpolationMode, rotate

from cl_runner.benchmarks.datasets import Dataset
from cl_runner.benchmarks.images import ImageBenchmark


def everything(benchmark: ImageBenchmark, task: int, stream: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """All training inputs `(n, D)` and labels of a task of one stream."""
    ids = benchmark.train.samples([task])[stream].repeat(len(benchmark.seeds), 1)
    return benchmark.train.inputs_of(ids, [task])[stream].T, benchmark.train.labels_of(ids)[stream]


def test_permuted_tasks_permute_the_pixels(make_config: MakeConfig, tiny: Dataset) -> None:
    config = make_config("benchmark.tasks=3", "benchmark.normalize=false").benchmark
    benchmark = ImageBenchmark(config, tiny, seeds=[5])
    original = tiny.train.inputs / 16
    first, labels = everything(benchmark, 0)
    torch.testing.assert_close(first, original)
    assert torch.equal(labels, tiny.train.labels)
    for task in (1, 2):
        inputs = everything(benchmark, task)[0]
        assert not torch.equal(inputs, first)
        torch.testing.assert_close(inputs.sort(1).values, original.sort(1).values)


def test_tasks_come_from_the_seed_and_not_from_neighbours(make_config: MakeConfig, tiny: Dataset) -> None:
    for name in ("permuted_digits", "split_digits"):
        config = make_config(f"benchmark={name}").benchmark
        alone, among = ImageBenchmark(config, tiny, seeds=[5]), ImageBenchmark(config, tiny, seeds=[6, 5])
        for task in range(5):
            for own, same in zip(everything(alone, task), everything(among, task, 1), strict=True):
                assert torch.equal(own, same)
            if name == "permuted_digits" and task:
                assert not torch.equal(everything(alone, task)[0], everything(among, task, 0)[0])


def test_split_tasks_part_the_classes(make_config: MakeConfig, tiny: Dataset) -> None:
    benchmark = ImageBenchmark(make_config("benchmark=split_digits").benchmark, tiny, seeds=[5])
    seen: list[int] = []
    for task in range(5):
        ids = benchmark.train.samples([task])[0]
        classes = tiny.train.labels[ids % len(tiny.train.labels)]
        assert len(classes.unique()) == 2
        seen += classes.tolist()
        assert everything(benchmark, task)[1].unique().tolist() == [0, 1]
    assert sorted(seen) == tiny.train.labels.tolist()


@pytest.mark.parametrize(
    ("scenario", "outputs", "labels", "active"),
    [("domain", 2, [0, 1], [0, 1]), ("task", 10, [4, 5], [4, 5]), ("class", 10, [4, 5], [0, 1, 2, 3, 4, 5])],
)
def test_scenarios_set_heads_and_what_competes(
    scenario: str, outputs: int, labels: list[int], active: list[int], make_config: MakeConfig, tiny: Dataset
) -> None:
    config = make_config("benchmark=split_digits", f"benchmark.scenario={scenario}").benchmark
    benchmark = ImageBenchmark(config, tiny, seeds=[5])
    assert benchmark.outputs == outputs
    assert everything(benchmark, 2)[1].unique().tolist() == labels
    assert benchmark.active_outputs(2, seen=3) == slice(active[0], active[-1] + 1)
    ids = benchmark.train.samples([2])[0][None]
    masked = benchmark.train.mask_inactive(torch.zeros(1, outputs, ids.shape[1]), ids, [2], seen=3)
    assert (masked[0, :, 0] == 0).nonzero().flatten().tolist() == active


def test_class_incremental_tests_all_classes_seen(make_config: MakeConfig, tiny: Dataset) -> None:
    config = make_config("benchmark=split_digits", "benchmark.scenario=class").benchmark
    benchmark = ImageBenchmark(config, tiny, seeds=[5])
    assert benchmark.active_outputs(0, seen=3) == slice(0, 6)
    assert benchmark.active_outputs(3, seen=1) == slice(0, 8)


def test_rotations_run_from_0_to_180_degrees(make_config: MakeConfig, digits: Dataset) -> None:
    config = make_config(
        "benchmark=rotated_mnist", "benchmark.dataset=digits", "benchmark.tasks=5", "benchmark.normalize=false"
    ).benchmark
    benchmark = ImageBenchmark(config, digits, seeds=[0])
    images = (digits.train.inputs / 16).view(-1, 1, 8, 8)
    for task, angle in enumerate([0, 45, 90, 135, 180]):
        turned = everything(benchmark, task)[0].reshape(-1, 1, 8, 8)
        if angle % 90 == 0:
            torch.testing.assert_close(turned, images.rot90(angle // 90, (2, 3)), atol=1e-5, rtol=0)
        expected = rotate(images, angle, interpolation=InterpolationMode.BILINEAR)
        torch.testing.assert_close(turned, expected, atol=1e-5, rtol=0)


ROTATED = ["benchmark=rotated_mnist", "benchmark.dataset=digits", "benchmark.normalize=false"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [(["benchmark.max_angle=90"], [0, 45, 90]), (["benchmark.max_angle=360", "benchmark.tasks=4"], [0, 120, 240, 360])],
)
def test_equal_angles_go_up_to_the_largest(
    options: list[str], expected: list[float], make_config: MakeConfig, digits: Dataset
) -> None:
    benchmark = ImageBenchmark(make_config(*ROTATED, "benchmark.tasks=3", *options).benchmark, digits, seeds=[0])
    assert [task["angle"] for task in benchmark.described(0)] == pytest.approx(expected)


def test_random_angles_are_drawn_by_the_seed_and_the_first_is_0(make_config: MakeConfig, digits: Dataset) -> None:
    options = ["benchmark.angles=random", "benchmark.max_angle=50", "benchmark.tasks=6"]
    config = make_config(*ROTATED, *options).benchmark
    benchmark, alone = ImageBenchmark(config, digits, seeds=[3, 4]), ImageBenchmark(config, digits, seeds=[4])
    images = (digits.train.inputs / 16).view(-1, 1, 8, 8)
    drawn = {seed: [task["angle"] for task in benchmark.described(seed)] for seed in (3, 4)}
    assert drawn[4] == [task["angle"] for task in alone.described(4)]
    assert not set(drawn[3][1:]) & set(drawn[4][1:])
    for stream, angles in enumerate(drawn.values()):
        assert angles[0] == 0
        assert all(0 < angle < 50 for angle in angles[1:])
        assert angles[1:] != sorted(angles[1:])
        for task in (0, 2, 5):
            turned = everything(benchmark, task, stream)[0].reshape(-1, 1, 8, 8)
            expected = rotate(images, angles[task], interpolation=InterpolationMode.BILINEAR)
            torch.testing.assert_close(turned, expected, atol=1e-4, rtol=0)
    # Uniform: the mean over many seeds is half the largest angle.
    many = ImageBenchmark(config, digits, seeds=range(200))
    every = torch.tensor([[task["angle"] for task in many.described(seed)][1:] for seed in range(200)])
    assert every.mean().item() == pytest.approx(25, abs=1.5)
    assert every.std().item() == pytest.approx(50 / 12**0.5, abs=1)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("fixed", [[0, 1], [2, 3], [4, 5]]),
        ("[7,3,0,9,1,5]", [[7, 3], [0, 9], [1, 5]]),
        ("[7,3,0,9,1,5,8]", [[7, 3], [0, 9], [1, 5]]),
    ],
)
@pytest.mark.parametrize("scenario", ["domain", "class"])
def test_classes_in_a_given_order(
    scenario: str, order: str, expected: list[list[int]], make_config: MakeConfig, tiny: Dataset
) -> None:
    options = [f"benchmark.class_order={order}", "benchmark.tasks=3", f"benchmark.scenario={scenario}"]
    benchmark = ImageBenchmark(make_config("benchmark=split_digits", *options).benchmark, tiny, seeds=[5, 6])
    for stream, seed in enumerate((5, 6)):
        assert benchmark.described(seed) == [{"classes": classes} for classes in expected]
        for task, classes in enumerate(expected):
            ids = benchmark.train.samples([task])[stream]
            labels = everything(benchmark, task, stream)[1]
            first = 2 * task if scenario == "class" else 0
            of_output = [classes[int(label) - first] for label in labels]
            assert of_output == tiny.train.labels[ids % len(tiny.train.labels)].tolist()
            assert sorted(set(of_output)) == sorted(classes)


def test_the_seed_draws_the_classes_that_are_described(make_config: MakeConfig, tiny: Dataset) -> None:
    benchmark = ImageBenchmark(make_config("benchmark=split_digits").benchmark, tiny, seeds=[5, 6])
    orders = []
    for stream, seed in enumerate((5, 6)):
        described = benchmark.described(seed)
        orders.append([number for task in described for number in task["classes"]])
        for task, what in enumerate(described):
            ids = benchmark.train.samples([task])[stream]
            labels = everything(benchmark, task, stream)[1]
            of_output = [what["classes"][int(label)] for label in labels]
            assert of_output == tiny.train.labels[ids % len(tiny.train.labels)].tolist()
    assert [sorted(order) for order in orders] == [list(range(10))] * 2
    assert orders[0] != orders[1]


def test_permutations_are_described_by_pixel(make_config: MakeConfig, tiny: Dataset) -> None:
    config = make_config("benchmark.tasks=3", "benchmark.normalize=false").benchmark
    benchmark = ImageBenchmark(config, tiny, seeds=[5, 6])
    for stream, seed in enumerate((5, 6)):
        for task, what in enumerate(benchmark.described(seed)):
            expected = (tiny.train.inputs / 16)[:, what["permutation"]]
            torch.testing.assert_close(everything(benchmark, task, stream)[0], expected)


@pytest.mark.parametrize("family", ["permuted", "rotated", "split"])
def test_normalised_by_the_training_sets_mean_and_deviation(
    family: str, make_config: MakeConfig, digits: Dataset
) -> None:
    options = [] if family == "permuted" else ["benchmark.tasks=2", "benchmark.classes_per_task=5"]
    options = ["benchmark.tasks=2"] if family == "rotated" else options
    config = make_config(*options, f"benchmark.family={family}").benchmark
    benchmark = ImageBenchmark(config, digits, seeds=[0], dtype=torch.float64)
    inputs = torch.cat([everything(benchmark, task)[0] for task in range(2)])
    assert abs(inputs.mean()) < 1e-6
    assert abs(inputs.std(correction=0) - 1) < 1e-6


@pytest.mark.parametrize("angles", ["equal", "random"])
@pytest.mark.parametrize("name", ["permuted_digits", "split_digits", "rotated_mnist"])
@pytest.mark.parametrize("scenario", ["domain", "task", "class"])
def test_a_mixture_of_tasks_equals_the_tasks(
    name: str, scenario: str, angles: str, make_config: MakeConfig, digits: Dataset
) -> None:
    options = ["benchmark.dataset=digits", "benchmark.tasks=3", f"benchmark.angles={angles}"]
    config = make_config(f"benchmark={name}", *options, f"benchmark.scenario={scenario}").benchmark
    benchmark = ImageBenchmark(config, digits, seeds=[2, 4])
    ids = torch.stack([torch.cat([benchmark.train.samples([task])[run][:5] for task in range(3)]) for run in range(2)])
    tasks = [0, 1, 2]
    outputs = torch.randn(2, benchmark.outputs, 15)
    mixed = (
        benchmark.train.inputs_of(ids, tasks),
        benchmark.train.labels_of(ids),
        benchmark.train.mask_inactive(outputs, ids, tasks, seen=3),
    )
    for task in tasks:
        part = slice(5 * task, 5 * task + 5)
        own = ids[:, part]
        assert torch.equal(mixed[0][..., part], benchmark.train.inputs_of(own, [task]))
        assert torch.equal(mixed[1][..., part], benchmark.train.labels_of(own))
        masked = benchmark.train.mask_inactive(outputs[..., part], own, [task], seen=3)
        assert torch.equal(mixed[2][..., part], masked)
