"""The checks of the project, each in its own environment.

`nox` runs what continuous integration runs; `nox -s tests-3.12` one session, and
`nox -s tests-3.12 -- -k drain` hands arguments on. `nox -l` lists them all.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
# Making an environment costs more than most sessions; the package is installed afresh anyway.
nox.options.reuse_venv = "yes"
# What failed must be the last that is read, not half an hour further up.
nox.options.stop_on_first_error = True

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
CURRENT = f"{sys.version_info.major}.{sys.version_info.minor}"
# The pure layers are proved in memory; nothing of them may stay untried.
PURE = "aserve/http/*,aserve/wsgi/*"
_PURE_TESTS = ("tests/http", "tests/wsgi")


def _runs_as(command: str, version: str) -> bool:
    """Tell whether a command really is that Python: pyenv's shims exist but may refuse to run."""
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run(
            [command, "-c", program], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.stdout.strip() == version


def _on_path(version: str) -> bool:
    for folder in os.get_exec_path():
        command = shutil.which(f"python{version}", path=folder)
        if command and _runs_as(command, version):
            return True
    return False


def _from_pyenv(version: str) -> Path | None:
    """Return the folder of the newest such interpreter that pyenv keeps off PATH."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")

    def patch_level(folder: Path) -> int:
        level = folder.name.rpartition(".")[2]
        return int(level) if level.isdecimal() else -1

    for folder in sorted((root / "versions").glob(f"{version}.*"), key=patch_level, reverse=True):
        if _runs_as(str(folder / "bin" / f"python{version}"), version):
            return folder / "bin"
    return None


def _found_pythons() -> list[str]:
    """Return the versions of the classifiers that this machine has; the current one is enough."""
    wanted = nox.project.python_versions(PYPROJECT)
    found = []
    for version in wanted:
        if version == CURRENT or _on_path(version):
            found.append(version)
        elif folder := _from_pyenv(version):
            # At the end, so that nothing else of that folder hides another command.
            os.environ["PATH"] += os.pathsep + str(folder)
            found.append(version)
    # A Python newer than the classifiers still runs the tests of whoever has only that one.
    return found or [CURRENT]


PYTHONS = _found_pythons()
# The current Python runs the tests once, under coverage; `nox -s tests` runs them on each without.
nox.options.sessions = ["lint", "types", "docs", "coverage", "truth", "packages"]
nox.options.sessions += [f"tests-{version}" for version in PYTHONS if version != CURRENT]
OLDER_PYTHON = next((version for version in PYTHONS if version in ("3.11", "3.12")), None)
if OLDER_PYTHON is not None:
    nox.options.sessions += ["frameworks"]


def _install(session: nox.Session, *groups: str, editable: bool = False) -> None:
    """Install the groups together with a fresh build of the package."""
    if sys.version_info < (3, 11) and session.python is None:
        session.error(f"this is Python {CURRENT}; run nox with Python 3.11 or newer")
    arguments = ["--editable", "."] if editable else ["."]
    if session.venv_backend == "uv":
        # uv would keep the build that it made of the same version before.
        arguments += ["--reinstall-package", PYPROJECT["project"]["name"]]
    session.install("--quiet", *nox.project.dependency_groups(PYPROJECT, *groups), *arguments)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests on each Python that was found."""
    session.log(f"Pythons found here: {', '.join(PYTHONS)}")
    _install(session, "test")
    session.run("pytest", *session.posargs)


# Older releases that people still have, and the tests that see them.
OLDER = (
    # The series before the current one; it declares some options of `flask run` in another way.
    "flask==3.0.*",
    # The series that Flask 3.0 was released with.
    "werkzeug==3.0.*",
    # The release with long-term support before 5.2. It knows Python up to 3.12.
    "django==4.2.*",
)
_FRAMEWORK_TESTS = (
    "tests/contrib",
    "tests/loader",
    "tests/test_threads.py",
    "tests/e2e/test_frameworks.py",
    "tests/e2e/test_live_servers.py",
    "tests/e2e/test_run_simple.py",
    "tests/e2e/test_websocket.py",
    "tests/e2e/test_werkzeug_docs.py",
)


@nox.session(python=OLDER_PYTHON)
def frameworks(session: nox.Session) -> None:
    """Run the tests of the frameworks with older releases of them."""
    _install(session, "test")
    # Behind the group, whose bounds say what is developed with, and not what works.
    session.install("--quiet", *OLDER)
    session.run("pytest", "-q", *(session.posargs or _FRAMEWORK_TESTS))


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, spelling and the contract of the layers."""
    session.install("--quiet", *nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", "--no-logo", "--no-cache")
    session.run("codespell")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the package, and of user code against the installed package."""
    _install(session, "types")
    session.run("mypy")
    # Away from the checkout: only `py.typed` and the wheel can answer here.
    with session.chdir(session.create_tmp()):
        session.run("mypy", "--strict", str(ROOT / "tests" / "typing" / "api.py"))


@nox.session
def coverage(session: nox.Session) -> None:
    """Measure branches: the pure layers completely and by their own tests, then everything."""
    _install(session, "test", "coverage", editable=True)
    # Not by `create_tmp`, which has all temporary files made within the project.
    session.env["COVERAGE_FILE"] = str(Path(session.cache_dir).absolute() / "coverage")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", "-q", *_PURE_TESTS)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report", "--include", PURE, "--fail-under", "100")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", "-q", *session.posargs)
    session.run("coverage", "combine", "--quiet")
    # What is left runs where no test can look on: other systems, and the end of a process.
    session.run("coverage", "report", "--fail-under", "0" if session.posargs else "95")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error."""
    _install(session, "docs")
    session.run(
        "sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html",
        *session.posargs,
    )  # fmt: skip


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzz the protocol, two minutes in all; `nox -s fuzz -- bounds --seconds 36000` by night."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        session.skip("atheris has wheels for x86-64 Linux only")
    _install(session, "fuzz", editable=True)
    session.run("python", "-m", "tests.fuzz", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Compare with other servers, quickly; needs `wrk`."""
    _install(session, "bench")
    session.run("python", "-m", "benchmarks.http", *(session.posargs or ["--quick"]))


@nox.session
def truth(session: nox.Session) -> None:
    """Compare 500 reloads of programs made from seeds with new processes."""
    _install(session, "test")
    words = session.posargs or ["-k", "nobody_has_thought_of"]
    path = "tests/e2e/test_reload_truth.py"
    session.run("pytest", "-q", path, *words, env={"ASERVE_TEST_PROGRAMS": "50"})


@nox.session
def packages(session: nox.Session) -> None:
    """Compare reloads of apps that are made with real packages with new processes."""
    _install(session, "test")
    session.install("--quiet", "wagtail>=7", "flask-sqlalchemy>=3.1", "faker>=37", "scikit-learn")
    session.run("pytest", "-q", *(session.posargs or ["tests/e2e/packages.py"]))


@nox.session
def stress(session: nox.Session) -> None:
    """Run the tests of load and loss in their long form, and the soak; a quiet machine, please."""
    _install(session, "test")
    session.run("pytest", "-q", "tests/stress", *session.posargs, env={"STRESS": "1"})
    for loop in ((), ("--uvloop",)):
        session.run("python", "-m", "benchmarks.soak", "--minutes", "5", *loop)


@nox.session
def demo(session: nox.Session) -> None:
    """Serve the app that is built in, until Ctrl-C."""
    _install(session)
    session.run("aserve", "demo", *session.posargs)
