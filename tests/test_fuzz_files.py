"""Any bytes at all: every reader gives finite points or one clean error, in bounded memory.

Arbitrary bytes, damaged and spliced files (also damaged inside their compression), headers
that claim the impossible, bombs, pickles, and folders and archives full of things that are
no files.
"""

from __future__ import annotations

import gzip
import io
import os
import pickle
import re
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("PIL.Image", reason="Pillow is an optional dependency")

from filekinds import folder, idx, npy, pictures, png, records, tar

from analytic import _check, _files, datasets

EXAMPLES = settings().max_examples


class Kind(NamedTuple):
    """A place for bytes: the file that gets them, what is loaded then, and what lies around."""

    whole: bytes
    """Valid bytes."""
    target: str
    load: str
    around: dict[str, bytes] = {}  # noqa: RUF012 - never changed
    wrap: Callable[[bytes], bytes] = bytes
    """What compression the bytes get on their way to the file."""


def packed(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def zip_of(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "."), data)
    return stream.getvalue()


def npz_of(**arrays: Any) -> bytes:
    return zip_of(**{f"{name}__npy": npy(array) for name, array in arrays.items()})


def flat_images(count: int, seed: int = 0) -> Any:
    """Images of one colour each: what is around them is what gets damaged."""
    return np.broadcast_to(pictures(count, (1, 1, 3), seed), (count, 32, 32, 3))


PNGS = [png(image) for image in pictures(2)]
TABLE = b'{"labels": [["0.png", 1], ["1.png", 0]]}'
IMAGES = idx(pictures(3, (2, 2)))
BATCH = records(flat_images(1), [3])
BATCHES = {f"data_batch_{k}.bin": records(flat_images(1, k), [k]) for k in range(1, 6)}
FINE = {"train.bin": records(flat_images(2), [19, 0], [99, 0])}
POINTS = np.arange(6.0).reshape(3, 2)

KINDS = {
    "npy": Kind(npy(POINTS), "a.npy", "a.npy"),
    "npz": Kind(npz_of(points=np.eye(3), labels=[1, 2, 3], weights=[1, 2, 3]), "a.npz", "a.npz"),
    "npy in npz": Kind(npy(POINTS), "a.npz", "a.npz", {}, lambda b: zip_of(points__npy=b)),
    "labels in npz": Kind(
        npy(np.array(["a", "b"])),
        "a.npz",
        "a.npz",
        {},
        lambda b: zip_of(points__npy=npy(np.eye(2)), labels__npy=b),
    ),
    "weights in npz": Kind(
        npy(np.array([1.0, 2.0])),
        "a.npz",
        "a.npz",
        {},
        lambda b: zip_of(points__npy=npy(np.eye(2)), weights__npy=b),
    ),
    "zip": Kind(
        zip_of(**{"0__png": PNGS[0], "1__png": PNGS[1], "dataset__json": TABLE}), "a.zip", "a.zip"
    ),
    "image in zip": Kind(PNGS[0], "a.zip", "a.zip", {}, lambda b: zip_of(a__png=b)),
    "table in zip": Kind(
        TABLE,
        "a.zip",
        "a.zip",
        {},
        lambda b: zip_of(**{"0__png": PNGS[0], "1__png": PNGS[1], "dataset__json": b}),
    ),
    "idx": Kind(IMAGES, "a.idx", "a.idx"),
    "idx.gz": Kind(packed(IMAGES), "a.idx3-ubyte.gz", "a.idx3-ubyte.gz"),
    "idx in gz": Kind(idx(POINTS, 0x0E), "a.idx.gz", "a.idx.gz", {}, packed),
    "idx labels": Kind(
        idx([1, 2, 3]),
        "t-labels-idx1-ubyte",
        "t-images-idx3-ubyte",
        {"t-images-idx3-ubyte": IMAGES},
    ),
    "bin": Kind(BATCH, "a.bin", "a.bin"),
    "CIFAR-10 folder": Kind(
        BATCH,
        "set/data_batch_3.bin",
        "set",
        {f"set/{name}": data for name, data in BATCHES.items()},
    ),
    "CIFAR-100": Kind(FINE["train.bin"], "train.bin", "train.bin"),
    "tar.gz": Kind(packed(tar(BATCHES)), "a.tar.gz", "a.tar.gz"),
    "tar in gz": Kind(
        tar(FINE | {"x" * 120: b"0"}, tarfile.GNU_FORMAT), "a.tgz", "a.tgz", {}, packed
    ),
    "image folder": Kind(PNGS[0], "set/b/0.png", "set", {"set/a/1.png": PNGS[1]}),
    "table in folder": Kind(
        TABLE, "set/dataset.json", "set", {"set/0.png": PNGS[0], "set/1.png": PNGS[1]}
    ),
}

WORDS = [
    struct.pack(f"{order}{code}", value)
    for order in "<>"
    for code, values in {
        "H": (0, 1, 2**15, 2**16 - 1),
        "I": (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 60_000),
        "Q": (2**31, 2**62, 2**63, 2**64 - 1),
        "d": (np.nan, np.inf, -np.inf, 1e308, 5e-324),
    }.items()
    for value in values
]
DIGITS = [b"-1", b"0", b"99999999999", b"|O", b"<U0", b">c8", b"(", b"'", b"null", b"NaN", b"\x80"]
"""What headers in words choke on."""


def load_or_refuse(path: Path) -> bool:
    """Whether a path loads; if not, one clean error must have named it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UserWarning)
        try:
            loaded = datasets.load(path)
        except ValueError as error:
            assert repr(str(path)) in str(error)
            return False
        except OSError as error:
            assert str(path) in str(error)
            return False
    assert np.isfinite(loaded.points).all() and loaded.points.size
    assert (loaded.weights > 0).all() and np.isclose(loaded.weights.sum(), 1)
    assert loaded.labels is None or loaded.labels.shape == (len(loaded),)
    return True


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: Any) -> Path:
    """One folder for each kind, with everything but the file that gets the bytes."""
    root = Path(tmp_path_factory.mktemp("scratch"))
    for name, kind in KINDS.items():
        folder(root / name, kind.around)
        (root / name / kind.target).parent.mkdir(exist_ok=True, parents=True)
    return root


def attempt(scratch: Path, name: str, data: bytes) -> bool:
    kind = KINDS[name]
    (scratch / name / kind.target).write_bytes(kind.wrap(data))
    return load_or_refuse(scratch / name / kind.load)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Valid bytes with a few flips, words of a header overwritten, splices, and the end cut."""
    data = bytearray(whole)
    places = st.integers(0, len(whole)) | st.integers(0, min(len(whole), 160))
    for _ in range(draw(st.integers(0, 4))):
        k = draw(places)
        match draw(st.sampled_from(["flip", "word", "digits", "insert", "move", "splice", "zero"])):
            case "flip" if k < len(data):
                data[k] ^= draw(st.integers(1, 255))
            case "word":
                word = draw(st.sampled_from(WORDS))
                data[k : k + len(word)] = word
            case "digits":
                word = draw(st.sampled_from(DIGITS))
                data[k : k + len(word)] = word
            case "insert":
                data[k:k] = draw(st.binary(max_size=8))
            case "move":
                start = draw(places)
                data[k : k + 64] = data[start : start + draw(st.integers(0, 600))]
            case "splice":
                donor = KINDS[draw(st.sampled_from(sorted(KINDS)))].whole
                start = draw(st.integers(0, len(donor)))
                data[k:] = donor[start:]
            case "zero":
                data[k : k + 16] = bytes(len(data[k : k + 16]))
    return bytes(data[: draw(st.none() | places)])


@pytest.mark.parametrize("name", KINDS)
def test_whole_files_load(scratch: Path, name: str) -> None:
    assert attempt(scratch, name, KINDS[name].whole)


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=max(50, EXAMPLES), deadline=None)
@given(data=st.binary(max_size=300), keep=st.integers(0, 40))
@example(data=b"", keep=0)
def test_arbitrary_bytes_load_or_are_refused(
    scratch: Path, name: str, data: bytes, keep: int
) -> None:
    attempt(scratch, name, data)
    attempt(scratch, name, KINDS[name].whole[:keep] + data)


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=max(250, EXAMPLES), deadline=None)
@given(data=st.data())
def test_damaged_files_load_or_are_refused(scratch: Path, name: str, data: st.DataObject) -> None:
    attempt(scratch, name, data.draw(damaged(KINDS[name].whole), "bytes"))


def test_names_may_be_empty(tmp_path: Path) -> None:
    """Found by the tests above: Python 3.11 asks for the last letter of a name."""
    data = zip_of(a__png=PNGS[0], x=b"")
    entry = data.rindex(b"PK\1\2")
    (tmp_path / "a.zip").write_bytes(data[:entry] + data[entry:].replace(b"x", b"\0"))
    assert load_or_refuse(tmp_path / "a.zip")


# --- headers that know what they say ------------------------------------------------------------

LENGTHS = st.integers(0, 5) | st.sampled_from(
    [-1, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**62, 2**63, 2**64, 10**30]
)

DTYPES = ["<f8", ">f4", "<f2", "|u1", "|i1", "<i8", "<u8", "<f16", "<c16", "|b1", "|O", "<M8[s]"]
DTYPES += ["<U0", "<U3", "|S0", "|V0", "|V8", "<m8", "<U536870911", "<f8,<f8", "(2,2)<f8", "junk"]


@settings(max_examples=max(250, EXAMPLES), deadline=None)
@given(
    shape=st.lists(LENGTHS, max_size=5) | st.just([1] * 70),
    dtype=st.sampled_from(DTYPES),
    fortran=st.booleans() | st.just(3),
    body=st.binary(max_size=80),
    version=st.sampled_from([(1, 0), (2, 0), (3, 0), (1, 1)]),
)
def test_npy_headers(
    scratch: Path, shape: Any, dtype: str, fortran: Any, body: bytes, version: tuple[int, int]
) -> None:
    words = repr({"descr": dtype, "fortran_order": fortran, "shape": tuple(shape)}).encode() + b"\n"
    size = struct.pack("<H" if version == (1, 0) else "<I", len(words))
    data = b"\x93NUMPY" + bytes(version) + size + words + body
    for name in ("npy", "npy in npz", "labels in npz", "weights in npz"):
        attempt(scratch, name, data)


@settings(max_examples=max(250, EXAMPLES), deadline=None)
@given(
    code=st.sampled_from([0x08, 0x09, 0x0B, 0x0C, 0x0D, 0x0E, 0x0A, 0]),
    axes=st.none() | st.integers(0, 255),
    shape=st.lists(LENGTHS.filter(lambda n: 0 <= n < 2**32), max_size=5),
    body=st.binary(max_size=80) | st.builds(bytes, st.integers(0, 3000)),
)
def test_idx_headers(scratch: Path, code: int, axes: int | None, shape: Any, body: bytes) -> None:
    axes = len(shape) if axes is None else axes
    data = struct.pack(f">2xBB{len(shape)}I", code, axes, *shape) + body
    for name in ("idx", "idx in gz", "idx labels"):
        attempt(scratch, name, data)


@settings(max_examples=max(250, EXAMPLES), deadline=None)
@given(
    sizes=st.lists(
        st.sampled_from([0, 1, 511, 512, 3072, 3073, 3074, 6146, 2**30, 2**30 + 1, 8**11 - 1]),
        max_size=6,
    ),
    names=st.lists(
        st.sampled_from(
            [*BATCHES, "train.bin", "train", "data_batch_1", "../../data_batch_1.bin", "/x", ""]
        ),
        min_size=6,
        max_size=6,
    ),
    kinds=st.lists(st.sampled_from(list(b"0\x00001234567xgLKSDV")), min_size=6, max_size=6),
    octal=st.sampled_from([b"%011o\0", b"%012o", b"-%010o\0", b"%o", b"%11x ", b"\x80%o"]),
    body=st.binary(max_size=64),
)
def test_tar_headers(
    scratch: Path, sizes: Any, names: Any, kinds: Any, octal: Any, body: Any
) -> None:
    data = b""
    for size, name, kind in zip(sizes, names, kinds, strict=False):
        field = (octal % size)[:12]
        head = name.encode().ljust(124, b"\0") + field.ljust(24, b"\0") + b" " * 8 + bytes([kind])
        head = head.ljust(512, b"\0")
        head = head[:148] + b"%06o\0 " % sum(head) + head[156:]
        data += head + (body * 100)[:size].ljust(min(size, 8192), b"\0")
        data += bytes(-len(data) % 512)
    attempt(scratch, "tar in gz", data + bytes(1024))


# --- pickles ------------------------------------------------------------------------------------


class Canary:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_no_pickle_runs(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    evil = np.empty((2, 1), object)
    evil[:] = Canary(canary)
    array, plain = npy(evil, allow_pickle=True), pickle.dumps(Canary(canary))
    files = {
        "array.npy": array,
        "plain.npy": plain,
        "plain.npz": plain,
        "points.npz": zip_of(points__npy=array),
        "labels.npz": zip_of(points__npy=npy(np.eye(2)), labels__npy=array),
        "bare.npz": zip_of(points__npy=plain),
        "data_batch_1": plain,
        "x.pkl": plain,
        "a.bin": plain,
        "a.idx": plain,
        "a.zip": zip_of(a__png=plain, dataset__json=plain),
        "ten/data_batch_1": plain,
        "hundred/train": plain,
        "hundred/test": plain,
        "hundred/meta": plain,
        "py.tar.gz": gzip.compress(tar({"cifar-10-batches-py/data_batch_1": plain}), mtime=0),
    }
    folder(tmp_path, files)
    for name in {name.split("/")[0] for name in files}:
        assert not load_or_refuse(tmp_path / name), name
    assert not canary.exists()
    pickle.loads(plain)
    assert canary.exists(), "the canary itself works"


# --- memory -------------------------------------------------------------------------------------


@contextmanager
def at_most(limit: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


ZEROS = bytes(1 << 26)
BOMBS: dict[str, Callable[[], bytes]] = {
    "little.idx.gz": lambda: packed(idx(np.zeros((2, 2))) + ZEROS),
    "claim.idx.gz": lambda: packed(struct.pack(">2xBB2I", 8, 2, 10**6, 1000) + bytes(9)),
    "claim.idx": lambda: struct.pack(">2xBB2I", 8, 2, 10**6, 1000) + bytes(9),
    "claim.npy": lambda: npy(np.zeros((9, 9))).replace(b"(9, 9), }      ", b"(9000, 90000), }"),
    "claim.npz": lambda: zip_of(
        points__npy=npy(np.zeros((9, 9))).replace(b"(9, 9), }      ", b"(9000, 90000), }")
    ),
    "stream.npy": lambda: b"\x93NUMPY\x02\x00\xff\xff\xff\x03" + ZEROS,
    "stream.npz": lambda: zip_of(points__npy=b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(99)),
    "data.tar.gz": lambda: packed(tar({"data_batch_1.bin": ZEROS})),
    "other.tar.gz": lambda: packed(tar({"x": ZEROS})),
    "tail.tar.gz": lambda: packed(tar(BATCHES) + ZEROS),
    "long.tar.gz": lambda: packed(tar({"x" * (1 << 25): b""}, tarfile.GNU_FORMAT)),
    "image.zip": lambda: zip_of(a__png=ZEROS),
    "table.zip": lambda: zip_of(a__png=PNGS[0], dataset__json=ZEROS),
    "text.zip": lambda: zip_of(a__png=PNGS[0][:33] + b"\4\0\0\0zTXt" + ZEROS),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_do_not_go_off(tmp_path: Path, monkeypatch: Any, name: str) -> None:
    monkeypatch.setattr(_files.cifar, "MEMBER_LIMIT", 1 << 24)
    monkeypatch.setattr(_files.images, "MEMBER_LIMIT", 1 << 24)
    (tmp_path / name).write_bytes(BOMBS[name]())
    with at_most(3 << 24 if "tar" in name else 1 << 23 if name != "stream.npy" else 1 << 28):
        assert not load_or_refuse(tmp_path / name)


def test_a_central_directory_that_lies_about_sizes_is_not_believed(tmp_path: Path) -> None:
    """What a member claims to unpack to is held against what it is packed in."""
    header = npy(np.zeros((9, 9))).replace(b"(9, 9), }        ", b"(9000, 90000), } ")
    data = bytearray(zip_of(points__npy=header))
    claim = struct.pack("<I", 2**32 - 2)
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = claim
    (tmp_path / "a.npz").write_bytes(data)
    with at_most(1 << 23), pytest.raises(ValueError, match="cut short"):
        datasets.load(tmp_path / "a.npz")


def test_running_out_of_memory_is_a_clean_error(tmp_path: Path) -> None:
    """60 MB of pixels make 480 MB of numbers, where 200 MB are left."""
    path = tmp_path / "a.idx"
    path.write_bytes(struct.pack(">2xBB2I", 8, 2, 60_000, 1000))
    os.truncate(path, 12 + 60_000_000)
    code = (
        "import resource, sys; from analytic import datasets\n"
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        "limit = pages * resource.getpagesize() + 200_000_000\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "try:\n    datasets.load(sys.argv[1])\n"
        "except ValueError as error:\n    print(error)\n"
    )
    if not Path("/proc/self/statm").exists():
        pytest.skip("limits of memory are set from /proc, which is not here")
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert f"path: got {str(path)!r}, which does not fit into the memory" in done.stdout, done


# --- things that are no files -------------------------------------------------------------------


@pytest.fixture
def impatience() -> Iterator[None]:
    """A reader that waits for a pipe is interrupted."""

    def stop(*_: Any) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("name", KINDS)
def test_pipes_are_not_waited_for(tmp_path: Path, name: str) -> None:
    kind = KINDS[name]
    folder(tmp_path, kind.around)
    (tmp_path / kind.target).parent.mkdir(exist_ok=True)
    (tmp_path / kind.target).unlink(missing_ok=True)
    os.mkfifo(tmp_path / kind.target)
    assert not load_or_refuse(tmp_path / kind.load)


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("name", KINDS)
def test_folders_links_and_devices_in_place_of_files(tmp_path: Path, name: str) -> None:
    kind = KINDS[name]
    for k, make in enumerate(
        (
            Path.mkdir,
            lambda path: path.symlink_to(path),
            lambda path: path.symlink_to("/dev/zero"),
            lambda path: path.symlink_to("nowhere"),
        )
    ):
        root = folder(tmp_path / str(k), kind.around)
        (root / kind.target).parent.mkdir(exist_ok=True)
        (root / kind.target).unlink(missing_ok=True)
        make(root / kind.target)
        load_or_refuse(root / kind.load)


@pytest.mark.parametrize("target", [".", "..", "a", "/"])
def test_links_to_folders_are_refused(tmp_path: Path, target: str) -> None:
    path = folder(tmp_path / "set", {"a/0.png": PNGS[0]})
    (path / "b").symlink_to(target, target_is_directory=True)
    with pytest.raises(ValueError, match="link to a folder, 'b'"):
        datasets.load(path)
    (path / "b").rename(path / ".b")
    (path / "c.png").symlink_to("a/0.png")
    with pytest.warns(UserWarning, match="without labels"):
        assert len(datasets.load(path)) == 1


def member(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize("style", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_nothing_in_a_tar_reaches_the_disk(tmp_path: Path, monkeypatch: Any, style: int) -> None:
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    path = tmp_path / "inside" / "a.tar.gz"
    outward: dict[str, Any] = {
        "../evil": b"1",
        str(tmp_path / "evil"): b"1",
        "way": member("way", tarfile.SYMTYPE, ".."),
        "way/evil": b"1",
        "zero": member("zero", tarfile.CHRTYPE),
        "pipe": member("pipe", tarfile.FIFOTYPE),
    }
    path.write_bytes(gzip.compress(tar(outward | BATCHES, style), mtime=0))
    assert len(datasets.load(path)) == 5
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "inside", path]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_batches_in_a_tar_are_files(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(tar({"x": member("train.bin", kind, "/etc/passwd")}), mtime=0))
    with pytest.raises(ValueError, match=re.escape(repr(str(path))) + ".*link or device"):
        datasets.load(path)


@pytest.mark.parametrize("name", ["npy", "npz", "idx", "bin", "CIFAR-10 folder", "image folder"])
def test_files_that_shrink_are_refused(tmp_path: Path, monkeypatch: Any, name: str) -> None:
    """Cut to half where sizes have been checked and reading is about to begin."""
    kind = KINDS[name]
    large = pictures(100, (1000,))  # more than is read ahead
    whole = {"npy": npy(large), "idx": idx(large), "npz": zip_of(a__npy=npy(large))}
    data = whole.get(name, kind.whole)
    folder(tmp_path, kind.around | {kind.target: data})
    honest = _check.size

    def shrink(*args: Any) -> None:
        honest(*args)
        os.truncate(tmp_path / kind.target, len(data) // 2)

    monkeypatch.setattr(_check, "size", shrink)
    assert not load_or_refuse(tmp_path / kind.load)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no permissions here")
@pytest.mark.parametrize("name", KINDS)
def test_unreadable_files_say_so(name: str) -> None:
    kind = KINDS[name]
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        folder(Path(place), kind.around | {kind.target: kind.wrap(kind.whole)})
        datasets.load(Path(place, kind.load))  # what is imported late is there
        for name in (kind.target, kind.load):
            os.chmod(Path(place, name), 0)
            if user == 0:
                os.seteuid(65534)
            try:
                with pytest.raises(PermissionError, match=re.escape(place)):
                    datasets.load(Path(place, kind.load))
            finally:
                os.seteuid(user)
                os.chmod(Path(place, name), 0o755)


@pytest.mark.parametrize(
    "path", ["a\0.npy", "x" * 300 + ".npy", "\udcff.npy", "", "\n.idx", "a/" * 3000]
)
def test_strange_paths(tmp_path: Path, monkeypatch: Any, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    for find in (datasets.load, datasets.resolve):
        with pytest.raises((OSError, ValueError)):
            find(path)
    try:
        (tmp_path / path).write_bytes(npy(POINTS))
    except (OSError, ValueError):
        return
    load_or_refuse(tmp_path / path)
