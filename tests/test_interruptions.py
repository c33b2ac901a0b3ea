"""kill -9 and Ctrl-C at any moment: whole files, no lock, no orphans, and the next run goes on.

Some runs are killed from inside, at their k-th file, which is the same moment every time; the
others from outside, when a file has appeared. Nothing here sleeps for a fixed time.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import analytic as an
from analytic import _outcome, cli

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads Linux's /proc")

ROOT = Path(an.__file__).parents[1]
PATIENCE = 120.0
"""Seconds after which a run that does nothing is a failure."""

SUICIDE = """
import os, signal, sys
from analytic import cli
real, count = os.replace, 0
def replace(*given):
    global count
    count += str(given[0]).endswith(".part")  # and not a kernel that Numba keeps
    if count == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*given)
os.replace = replace
sys.exit(cli.main(sys.argv[2:]))
"""


class Runs:
    """Processes that were started, in sessions of their own, and will all be killed."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Python, one thread each, deaf to nothing."""
        child = subprocess.Popen(
            [sys.executable, *words],
            env=os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"},
            cwd=ROOT,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(child)
        return child

    def finish(self, *words: str) -> int:
        """The exit code of a run that nobody disturbs."""
        child = self.start(*words)
        _, errors = child.communicate(timeout=PATIENCE)
        assert child.returncode in (0, -signal.SIGKILL), errors
        return child.returncode

    def alone(self, child: subprocess.Popen[str]) -> None:
        """Wait until no process of a run's session is left."""
        until(lambda: not session(child.pid), f"processes {session(child.pid)} are left")


def session(leader: int) -> list[int]:
    """Living processes of a session; after its name stat has the state, ppid, pgrp and session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def until(true: Callable[[], object], otherwise: str) -> None:
    """Wait for something that is going to happen."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.005)


@pytest.fixture
def runs() -> Iterator[Runs]:
    found = Runs()
    yield found
    for child in found.started:
        for pid in session(child.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        child.communicate()


@pytest.fixture
def points(tmp_path: Path) -> list[str]:
    """Two small files of points."""
    names = [str(tmp_path / name) for name in ("one.npy", "two.npy")]
    for k, name in enumerate(names):
        np.save(name, np.random.default_rng(k).standard_normal((10, 2)))
    return names


def whole(folder: Path) -> list[str]:
    """Names of all files that a user sees, each read to its end; and no lock that is held."""
    from matplotlib.image import imread

    seen = []
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        data = path.read_bytes()
        if path.name.startswith("."):
            assert path.suffix in (_outcome.PART, ".lock"), path
            continue
        seen.append(str(path.relative_to(folder)))
        if path.suffix == ".json":
            json.loads(data)
        elif path.suffix == ".png":
            assert imread(io.BytesIO(data)).size
        elif path.suffix == ".pdf":
            assert data.startswith(b"%PDF-")
            assert data.rstrip().endswith(b"%%EOF")
        elif path.suffix == ".html":
            assert data.rstrip().endswith(b"</html>")
        elif path.suffix == ".csv":
            assert data.endswith(b"\n")
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                assert all(archive[name] is not None for name in archive.files)
        else:
            raise AssertionError(f"what is {path}?")
    return seen


def left(folder: Path) -> list[Path]:
    """Temporary files and locks."""
    return [each for each in folder.rglob(".*") if each.is_file()]


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in whole(folder)}


# --- files ----------------------------------------------------------------------------------------

HALF = """
import os, signal, sys
from analytic._outcome import write_atomic
os.replace = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
write_atomic(sys.argv[1], b"new" * 1000)
"""
WAITING = """
import os, sys
from analytic._outcome import write_atomic
real = os.replace
def replace(*given):
    print("here", flush=True)
    sys.stdin.readline()
    real(*given)
os.replace = replace
write_atomic(sys.argv[1], b"slow")
"""


def test_what_the_killed_leave_is_removed_and_nothing_else(tmp_path: Path, runs: Runs) -> None:
    target = tmp_path / "a[1].json"
    target.write_bytes(b"old")
    for _ in range(2):
        assert runs.finish("-c", HALF, str(target)) == -signal.SIGKILL
    assert target.read_bytes() == b"old"
    assert len(left(tmp_path)) == 1  # the second run removed what the first one left
    mine = [tmp_path / ".a[1].json.original", tmp_path / ".b.json.abcdefgh.part"]
    for each in mine:
        each.write_text("mine")
    _outcome.write_atomic(target, b"next")
    assert target.read_bytes() == b"next"
    assert sorted(left(tmp_path)) == sorted(mine)


def test_what_another_process_still_writes_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "file"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    child = subprocess.Popen([sys.executable, "-c", WAITING, str(target)], env=env, **pipes)  # type: ignore[call-overload]
    try:
        assert child.stdout.readline() == b"here\n"
        _outcome.write_atomic(target, b"fast")
        assert target.read_bytes() == b"fast"
        child.communicate(b"\n", timeout=PATIENCE)
        assert child.returncode == 0
        assert target.read_bytes() == b"slow"
        assert not left(tmp_path)
    finally:
        child.kill()
        child.communicate()


# --- workers --------------------------------------------------------------------------------------

IDLE = """
import sys, time
from pathlib import Path
from analytic import _workers
def job(item, advance):
    Path(sys.argv[1], f"job-{item}").touch()
    time.sleep(600)
if __name__ == "__main__":
    try:
        _workers.run(job, [1, 2], 2, units=2, title="")
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_do_not_outlive_their_parent(
    tmp_path: Path, runs: Runs, how: signal.Signals
) -> None:
    """In the middle of jobs that would go on for ten minutes."""
    script = tmp_path / "idle.py"
    script.write_text(IDLE)
    child = runs.start(str(script), str(tmp_path))
    until(lambda: len(list(tmp_path.glob("job-*"))) == 2, "no worker works")
    assert len(session(child.pid)) >= 3
    if how == signal.SIGINT:
        os.killpg(child.pid, how)  # as a terminal does: all of them hear it
    else:
        child.send_signal(how)
    _, errors = child.communicate(timeout=PATIENCE)
    assert child.returncode == (130 if how == signal.SIGINT else -how)
    assert "Traceback" not in errors
    runs.alone(child)


def test_ctrl_c_while_workers_start_is_heard_by_the_parent_alone(
    tmp_path: Path, runs: Runs
) -> None:
    script = tmp_path / "idle.py"
    script.write_text(IDLE)
    child = runs.start(str(script), str(tmp_path))
    # two workers and the tracker of multiprocessing: they import for a second from here on
    until(lambda: len(session(child.pid)) >= 4, "no worker starts")
    os.killpg(child.pid, signal.SIGINT)
    _, errors = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130, errors
    assert "Traceback" not in errors
    runs.alone(child)


# --- verify ---------------------------------------------------------------------------------------


def words(points: list[str], out: Path, jobs: int) -> list[str]:
    data = ",".join(points)
    return [
        *("verify", "--data", data, "--claims", "A1,A2,A4", "--quick"),
        *("--jobs", str(jobs), "--out", str(out)),
    ]


def test_verify_killed_at_its_files_goes_on_to_the_same_report(
    tmp_path: Path, points: list[str], runs: Runs
) -> None:
    """At the second verdict, the first figure, and when only the page of the report is missing."""
    out, straight = tmp_path / "out", tmp_path / "straight"
    given = words(points[:1], out, 1)
    # 3 verdicts, 3 figures of 2 files, 2 reports; a run that goes on writes no verdict again
    for at, kept in ((2, 1), (3, 3), (8, 3)):
        assert runs.finish("-c", SUICIDE, str(at), *given) == -signal.SIGKILL
        assert len([name for name in whole(out) if name.startswith(cli.UNFINISHED)]) == kept
        assert len(left(out)) >= 1
    assert (out / "report.json").exists()
    assert not (out / "report.html").exists()
    assert cli.main(given) == 0
    assert cli.main(words(points[:1], straight, 1)) == 0
    assert contents(out) == contents(straight)
    assert not left(out)


def test_verify_on_two_processes_killed_and_interrupted(
    tmp_path: Path, points: list[str], runs: Runs
) -> None:
    out, straight = tmp_path / "out", tmp_path / "straight"
    given = words(points, out, 2)
    child = runs.start("-m", "analytic", *given)
    until(lambda: list(out.glob(f"{cli.UNFINISHED}/*/*.json")), "no verdict")
    child.kill()
    child.communicate()
    runs.alone(child)
    before = len(whole(out))
    assert before >= 1
    child = runs.start("-m", "analytic", *given)
    until(lambda: list(out.glob("figures/*.pdf")), "no figure")
    os.killpg(child.pid, signal.SIGINT)
    _, errors = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130, errors
    assert "interrupted" in errors
    assert "Traceback" not in errors
    runs.alone(child)
    assert len([name for name in whole(out) if name.startswith(cli.UNFINISHED)]) == 6
    assert not (out / "report.json").exists()
    assert cli.main(words(points, out, 1)) == 0
    assert cli.main(words(points, straight, 1)) == 0
    assert contents(out) == contents(straight)
    assert not left(out)


# --- figures --------------------------------------------------------------------------------------


def test_figures_killed_and_interrupted(tmp_path: Path, points: list[str], runs: Runs) -> None:
    out, straight = tmp_path / "out", tmp_path / "straight"
    names = ("magnitudes", "deviation")

    def asked(folder: Path) -> list[str]:
        return ["figures", *names, "--data", points[0], "--out", str(folder), "--jobs", "1"]

    # from inside, in the middle of the files of the second figure
    assert runs.finish("-c", SUICIDE, "7", *asked(out)) == -signal.SIGKILL
    assert len(whole(out)) == 6
    child = runs.start("-m", "analytic", *asked(out)[:-1], "2")
    seen = len(list(out.glob("*.png")))
    until(lambda: len(list(out.glob("*.png"))) > seen or child.poll() is not None, "no figure")
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGINT)
    _, errors = child.communicate(timeout=PATIENCE)
    assert child.returncode in (0, 130), errors  # it may have been the last one
    assert "Traceback" not in errors
    runs.alone(child)
    whole(out)
    for folder in (out, straight):
        assert cli.main(asked(folder)) == 0
    assert contents(out).keys() == contents(straight).keys()
    for name, data in contents(straight).items():
        if not name.startswith("."):
            assert (out / name).read_bytes() == data, name
    assert not [each for each in left(out) if each.suffix == _outcome.PART]


# --- explore --------------------------------------------------------------------------------------


def test_explore_keeps_the_old_page_until_the_new_one_is_whole(
    tmp_path: Path, points: list[str], runs: Runs
) -> None:
    page = tmp_path / "page.html"
    given = ["explore", "--data", points[0], "--levels", "5", "--grid", "4", "--out", str(page)]
    page.write_bytes(b"<html>old</html>")
    assert runs.finish("-c", SUICIDE, "1", *given) == -signal.SIGKILL
    assert page.read_bytes() == b"<html>old</html>"
    assert len(left(tmp_path)) == 1
    assert cli.main(given) == 0
    assert page.stat().st_size > 10_000
    whole_page = page.read_bytes()
    assert whole_page.rstrip().endswith(b"</html>")
    assert not left(tmp_path)


# --- training -------------------------------------------------------------------------------------

TRAIN = """
import os, sys, time
import numpy as np
import analytic as an
points = np.random.default_rng(0).standard_normal((20, 2))
levels = an.learned.LogUniform(0.1, 5.0)
class Slow:
    def __call__(self, rng, n):
        time.sleep(0.02 if len(sys.argv) == 2 else 0.0)
        return levels(rng, n)
for path in sys.argv[1:]:
    model = an.learned.train_mlp(points, width=8, depth=1, steps=60, batch=8, warmup=0, lr=0.01,
                                 levels=Slow(), checkpoint=path, checkpoint_every=5)
    np.save(path + ".npy", model(points, 0.5))
"""


def test_training_killed_and_interrupted_goes_on_bit_for_bit(tmp_path: Path, runs: Runs) -> None:
    pytest.importorskip("torch")
    from analytic.learned import _run
    from analytic.learned.trained import read_torch

    broken, straight = tmp_path / "broken", tmp_path / "straight"

    def step() -> int:
        return read_torch(broken, _run._KIND, 1)["step"] if broken.exists() else 0

    for how in (signal.SIGKILL, signal.SIGINT):
        child, before = runs.start("-c", TRAIN, str(broken)), step()
        until(
            lambda child=child, before=before: step() > before or child.poll() is not None,
            "no checkpoint",
        )
        child.send_signal(how)
        _, errors = child.communicate(timeout=PATIENCE)
        assert child.returncode == -how, errors
        runs.alone(child)
        assert before < step() < 60
        assert step() % 5 == 0
    assert runs.finish("-c", TRAIN, str(broken), str(straight)) == 0
    np.testing.assert_array_equal(np.load(f"{broken}.npy"), np.load(f"{straight}.npy"))
    assert not left(tmp_path)


# --- points on disk -------------------------------------------------------------------------------

STREAM = """
import sys, threading
import numpy as np
import analytic as an
from analytic import scale
from analytic.scale import _sources
path, result = sys.argv[1:]
far = an.OptimalDenoiser(scale.stored(path, block=10))
read, x = _sources.FileSource.read, np.ones((3, 4))
def told(self, first, last):
    print(first, flush=True)
    return read(self, first, last)
_sources.FileSource.read = told
try:
    while True:
        far(x, 0.5)
except KeyboardInterrupt:
    pass  # and the frames that it came through are let go
_sources.FileSource.read = read
assert threading.active_count() == 1, threading.enumerate()
np.save(result, far(x, 0.5))
sys.exit(130)
"""


@pytest.mark.parametrize("blocks", [3, 130])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stream_killed_and_interrupted(
    tmp_path: Path, runs: Runs, how: signal.Signals, blocks: int
) -> None:
    """In its first pass, which finds what is known of all blocks, and in a later one."""
    path, result = tmp_path / "rows.npy", tmp_path / "result.npy"
    np.save(path, np.random.default_rng(0).standard_normal((1000, 4)))
    before = path.read_bytes()
    child = runs.start("-c", STREAM, str(path), str(result))
    assert child.stdout is not None
    for _ in range(blocks):
        assert child.stdout.readline()
    child.send_signal(how)
    _, errors = child.communicate(timeout=PATIENCE)
    assert child.returncode == (130 if how == signal.SIGINT else -how), errors
    runs.alone(child)
    assert path.read_bytes() == before
    names = ["result.npy", "rows.npy"] if how == signal.SIGINT else ["rows.npy"]
    assert sorted(each.name for each in tmp_path.iterdir()) == names
    if how == signal.SIGINT:  # the same denoiser goes on
        straight = an.OptimalDenoiser(an.scale.stored(path, block=10))(np.ones((3, 4)), 0.5)
        np.testing.assert_array_equal(np.load(result), straight)
