"""Kernels in the real world: no cache, a bad one, no compiler, other threads, other processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from everything import everything

import analytic as an
from analytic.kernels import threads

ROOT = Path(an.__file__).parents[1]
TESTS = Path(__file__).parent
WORDS = "compiled kernels cannot be kept"


def python(*words: str, at: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these environment variables; an empty one is taken away."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(TESTS)))} | variables
    env = {name: value for name, value in env.items() if value}
    done = subprocess.run(
        [sys.executable, *words],
        env=env,
        cwd=at,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def same(found: Any, expected: dict[str, np.ndarray]) -> None:
    """Bit for bit."""
    assert set(found) == set(expected)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


@pytest.fixture(scope="module")
def small() -> dict[str, np.ndarray]:
    return everything()


# --- without a compiler ---------------------------------------------------------------------------


def test_plain_python_gives_the_same_numbers(small: dict[str, np.ndarray], tmp_path: Path) -> None:
    """Every kernel as Python, and no warning of a division that kernels do in silence."""
    file = str(tmp_path / "found.npz")
    python("-W", "error", str(TESTS / "everything.py"), file, NUMBA_DISABLE_JIT="1")
    with np.load(file) as found:
        assert set(found.files) == set(small)
        for name, expected in small.items():
            got, tight = found[name], "single" not in name and "integrate" not in name
            if expected.dtype.kind == "i":
                np.testing.assert_array_equal(got, expected, err_msg=name)
            else:
                # sums run in another order, and single ones in float64
                within = 1e-12 if tight else 1e-9 if "integrate" in name else 5e-7
                np.testing.assert_allclose(got, expected, rtol=within, atol=within, err_msg=name)


# --- the cache ------------------------------------------------------------------------------------

HELPER = "from ._jit import strict\n\n\n@strict\ndef half(x):\n    return x / 2\n"
KERNEL = """
from ._jit import entry
from .helper import half


@entry
def kernel(x):
    return half(x) + 1.0
"""
CALL = "from kernels.kernel import kernel; print(kernel(3.0), len(kernel.stats.cache_hits))"


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A package with a kernel, a helper of it in another file, and our options."""
    folder = tmp_path / "room" / "kernels"
    folder.mkdir(parents=True)
    source = (ROOT / "analytic" / "kernels" / "_jit.py").read_text()
    for name, text in (("_jit", source), ("helper", HELPER), ("kernel", KERNEL), ("__init__", "")):
        (folder / f"{name}.py").write_text(text)
    return folder


def call(room: Path, *words: str, **variables: str) -> str:
    """What a new process prints that calls the kernel: its value, and hits of the cache."""
    given = {"NUMBA_CACHE_DIR": "", "PYTHONPATH": str(room.parent)} | variables
    return python(*words, "-c", CALL, **given).stdout.strip()


def test_a_kept_kernel_is_found_again_until_any_of_its_sources_changes(room: Path) -> None:
    """Numba itself looks at the file of `kernel` alone, and would go on with the old helper."""
    assert call(room, "-W", "error") == "2.5 0"
    assert call(room, "-W", "error") == "2.5 1"
    assert call(room, "-W", "error", ANALYTIC_PLAIN_KERNELS="1") == "2.5 0"
    assert call(room, "-W", "error", ANALYTIC_PLAIN_KERNELS="1") == "2.5 1"
    assert call(room, "-W", "error") == "2.5 1"
    (room / "helper.py").write_text(HELPER.replace("x / 2", "x / 4"))
    assert call(room, "-W", "error") == "1.75 0"
    assert call(room, "-W", "error") == "1.75 1"


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("content", [b"", None])
def test_a_damaged_cache_is_as_good_as_none_and_mended(
    room: Path, kind: str, content: bytes | None
) -> None:
    call(room)
    files = list((room / "__pycache__").glob(f"*.{kind}"))
    assert files
    for file in files:
        data = file.read_bytes()
        file.write_bytes(data[: len(data) // 2] if content is None else content)
    assert call(room, "-W", "error") == "2.5 0"
    assert call(room, "-W", "error") == "2.5 1"


def test_processes_that_compile_at_once_never_get_each_others_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sees an empty index, another keeps its code, and the first is killed or goes on."""
    from analytic.kernels import _jit

    def files() -> Any:
        return _jit._Files(str(tmp_path), "kernel-1.py3", "stamp")

    slow, quick = files(), files()
    monkeypatch.setattr(slow, "_load_index", dict)
    quick.save("ints", "code of ints")
    with monkeypatch.context() as killed:
        killed.setattr(slow, "_save_data", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            slow.save("floats", "code of floats")
    assert files().load("floats") is None
    slow.save("floats", "code of floats")
    assert files().load("floats") == "code of floats"
    assert files().load("ints") in (None, "code of ints")
    quick.save("ints", "code of ints")
    assert (files().load("ints"), files().load("floats")) == ("code of ints", "code of floats")
    # what was kept of older sources goes
    newer = _jit._Files(str(tmp_path), "kernel-1.py3", "other stamp")
    assert newer.load("ints") is None
    newer.save("ints", "new code")
    assert len(list(tmp_path.glob("*.nbc"))) == 1


def test_lazy_attributes_hold_no_lock() -> None:
    """Two threads within the same attribute of two objects; they would wait for each other."""
    from analytic._lazy import cached_property

    both = threading.Barrier(2)

    class Thing:
        @cached_property
        def value(self) -> object:
            both.wait(30)
            return object()

    things = Thing(), Thing()
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda each: each.value, things))
    assert found == [each.value for each in things]
    assert found[0] is not found[1]


def test_without_a_cache(room: Path, tmp_path: Path) -> None:
    place = tmp_path / "cache"
    for _ in range(2):
        found = call(room, "-W", "error", ANALYTIC_CACHE="off", NUMBA_CACHE_DIR=str(place))
        assert found == "2.5 0"
    assert not place.exists()
    assert not list(room.rglob("*.nb?"))


def blocked(room: Path) -> dict[str, str]:
    """Nowhere to write, for root too: a file in the place of each folder."""
    (room / "__pycache__").write_text("")
    return {"HOME": os.devnull, "XDG_CACHE_HOME": os.devnull, "NUMBA_CACHE_DIR": ""}


def test_a_read_only_install_works_and_warns_once(room: Path) -> None:
    given = blocked(room) | {"PYTHONPATH": str(room.parent)}
    done = python("-c", CALL, **given)
    assert done.stdout.strip() == "2.5 0"
    assert done.stderr.count(WORDS) == 1
    assert "NUMBA_CACHE_DIR" in done.stderr
    # and whoever takes the advice has peace, either way
    for advice in ({"ANALYTIC_CACHE": "off"}, {"NUMBA_CACHE_DIR": str(room.parent / "kept")}):
        assert call(room, "-W", "error", **given | advice) == "2.5 0"
    assert call(room, "-W", "error", **given | advice) == "2.5 1"


def test_a_cache_that_is_lost_on_the_way_costs_a_warning(room: Path) -> None:
    """As when the disk fills, or a folder on a network goes, after the import."""
    lose = (
        "import kernels.kernel, os, shutil; place = os.environ['NUMBA_CACHE_DIR'];"
        "shutil.rmtree(place); open(place, 'w').close();"
    )
    given = {"NUMBA_CACHE_DIR": str(room.parent / "cache"), "PYTHONPATH": str(room.parent)}
    done = python("-c", lose + CALL, **given)
    assert done.stdout.strip() == "2.5 0"
    assert done.stderr.count(WORDS) == 1


WARN_IN_WORKERS = """
from analytic import _workers
def job(item, advance):
    import time; time.sleep(0.2)
    from analytic.kernels import _jit
    _jit._warn("a reason")
if __name__ == "__main__":
    _workers.run(job, [1, 2, 3, 4], 2, units=4, title="")
"""


def test_workers_warn_once_in_all(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(WARN_IN_WORKERS)
    assert python(str(script)).stderr.count(WORDS) == 1


def test_the_whole_library_without_a_place_to_write(tmp_path: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "analytic", tmp_path / "analytic", ignore=ignore)
    code = (
        "import numpy as np, analytic as an;"
        "D = an.OptimalDenoiser(np.eye(100)); print(an.__file__, D(np.full(100, 0.5), 0.1)[0])"
    )
    given = blocked(tmp_path / "analytic" / "kernels")
    done = python("-c", code, at=tmp_path, PYTHONPATH=str(tmp_path), **given)
    place, value = done.stdout.split()
    assert Path(place).is_relative_to(tmp_path)
    assert float(value) == pytest.approx(0.01, rel=1e-12)
    assert done.stderr.count(WORDS) == 1


# --- threads --------------------------------------------------------------------------------------


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Any:
    """All work is shared, however small; the old number of threads afterwards."""
    before = threads.get_num_threads()
    monkeypatch.setattr(threads, "_WORTH_A_THREAD", 1)
    yield
    threads.set_num_threads(before)


@pytest.fixture(scope="module")
def middle() -> dict[str, np.ndarray]:
    """Enough points that every method has work of its own, on one thread."""
    before = threads.get_num_threads()
    threads.set_num_threads(1)
    found = everything(1100, 30)
    threads.set_num_threads(before)
    return found


@pytest.mark.parametrize("count", [2, 4])
def test_the_number_of_threads_changes_no_bit(
    shared: None, middle: dict[str, np.ndarray], count: int
) -> None:
    an.set_num_threads(count)
    assert an.get_num_threads() == count
    same(everything(1100, 30), middle)


def test_threads_of_a_denoiser_and_of_a_flow(shared: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least of nested limits counts, before that of the process, and in every call."""
    used: list[int] = []
    real = threads._executor
    monkeypatch.setattr(threads, "_executor", lambda size: used.append(size + 1) or real(size))

    def most(run: Any) -> int:
        used.clear()
        run()
        return max(used, default=1)

    an.set_num_threads(4)
    points = an.datasets.two_moons(200, seed=0)
    x = an.noise(12, like=points, sigma=3.0, seed=0)
    alone, three = an.OptimalDenoiser(points, threads=1), an.OptimalDenoiser(points, threads=3)
    free = an.OptimalDenoiser(points)
    calls = (
        lambda D: D(x, 0.3),
        lambda D: D.jacobian(x, 0.3),
        lambda D: D.jvp(x, 0.3, x),
        lambda D: D.posterior(x, 0.3).top(2),
        lambda D: D.sigma_derivative(x, 0.3),
        lambda D: an.certificate(D, x, 0.05),
        lambda D: an.integrate(D, x, 3.0, rtol=1e-6),
        lambda D: an.integrate(D, x, 3.0, rtol=1e-6, quantities=["log_prob"]),
    )
    for call in calls:
        found = [most(lambda D=D, call=call: call(D)) for D in (alone, three, free)]
        assert found == [1, 3, 4]
    assert most(lambda: an.integrate(free, x, 3.0, rtol=1e-6, threads=2)) == 2
    assert most(lambda: an.integrate(three, x, 3.0, rtol=1e-6, threads=2)) == 2
    assert most(lambda: an.integrate(three, x, 3.0, rtol=1e-6, threads=8)) == 3
    assert most(lambda: an.encode(free, x, 0.5, 3.0, rtol=1e-6, threads=1)) == 1
    an.set_num_threads(1)
    assert most(lambda: three(x, 0.3)) == 3
    assert most(lambda: free(x, 0.3)) == 1
    with pytest.raises(ValueError, match="threads"):
        an.OptimalDenoiser(points, threads=0)
    with pytest.raises(TypeError, match="threads"):
        an.integrate(free, x, threads=1.5)  # type: ignore[arg-type]


def test_threads_go_with_the_denoiser_into_classes_and_spans() -> None:
    points = an.PointSet(np.eye(100)[:4], labels=[0, 0, 1, 1])
    D = an.OptimalDenoiser(points, threads=2)
    from analytic.span import in_span

    reduced = in_span(D)
    assert reduced is not None
    assert D.given(1).threads == reduced.denoiser.threads == 2


def test_callers_on_several_threads(shared: None, small: dict[str, np.ndarray]) -> None:
    """Flows, samplers and moments at once, while another thread changes the number of threads."""
    done = threading.Event()

    def restless() -> None:
        while not done.is_set():
            for count in (1, 3, 2):
                an.set_num_threads(count)

    other = threading.Thread(target=restless)
    other.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            for found in [pool.submit(everything) for _ in range(4)]:
                same(found.result(), small)
    finally:
        done.set()
        other.join()


def test_no_task_runs_while_the_blas_library_does(
    shared: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two pools, each as large as the machine, must take turns."""
    from analytic.kernels import products

    busy, products_seen = [0], []
    lock = threading.Lock()
    real_share = threads._executor

    class Pool:
        def __init__(self, pool: Any) -> None:
            self.pool = pool

        def submit(self, kernel: Any, *given: Any) -> Any:
            def run() -> None:
                time.sleep(0.001)
                kernel(*given)
                with lock:
                    busy[0] -= 1

            with lock:
                busy[0] += 1
            return self.pool.submit(run)

    class Watched(np.ndarray):
        def __matmul__(self, other: Any) -> Any:
            products_seen.append(busy[0])
            return np.asarray(self) @ np.asarray(other)

    real_aim, real_weigh = products.aim, products.weigh
    monkeypatch.setattr(threads, "_executor", lambda size: Pool(real_share(size)))

    def aim(*given: Any) -> Any:
        aimed, *rest = real_aim(*given)
        return (aimed.view(Watched), *rest)

    def weigh(t: Any, *given: Any) -> Any:
        products_seen.append(busy[0])
        return real_weigh(t, *given)

    monkeypatch.setattr(products, "aim", aim)
    monkeypatch.setattr(products, "weigh", weigh)
    an.set_num_threads(4)
    rng = np.random.default_rng(0)
    D = an.OptimalDenoiser(rng.standard_normal((600, 256)), method="blas")
    D((30 * rng.standard_normal((40, 256))).astype(np.float32), 30.0)
    assert len(products_seen) >= 2
    assert set(products_seen) == {0}


def test_functions_called_at_the_very_end_find_no_pool() -> None:
    code = (
        "import atexit, numpy as np, analytic as an; from analytic.kernels import threads;"
        "threads._WORTH_A_THREAD = 1; an.set_num_threads(2);"
        "D = an.OptimalDenoiser(np.eye(100)); x = np.full((8, 100), 0.5); D(x, 0.1);"
        "atexit.register(lambda: print(round(D(x, 0.1).sum(), 9)))"
    )
    assert python("-W", "error", "-c", code).stdout.strip() == "8.0"


def test_a_number_of_threads_that_is_none_is_told() -> None:
    code = "import analytic as an; print(an.get_num_threads())"
    done = python("-c", code, ANALYTIC_NUM_THREADS="two")
    assert int(done.stdout) >= 1
    assert "ANALYTIC_NUM_THREADS" in done.stderr
    assert "'two'" in done.stderr


# --- Numba's own threads around ours --------------------------------------------------------------

LAYER = """
import sys, threading
import numba as nb, numpy as np
import analytic as an
from analytic.kernels import threads

threads._WORTH_A_THREAD = 1
an.set_num_threads(3)
nb.set_num_threads(min(2, nb.config.NUMBA_NUM_THREADS))


@nb.njit(parallel=True)
def own(x):
    total = 0.0
    for i in nb.prange(x.size):
        total += x[i] ** 2
    return total


x = np.arange(20000.0)
true = own(x)
assert nb.threading_layer() == sys.argv[1], nb.threading_layer()
given = np.load(sys.argv[2])
D = an.OptimalDenoiser(an.PointSet(given["points"]))
start = given["start"]


def ours():
    assert np.array_equal(D(start, 0.3), given["mean"])
    assert np.array_equal(an.integrate(D, start, 5.0, rtol=1e-6).final, given["final"])


ours()
ended = []
other = threading.Thread(target=lambda: (ours(), ours(), ended.append(True)))
other.start()
while other.is_alive():
    assert own(x) == true
other.join()
assert ended and own(x) == true
print("same")
"""


@pytest.mark.parametrize("layer", ["workqueue", "omp", "tbb"])
def test_beside_a_users_own_parallel_functions(layer: str, tmp_path: Path) -> None:
    points = np.random.default_rng(0).standard_normal((300, 2))
    D = an.OptimalDenoiser(points)
    start = an.noise(20, like=D, sigma=5.0, seed=0)
    final = an.integrate(D, start, 5.0, rtol=1e-6).final
    file = tmp_path / "given.npz"
    np.savez(file, points=points, start=start, mean=D(start, 0.3), final=final)
    script = tmp_path / "layer.py"
    script.write_text(LAYER)
    probe = "import importlib, sys; importlib.import_module('numba.np.ufunc.' + sys.argv[1])"
    module = {"workqueue": "workqueue", "omp": "omppool", "tbb": "tbbpool"}[layer]
    env = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"}
    have = subprocess.run([sys.executable, "-c", probe, module], capture_output=True, check=False)
    if have.returncode:
        pytest.skip(f"Numba has no {layer} here")
    assert python(str(script), layer, str(file), **env).stdout.strip() == "same"


# --- processes ------------------------------------------------------------------------------------

STARTS = [each for each in ("fork", "spawn") if each in multiprocessing.get_all_start_methods()]
forks = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def _flow(seed: int) -> np.ndarray:
    """A flow and a mean, on shares."""
    threads._WORTH_A_THREAD = 1
    threads.set_num_threads(3)
    D = an.OptimalDenoiser(an.datasets.two_moons(300, seed=0))
    x = an.noise(20, like=D, sigma=5.0, seed=seed)
    return np.concatenate([an.integrate(D, x, 5.0, rtol=1e-6).final, D(x, 0.3)])


@forks
@pytest.mark.parametrize("method", STARTS)
def test_in_a_pool_of_processes(shared: None, method: str) -> None:
    here = [_flow(seed) for seed in range(3)]
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        there = list(pool.map(_flow, range(3), timeout=120))
    for a, b in zip(here, there, strict=True):
        np.testing.assert_array_equal(a, b)


def _compiles(queue: Any) -> None:
    """What was never compiled before, in a child."""
    from analytic.kernels._jit import strict

    queue.put((strict(lambda x: x + 1.0)(1.0), _flow(0)))


@forks
@pytest.mark.skipif("fork" not in STARTS, reason="no fork on this platform")
@pytest.mark.parametrize("busy", ["running", "compiling"])
def test_a_fork_while_another_thread_is_at_work(shared: None, busy: str) -> None:
    """A child that was forked within a compilation would wait for its lock for ever."""
    from numba.core.compiler_lock import global_compiler_lock

    here = _flow(0)
    stop, under_way = threading.Event(), threading.Event()

    def work() -> None:
        while not stop.is_set():
            if busy == "running":
                under_way.set()
                _flow(1)
            else:
                with global_compiler_lock:
                    under_way.set()
                    time.sleep(0.05)

    other = threading.Thread(target=work)
    other.start()
    try:
        assert under_way.wait(30)
        context = multiprocessing.get_context("fork")
        for _ in range(3):
            queue = context.Queue()
            child = context.Process(target=_compiles, args=(queue,), daemon=True)
            child.start()
            try:
                compiled, there = queue.get(timeout=60)
            finally:
                child.kill()
                child.join()
            assert compiled == 2.0
            np.testing.assert_array_equal(here, there)
    finally:
        stop.set()
        other.join()


# --- warmup and info ------------------------------------------------------------------------------

WARM = """
import numpy as np
from analytic import _warmup
from analytic.kernels import _jit, host
from everything import everything
warm = _warmup.warmup([2, 3, 20, 80])
assert warm.compiled + warm.found >= 60, warm
entries = [each for each in _jit.KERNELS if each.targetoptions.get("nogil")]
assert not [each.py_func.__name__ for each in entries if not each.signatures]
again = _warmup.warmup([2, 3])
assert (again.compiled, again.found) == (0, 0), again
before = host.compiled()
everything(1100, 30)
assert host.compiled() == before
print(warm.explain())
"""


def test_after_a_warm_up_nothing_is_compiled() -> None:
    told = python("-c", WARM).stdout
    assert "kernels compiled" in told
    assert "__pycache__" in told or os.environ.get("NUMBA_CACHE_DIR", "?") in told


def test_warm_up_counts_compares_and_refuses(tmp_path: Path) -> None:
    """Without a place for kernels it refuses at once, and says what would help."""
    words = ["-m", "analytic", "warmup", "--dims"]
    for dims, variables, said in (
        ("2", {"ANALYTIC_CACHE": "off"}, "ANALYTIC_CACHE is off"),
        ("2", {"NUMBA_DISABLE_JIT": "1"}, "NUMBA_DISABLE_JIT"),
        ("0", {}, "dims"),
        ("two", {}, "'two'"),
        (",", {}, "dims"),
    ):
        env = os.environ | variables | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, *words, dims], env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert said in done.stderr


def test_info_tells_what_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import numba

    from analytic import _info, cli

    monkeypatch.setenv("ANALYTIC_CIFAR10", str(tmp_path / "no.zip"))
    real = _info._version
    monkeypatch.setattr(_info, "_version", lambda name: None if name == "torch" else real(name))
    an.set_num_threads(before := an.get_num_threads())
    assert cli.main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["analytic"] == an.__version__
    assert found["packages"]["numba"] == numba.__version__
    assert found["packages"]["numpy"] == np.__version__
    assert found["extras"]["torch"]["packages"] == {"torch": None}
    assert found["threads"] == before
    assert found["processor"]["bits"] in (128, 256, 512)
    assert found["processor"]["usable_cores"] <= found["processor"]["cores"]
    assert found["environment"]["ANALYTIC_CIFAR10"].endswith("no.zip (not there)")
    assert Path(found["cache"]["folder"]).is_dir()
    assert found["cache"]["writable"] is True
    assert cli.main(["info"]) == 0
    text = capsys.readouterr().out
    assert 'pip install "analytic-diffusion[torch]"' in text
    assert found["cache"]["folder"] in text


def test_info_says_why_there_is_no_cache(room: Path) -> None:
    env = {"ANALYTIC_CACHE": "off"}
    assert "none: ANALYTIC_CACHE is off" in python("-m", "analytic", "info", **env).stdout
    found = json.loads(python("-m", "analytic", "info", "--json", NUMBA_DISABLE_JIT="1").stdout)
    assert found["processor"]["kernels"] == "Python"
    assert found["cache"]["folder"] is None
