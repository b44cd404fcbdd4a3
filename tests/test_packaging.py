import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("uv"):
        pytest.skip("uv is not here to build the package")
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(["uv", "build", "--quiet", "--out-dir", str(folder), str(ROOT)], check=True)
    return folder


def test_the_wheel_holds_every_config_and_module(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert f"cl_runner/{path.relative_to(ROOT)}" in names
    for path in (path for kind in ("*.py", "*.html") for path in (ROOT / "cl_runner").rglob(kind)):
        assert str(path.relative_to(ROOT)) in names


def test_the_sdist_holds_what_the_wheel_is_built_from(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"conf/config.yaml", "cl_runner/cli/main.py", "pyproject.toml", "README.md", "LICENSE"} <= names
