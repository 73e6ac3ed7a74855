"""What is shipped: the files of wheel and sdist, and the wheel at work outside the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="builds the wheel: pip install hatchling")

ROOT = Path(__file__).parents[1]
NOT_SHIPPED = {"__pycache__"}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


def source_files() -> set[str]:
    """Every file of the package, by its path below src."""
    found = (path for path in (ROOT / "src" / "siri").rglob("*") if path.is_file())
    names = {path.relative_to(ROOT / "src").as_posix() for path in found if path.suffix != ".pyc"}
    return {name for name in names if not NOT_SHIPPED & set(name.split("/"))}


def test_the_wheel_is_the_package_and_its_data(shipped: Path) -> None:
    (path,) = shipped.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
    found = {name for name in names if not name.split("/")[0].endswith(".dist-info")}
    assert found == source_files()
    assert {Path(name).suffix for name in found} > {
        ".py",
        ".typed",
        ".safetensors",
        ".json",
        ".pddl",
        ".twl2",
    }
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_sdist_holds_what_the_tests_need(shipped: Path) -> None:
    (path,) = shipped.glob("*.tar.gz")
    with tarfile.open(path) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {f"src/{name}" for name in source_files()} <= names
    assert {
        "README.md",
        "CHANGELOG.md",
        "LICENSE",
        "Makefile",
        "constraints.txt",
        "examples/rl_loop.py",
    } <= names
    assert {"tests/test_wheel.py", "docs/results.md", "benchmarks/study/__main__.py"} <= names
    # the base policies take 9 MiB and the archive of the study's runs grows with the study;
    # what this keeps out is a stray build folder, environment or checkpoint
    assert path.stat().st_size < 16 * 2**20


@pytest.fixture(scope="module")
def elsewhere(shipped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment with the wheel, which borrows its dependencies from this one."""
    folder = tmp_path_factory.mktemp("elsewhere")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    (wheel,) = shipped.glob("*.whl")
    target = folder / "venv" / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    # a path file does not carry out those of the folder that it names, so an editable siri stays out
    (target / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    python = folder / "venv" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index"]
    subprocess.run([*install, "--quiet", str(wheel)], check=True, capture_output=True)
    return folder / "venv" / "bin"


def outside(command: list[object], folder: Path) -> str:
    """Run ``command`` in ``folder``, without any way back to the checkout; what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_is_what_is_imported_there(elsewhere: Path, tmp_path: Path) -> None:
    where = outside([elsewhere / "python", "-c", "import siri; print(siri.__file__)"], tmp_path)
    assert Path(where.strip()).is_relative_to(elsewhere.parent)


@pytest.mark.slow
def test_it_trains_there(elsewhere: Path, tmp_path: Path) -> None:
    outside([elsewhere / "siri", "run", "--preset", "smoke", "--out", "runs/first"], tmp_path)
    assert (tmp_path / "runs" / "first" / "summary.json").is_file()
    outside([elsewhere / "siri", "skills", "runs/first"], tmp_path)


EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))
QUICK = ("gigpo_loop.py", "own_environment.py")


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.long) for n in EXAMPLES]
)
@pytest.mark.slow
def test_the_examples_run_there(elsewhere: Path, name: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / name, tmp_path)
    assert outside([elsewhere / "python", name], tmp_path)
