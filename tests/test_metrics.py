import numpy as np
import pytest

from cl_runner.metrics import continual_metrics, metric_names


def test_hand_made_matrix() -> None:
    matrix = np.array([[0.1, 0.2, 0.1], [0.9, 0.3, 0.2], [0.5, 0.8, 0.4], [0.6, 0.7, 1.0]])
    found = continual_metrics(matrix)
    assert found["average_accuracy"] == pytest.approx((0.6 + 0.7 + 1.0) / 3)
    assert found["learning_accuracy"] == pytest.approx((0.9 + 0.8 + 1.0) / 3)
    assert found["backward_transfer"] == pytest.approx(((0.6 - 0.9) + (0.7 - 0.8)) / 2)
    assert found["forward_transfer"] == pytest.approx(((0.3 - 0.2) + (0.4 - 0.1)) / 2)
    assert found["average_forgetting"] == pytest.approx(((0.9 - 0.6) + (0.8 - 0.7)) / 2)
    assert found["per_task"]["forward_transfer"] == pytest.approx([0.1, 0.3])


def test_forgetting_is_from_the_best_and_may_be_negative() -> None:
    matrix = np.array([[0, 0, 0], [0.5, 0, 0], [0.9, 0.5, 0], [0.7, 0.6, 0.5]])
    assert continual_metrics(matrix)["per_task"]["average_forgetting"] == pytest.approx([0.2, -0.1])


def test_means_are_of_what_stands_under_per_task() -> None:
    found = continual_metrics(np.random.default_rng(0).random((6, 5)))
    for name, values in found["per_task"].items():
        assert found[name] == pytest.approx(np.mean(values))


def test_a_single_task_has_no_transfer() -> None:
    found = continual_metrics(np.array([[0.1], [0.8]]))
    assert found["average_accuracy"] == found["learning_accuracy"] == 0.8
    assert found["backward_transfer"] is found["forward_transfer"] is found["average_forgetting"] is None


def test_tasks_with_outputs_of_their_own_have_no_forward_transfer() -> None:
    matrix = np.random.default_rng(0).random((4, 3))
    found, shared = continual_metrics(matrix, shared=False), continual_metrics(matrix)
    assert found["forward_transfer"] is None
    assert found["per_task"]["forward_transfer"] == []
    for metrics in (found, found["per_task"]):
        same = shared if metrics is found else shared["per_task"]
        others = [name for name in metric_names("accuracy") if name != "forward_transfer"]
        assert [metrics[name] for name in others] == [same[name] for name in others]


def test_of_errors_less_is_better_and_the_signs_are_the_same() -> None:
    matrix = np.array([[2.0, 3.0, 4.0], [0.1, 2.5, 5.0], [0.4, 0.2, 6.0], [0.3, 0.9, 0.1]])
    found = continual_metrics(matrix, "mse")
    assert found["average_mse"] == pytest.approx((0.3 + 0.9 + 0.1) / 3)
    assert found["learning_mse"] == pytest.approx((0.1 + 0.2 + 0.1) / 3)
    assert found["backward_transfer"] == pytest.approx(-((0.3 - 0.1) + (0.9 - 0.2)) / 2)
    assert found["forward_transfer"] == pytest.approx(((3.0 - 2.5) + (4.0 - 6.0)) / 2)
    assert found["average_forgetting"] == pytest.approx(((0.3 - 0.1) + (0.9 - 0.2)) / 2)
    assert list(found) == [*metric_names("mse"), "per_task"]
