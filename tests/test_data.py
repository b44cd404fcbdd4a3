import gzip
import hashlib
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from cl_runner.benchmarks.datasets import load_dataset
from cl_runner.benchmarks.image_files import _RAW_FILES, make_available
from cl_runner.config.datasets import DATASETS
from cl_runner.errors import DataError


def test_digits_are_split_once_and_for_all_and_by_class() -> None:
    first, again = load_dataset("digits", "unused"), load_dataset("digits", "unused")
    assert torch.equal(first.train.inputs, again.train.inputs)
    assert (len(first.train.labels), len(first.test.labels)) == (DATASETS["digits"].train, DATASETS["digits"].test)
    assert first.train.inputs.dtype == torch.uint8
    shares = [split.labels.bincount() / len(split.labels) for split in (first.train, first.test)]
    torch.testing.assert_close(shares[0], shares[1], atol=0.002, rtol=0)
    joined = torch.cat([first.train.inputs, first.test.inputs])
    assert joined.max() == DATASETS["digits"].scale
    # No image stands in both splits: 1,797 images of which all are different.
    assert len(joined.unique(dim=0)) == 1797


def test_a_stratified_subset() -> None:
    for size in (10, 100, 1287):
        part = load_dataset("digits", "unused", train_samples=size)
        assert len(part.train.labels) == size
        assert part.train.labels.bincount().min() >= 0.09 * size
    assert len(part.test.labels) == DATASETS["digits"].test


def small_mnist(root: Path) -> Path:
    """Files of the right length and the wrong content."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in _RAW_FILES:
        count = 60_000 if file.startswith("train") else 10_000
        (raw / file).write_bytes(bytes(16 + count * 784 if "images" in file else 8 + count))
    return raw


def test_missing_files_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("Error downloading train-images:\nTried mirror, got:\n<urlopen error no route>")

    monkeypatch.setattr(datasets.mnist, "download_and_extract_archive", refuse)
    with pytest.raises(DataError, match=r"could not be downloaded.*data_dir=.*benchmark=permuted_digits") as caught:
        load_dataset("mnist", tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_altered_file_is_named_with_the_mend(tmp_path: Path) -> None:
    raw = small_mnist(tmp_path)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte is altered: MD5 .*delete " + str(raw)):
        load_dataset("mnist", tmp_path)


def test_truncated_file_is_named_with_the_mend(tmp_path: Path) -> None:
    raw = small_mnist(tmp_path)
    (raw / "train-images-idx3-ubyte").write_bytes(b"short")
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte is truncated: 5 bytes instead of 47040016; delete"):
        load_dataset("mnist", tmp_path)


def test_the_other_datasets_have_the_same_layout(tmp_path: Path, mnist_dir: str) -> None:
    shutil.copytree(
        Path(mnist_dir) / "MNIST" / "raw",
        tmp_path / "FashionMNIST" / "raw",
        copy_function=lambda source, target: Path(target).symlink_to(Path(source).resolve()),
    )
    found = load_dataset("fashion_mnist", tmp_path)
    assert found.train.inputs.shape == (60_000, 784)


def test_real_mnist(mnist_dir: str) -> None:
    mnist = load_dataset("mnist", mnist_dir)
    assert mnist.train.inputs.shape == (60_000, 784)
    assert mnist.test.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    # Mean and deviation of the training pixels, as published everywhere: 0.1307 and 0.3081.
    pixels = mnist.train.inputs.double() / 255
    assert pixels.mean().item() == pytest.approx(0.1307, abs=5e-5)
    assert pixels.std().item() == pytest.approx(0.3081, abs=5e-5)


def test_a_dataset_is_downloaded_once_and_checked(
    tmp_path: Path, mnist_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision import datasets

    served = tmp_path / "server"
    served.mkdir()
    resources = []
    for file in _RAW_FILES:
        packed = gzip.compress((Path(mnist_dir) / "MNIST" / "raw" / file).read_bytes(), compresslevel=1)
        (served / f"{file}.gz").write_bytes(packed)
        resources.append((f"{file}.gz", hashlib.md5(packed).hexdigest()))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(served)))
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with ThreadPoolExecutor(2) as both:
            found, _ = both.map(lambda _: load_dataset("mnist", tmp_path / "data"), range(2))
    finally:
        server.shutdown()
        server.server_close()
    assert torch.equal(found.train.inputs, load_dataset("mnist", mnist_dir).train.inputs)
    assert sorted(path.name for path in (tmp_path / "data" / "MNIST" / "raw").iterdir()) == sorted(_RAW_FILES)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["MNIST"]
    # The server is gone: a second reading needs no network.
    assert len(load_dataset("mnist", tmp_path / "data").test.labels) == 10_000


# Stands in for torchvision. Its download takes until another process misses the data too, and a while longer.
DOWNLOADING = """
import sys, time, types
from pathlib import Path

from cl_runner.benchmarks.image_files import _RAW_FILES, make_available

here = Path(sys.argv[1])


class Images:
    def __init__(self, root, download):
        with (here / "downloads").open("a") as file:
            file.write("one\\n")
        while len(list(here.glob("ready-*"))) < 2:
            time.sleep(0.01)
        time.sleep(0.3)
        raw = Path(root) / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for name in _RAW_FILES:
            (raw / name).write_text(sys.argv[2])


sys.modules["torchvision"] = types.ModuleType("torchvision")
sys.modules["torchvision"].datasets = types.SimpleNamespace(MNIST=Images)
(here / f"ready-{sys.argv[2]}").touch()
make_available("mnist", str(here / "data"))
"""


def test_two_processes_that_miss_a_dataset_download_it_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DOWNLOADING, str(tmp_path)]
    processes = [subprocess.Popen([*command, name]) for name in ("one", "other")]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    assert (tmp_path / "downloads").read_text() == "one\n"
    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert {path.name for path in files} == set(_RAW_FILES)
    # All of one download.
    assert len({path.read_text() for path in files}) == 1


@pytest.mark.parametrize("data_dir", ["~/images", "$IMAGES", "${IMAGES}", "$HOME/images"])
def test_home_and_environment_variables_in_data_dir(
    data_dir: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("IMAGES", str(tmp_path / "images"))
    raw = tmp_path / "images" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in _RAW_FILES:
        (raw / file).write_bytes(b"short")
    with pytest.raises(DataError, match=f"is truncated: 5 bytes instead of 47040016; delete {raw}"):
        load_dataset("mnist", data_dir)


def test_what_is_made_available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    asked = []

    def download(root: str, **_: object) -> None:
        asked.append(root)
        raise OSError("no route to host")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(datasets, "MNIST", download)
    # Digits come with scikit-learn, a curve is computed, and the other place only the node knows.
    make_available("digits", "data")
    make_available("curve", "data")
    make_available("mnist", "$TMPDIR/data")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match=f"mnist is not in {tmp_path / 'data'} and could not be downloaded"):
        make_available("mnist", "~/data")
    assert len(asked) == 1
    # Nothing is left of it.
    assert list(tmp_path.iterdir()) == []
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in _RAW_FILES:
        (raw / file).touch()
    make_available("mnist", "~/data")
    assert len(asked) == 1
