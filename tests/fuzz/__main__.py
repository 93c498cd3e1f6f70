"""Coverage-guided fuzzing of the protocol: `python -m tests.fuzz [TARGET ...] [--seconds N]`.

Each target runs in a process of its own, because libFuzzer ends the one that it runs in. What is
found new is kept in `--corpus`; `--merge` puts the part of it that reaches something new into the
corpus beside the tests. A failing input is left in a file, and printed as a test.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KEPT = HERE / "corpus"
NAMES = ("splits", "chunks", "oracle", "bounds")
# Whatever a parser can confuse fits into a few requests, and the tight limits of the targets into
# the half of it; what is longer only costs time.
MAX_LENGTH = 768
# Seconds. No input of that length takes a hundredth of it, so a slower one is a finding, too.
SLOW = 10
# Of the files beside the tests, in bytes; see `test_corpus.py`.
MAX_KEPT = 512


def main() -> int:
    """Fuzz each target in turn, up to the first that fails."""
    options = _options()
    if importlib.util.find_spec("atheris") is None:
        print("fuzzing needs atheris: `nox -s fuzz` installs it where it can", file=sys.stderr)
        return 2
    if options.inside:
        _fuzz(options.targets[0], options.inside)
    for target in options.targets or NAMES:
        if code := _run(target, options):
            return code
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--seconds", type=int, default=30, help="for each target (30)")
    parser.add_argument("--corpus", type=Path, default=ROOT / ".fuzz", help="new inputs (.fuzz)")
    parser.add_argument("--seed", type=int, help="of libFuzzer; without it, another each time")
    parser.add_argument("--merge", action="store_true", help="keep what reaches more; no fuzzing")
    parser.add_argument("--inside", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.corpus = options.corpus.absolute()  # libFuzzer runs in the project's folder
    for target in options.targets:
        if target not in NAMES:
            parser.error(f"there is no target {target!r}; there are {', '.join(NAMES)}")
    return options


def _run(target: str, options: argparse.Namespace) -> int:
    found = options.corpus / target
    found.mkdir(parents=True, exist_ok=True)
    kept = KEPT / target
    with _seeds(target) as seeds:
        if options.merge:
            return _merge(target, [kept, found, seeds])
        seed = options.seed or random.randrange(1, 2**31)
        print(f"-- {target}: {options.seconds} seconds, --seed {seed}", flush=True)
        return _libfuzzer(
            target,
            f"-max_total_time={options.seconds}",
            f"-seed={seed}",
            f"-max_len={MAX_LENGTH}",
            f"-timeout={SLOW}",
            f"-dict={HERE / 'http.dict'}",
            f"-artifact_prefix={options.corpus}/{target}-",
            "-print_final_stats=1",
            *map(str, (found, *(folder for folder in (kept, seeds) if folder.is_dir()))),
        )


def _merge(target: str, sources: list[Path]) -> int:
    """Replace the kept corpus by the smallest files that reach as much as all sources."""
    kept = KEPT / target
    with tempfile.TemporaryDirectory() as folder:
        code = _libfuzzer(
            target,
            "-merge=1",
            f"-max_len={MAX_KEPT}",
            folder,
            *(str(source) for source in sources if source.is_dir()),
        )
        files = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    if code or not files:
        return code or 1
    kept.mkdir(parents=True, exist_ok=True)
    for path in kept.iterdir():
        path.unlink()
    for data in files:
        (kept / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)
    print(f"-- {target}: {len(files)} files, {sum(map(len, files))} bytes")
    return 0


def _libfuzzer(target: str, *arguments: str) -> int:
    command = [sys.executable, "-m", "tests.fuzz", target, "--inside", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


@contextmanager
def _seeds(target: str) -> Iterator[Path]:
    """A folder with what is known beforehand."""
    from .seeds import seeds

    with tempfile.TemporaryDirectory() as folder:
        for number, stream in enumerate(seeds(target)):
            if 0 < len(stream) <= MAX_LENGTH:
                Path(folder, str(number)).write_bytes(stream)
        yield Path(folder)


def _fuzz(target: str, arguments: list[str]) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris

    # What these run through guides the search. The reference shows which part of the grammar was
    # reached: a regular expression does not. The tests around them would only make it slower.
    with atheris.instrument_imports(include=["aserve", "h11", "tests"]):
        import h11  # noqa: F401

        import aserve.http  # noqa: F401

        from . import reference  # noqa: F401
    from .targets import TARGETS

    # libFuzzer starts itself again for a merge, with the same words in front.
    program = f"{sys.executable} -m tests.fuzz {target} --inside"
    atheris.Setup([program, *arguments], _reporting(target, TARGETS[target]))
    atheris.Fuzz()


def _reporting(name: str, target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    def one_input(data: bytes) -> None:
        try:
            target(data)
        except BaseException:
            case = hashlib.sha256(data).hexdigest()[:8]
            print(
                f"\n-- {name} fails; libFuzzer leaves the input in a file. As a test:\n\n"
                f"def test_{name}_{case}() -> None:\n    targets.{name}({data!r})\n",
                flush=True,
            )
            raise

    return one_input


if __name__ == "__main__":
    sys.exit(main())
