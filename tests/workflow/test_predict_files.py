"""Many images into one file: the same rows whatever happens in between, and every refusal in one line."""

import csv
import importlib.util
import json
import shutil
import threading

import numpy as np
import pytest
from classifying import CLASSES, expected, write_classifier, write_images
from PIL import Image

import deploykit as dk
from deploykit.spec import silent
from deploykit.workflow.calibrate import Shard
from deploykit.workflow.predict import classified, naming_of, shard_of

IMAGES, BATCH, TOP = 22, 4, 3
BROKEN = ("0003.bmp", "0004.png", "0013.bmp")
LABELS = [f"class {number}" for number in range(CLASSES)]
SUFFIXES = [
    ".jsonl",
    ".csv",
    pytest.param(".parquet", marks=pytest.mark.skipif(not importlib.util.find_spec("pyarrow"), reason="needs pyarrow")),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images") / "of"
    write_images(folder, IMAGES)
    (folder / BROKEN[0]).write_bytes(b"")
    (folder / BROKEN[1]).write_bytes(b"\x89PNG and no more")
    (folder / BROKEN[2]).write_text("no image")
    return folder


@pytest.fixture(scope="module")
def predictor(tmp_path_factory, shared_store):
    path = write_classifier(tmp_path_factory.mktemp("network") / "net.onnx")
    network = dk.from_onnx(path, preprocess="unit")
    engine = dk.build(network, backend="ort", batch=(1, BATCH, BATCH), store=shared_store)
    with dk.Predictor(engine, top=TOP, labels=LABELS, threads=1) as found:
        yield found


@pytest.fixture(scope="module")
def other(tmp_path_factory, shared_store):
    path = write_classifier(tmp_path_factory.mktemp("network") / "other.onnx", bias=np.zeros(CLASSES, np.float32))
    with dk.Predictor(dk.from_onnx(path, preprocess="unit"), top=TOP, labels=LABELS, store=shared_store) as found:
        yield found


@pytest.fixture(scope="module")
def whole(predictor, folder, tmp_path_factory):
    """The file of one run, by suffix."""
    place = tmp_path_factory.mktemp("whole")

    def made(suffix):
        path = place / f"rows{suffix}"
        if not path.exists():
            dk.predict(predictor, images=folder, output=path)
        return path

    return made


def read(path):
    """The rows of a file as dictionaries of text."""
    match path.suffix:
        case ".jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
        case ".csv":
            with path.open(newline="") as file:
                rows = [{name: cell or None for name, cell in row.items()} for row in csv.DictReader(file)]
        case _:
            import pyarrow.parquet

            rows = pyarrow.parquet.read_table(path).to_pylist()
    return [{name: None if cell is None else str(cell) for name, cell in row.items()} for row in rows]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_image_has_its_row_in_order(predictor, folder, tmp_path, suffix):
    found = dk.predict(predictor, images=folder, output=tmp_path / f"rows{suffix}")
    assert (found.images, found.errors, found.held) == (IMAGES, len(BROKEN), 0)
    rows = read(found.output)
    assert tuple(rows[0]) == found.columns
    assert [row["image"] for row in rows] == sorted(map(str, folder.iterdir()))
    assert {row["model"] for row in rows} == {predictor.digest[:12]}
    sound = [row for row in rows if row["error"] is None]
    classes, shares = expected([path for path in sorted(folder.iterdir()) if path.name not in BROKEN], TOP)
    assert [[int(row[f"class_{k}"]) for k in (1, 2, 3)] for row in sound] == classes.tolist()
    np.testing.assert_allclose([float(row["probability_1"]) for row in sound], shares[:, 0], atol=2e-6)
    assert [row["label_2"] for row in sound] == [LABELS[number] for number in classes[:, 1]]
    assert [row["image"].rpartition("/")[2] for row in rows if row["error"]] == list(BROKEN)
    assert all(row["class_1"] is None for row in rows if row["error"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [found.output.name]  # nothing hidden stays


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_wherever_a_file_was_cut_off_it_becomes_the_same(predictor, folder, whole, tmp_path, suffix):
    content = whole(suffix).read_bytes()
    path = tmp_path / f"rows{suffix}"
    for size in {0, 1, 5, 30, *range(0, len(content), 271), len(content) - 1}:
        path.write_bytes(content[:size])
        found = dk.predict(predictor, images=folder, output=path)
        assert path.read_bytes() == content
        assert (found.images, found.errors) == (IMAGES, len(BROKEN))
        assert found.held % BATCH == 0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_finished_file_is_left_as_it_is(predictor, folder, whole, suffix):
    path = whole(suffix)
    before, stamp = path.read_bytes(), path.stat().st_mtime_ns
    found = dk.predict(predictor, images=folder, output=path)
    assert (found.held, found.images, found.images_per_second) == (IMAGES, IMAGES, None)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, stamp)


@pytest.mark.skipif(not importlib.util.find_spec("pyarrow"), reason="needs pyarrow")
def test_parquet_goes_on_from_the_rows_beside_it(predictor, folder, whole, tmp_path):
    content, lines = whole(".parquet").read_bytes(), whole(".jsonl").read_bytes()
    path, hidden = tmp_path / "rows.parquet", tmp_path / ".rows.parquet.rows"
    for size in (0, 100, len(lines) // 2, len(lines)):
        hidden.write_bytes(lines[:size])
        dk.predict(predictor, images=folder, output=path)
        assert path.read_bytes() == content
        assert not hidden.exists()
        path.unlink()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_images_that_came_later_follow(predictor, folder, tmp_path, suffix):
    several = tmp_path / "several"
    several.mkdir()
    paths = sorted(folder.iterdir())
    for path in (*paths[:5], *paths[9:12]):
        shutil.copy(path, several)
    output = tmp_path / f"rows{suffix}"
    first = dk.predict(predictor, images=several, output=output)
    before = read(output)
    for path in paths[5:9]:
        shutil.copy(path, several)
    second = dk.predict(predictor, images=several, output=output)
    rows = read(output)
    assert (first.images, second.held, second.images) == (8, 8, 12)
    assert rows[:8] == before
    assert [row["image"] for row in rows[8:]] == [str(several / path.name) for path in paths[5:9]]


@pytest.mark.parametrize("count", [1, 2, 3, 6, 9])
def test_the_parts_put_together_are_the_whole(predictor, folder, whole, tmp_path, count):
    parts = []
    for index in range(count):
        path = tmp_path / f"part{index}.jsonl"
        dk.predict(predictor, images=folder, output=path, shard=(index + 1, count))
        parts.append(path.read_bytes())
    assert b"".join(parts) == whole(".jsonl").read_bytes()


def test_parts_are_even_and_of_whole_batches():
    for images, batch, count in ((1000, 8, 7), (5, 8, 3), (0, 4, 2), (64, 4, 16)):
        parts = [shard_of(images, batch, Shard(index, count)) for index in range(count)]
        assert [place for part in parts for place in part] == list(range(images))
        assert all(part.start % batch == 0 for part in parts if part)
        sizes = [-(-len(part) // batch) for part in parts]
        assert max(sizes) - min(sizes) <= 1


def test_any_kind_of_image_is_read(predictor, tmp_path):
    color = np.zeros((20, 30, 3), np.uint8) + np.uint8([200, 100, 50])
    picture = Image.fromarray(color)
    picture.convert("CMYK").save(tmp_path / "a_cmyk.tiff")
    picture.save(tmp_path / "b_animated.gif", save_all=True, append_images=[Image.new("RGB", (30, 20))])
    Image.fromarray(color[..., 0].astype(np.uint16) << 8).save(tmp_path / "c_sixteen_bits.png")
    picture.convert("RGBA").save(tmp_path / "d_alpha.webp", lossless=True)
    Image.new("1", (20_000, 6_000)).save(tmp_path / "e_huge.png")
    Image.fromarray(color[..., 0].astype(np.float32)).save(tmp_path / "f_float.tiff")
    found = dk.predict(predictor, images=tmp_path, output=tmp_path / "rows.jsonl")
    rows = read(found.output)
    assert [row["error"] is None for row in rows] == [True] * 4 + [False] * 2
    assert "pixels, more than" in rows[4]["error"]
    assert "floating-point" in rows[5]["error"]
    assert rows[1]["class_1"] == rows[3]["class_1"]


def test_files_and_folders_come_in_the_order_given(predictor, folder, tmp_path):
    one, two = sorted(folder.iterdir())[:2]
    np.savez(tmp_path / "pixels.npz", images=np.zeros((3, 8, 8), np.uint8))
    found = dk.predict(predictor, images=[two, tmp_path / "pixels.npz", one], output=tmp_path / "rows.csv")
    names = ["pixels.npz[0]", "pixels.npz[1]", "pixels.npz[2]"]
    assert [row["image"] for row in read(found.output)] == [str(two), *names, str(one)]


@pytest.mark.skipif(not importlib.util.find_spec("pyarrow"), reason="needs pyarrow")
@pytest.mark.parametrize("kind", ["bytes", "struct", "path"])
def test_images_come_out_of_parquet(predictor, folder, whole, tmp_path, kind):
    import pyarrow
    import pyarrow.parquet

    paths = sorted(folder.iterdir())
    contents = [path.read_bytes() for path in paths]
    column = {
        "bytes": {"image": contents},
        "struct": {"image": [{"bytes": content, "path": "x"} for content in contents]},
        "path": {"path": list(map(str, paths))},
    }[kind]
    table = tmp_path / "images.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"id": list(range(IMAGES)), **column}), table, row_group_size=5)
    parts = []
    for index in (1, 2, 3):
        found = dk.predict(predictor, images=table, output=tmp_path / f"{index}.jsonl", shard=(index, 3))
        parts += read(found.output)
    wanted = read(whole(".jsonl"))
    assert [row["class_1"] for row in parts] == [row["class_1"] for row in wanted]
    names = [row["image"] for row in parts]
    assert names == (list(map(str, paths)) if kind == "path" else [f"{table}[{row}]" for row in range(IMAGES)])


@pytest.mark.skipif(not importlib.util.find_spec("pyarrow"), reason="needs pyarrow")
def test_a_table_without_images_or_that_is_none_is_refused(predictor, tmp_path):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"id": [1]}), tmp_path / "none.parquet")
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(dk.UsageError, match="has no column of images; it has id"):
        dk.predict(predictor, images=tmp_path / "none.parquet", output=tmp_path / "rows.csv")
    with pytest.raises(dk.UntrustedArtifact, match="cannot read"):
        dk.predict(predictor, images=tmp_path / "damaged.parquet", output=tmp_path / "rows.csv")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rows_of_another_model_are_refused_with_both_digests(predictor, other, folder, whole, tmp_path, suffix):
    path = tmp_path / f"rows{suffix}"
    shutil.copy(whole(suffix), path)
    with pytest.raises(dk.UsageError, match=f"digest is {predictor.digest[:12]}, that of .* {other.digest[:12]}"):
        dk.predict(other, images=folder, output=path)
    assert path.read_bytes() == whole(suffix).read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rows_of_other_images_or_columns_are_refused(predictor, folder, whole, image_folder, tmp_path, suffix):
    path = tmp_path / f"rows{suffix}"
    shutil.copy(whole(suffix), path)
    with pytest.raises(dk.UsageError, match="has rows of other images"):
        dk.predict(predictor, images=image_folder, output=path)
    fewer = dk.Predictor.__new__(dk.Predictor)
    fewer._begin(predictor.session.what, None, 2, 1)
    with pytest.raises(dk.UsageError, match=r"columns|not one of these predictions"):
        dk.predict(fewer, images=folder, output=path)
    assert path.read_bytes() == whole(suffix).read_bytes()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", '{"id": 3}\n'),
        ("rows.jsonl", '{"image": "a.png", "label": 3}'),
        ("rows.jsonl", "a text\n"),
        ("rows.jsonl", "a text"),
        ("rows.csv", "id,label\n3,cat\n"),
        ("rows.csv", "id,label"),
        ("rows.csv", "\n"),
    ],
)
def test_a_file_of_somebody_else_is_left_as_it_is(predictor, folder, tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(dk.UsageError, match=r"other columns|is not one of these predictions"):
        dk.predict(predictor, images=folder, output=path)
    assert path.read_text() == content


def test_a_row_that_was_damaged_is_named(predictor, folder, whole, tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = whole(".jsonl").read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:2], "{]\n", *lines[3:]]))
    with pytest.raises(dk.UsageError, match=r"row 3 of .*rows.jsonl is not one of these predictions"):
        dk.predict(predictor, images=folder, output=path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"output": "rows.txt"}, r"rows.txt is of no known kind; end the name in .parquet, .jsonl, .csv"),
        ({"output": "no/such/rows.csv"}, "is not a folder"),
        ({"shard": "3/2"}, "cannot read shard '3/2'"),
        ({"shard": (0, 2)}, "cannot read shard '0/2'"),
        ({"images": "nowhere"}, "there is no image or folder nowhere"),
        ({"images": []}, "no images are given"),
        ({"decode_threads": -1}, "decode_threads is -1"),
    ],
)
def test_a_wrong_request_is_named(predictor, folder, tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(dk.UsageError, match=said):
        dk.predict(predictor, **{"images": folder, "output": "rows.csv"} | options)
    assert list(tmp_path.iterdir()) == []


def test_parquet_without_pyarrow_has_the_install_line(predictor, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("deploykit.io.parquet.find_spec", lambda name: None)
    for options in ({"images": folder, "output": tmp_path / "a.parquet"}, {"images": tmp_path / "x.parquet"}):
        (tmp_path / "x.parquet").touch()
        with pytest.raises(dk.BackendMissing, match=r'pip install "deploykit\[parquet\]"'):
            dk.predict(predictor, **{"output": tmp_path / "a.csv"} | options)


def test_two_processes_do_not_write_one_file(predictor, folder, tmp_path):
    from filelock import FileLock

    with FileLock(tmp_path / ".rows.csv.lock"), pytest.raises(dk.UsageError, match="another process is writing"):
        dk.predict(predictor, images=folder, output=tmp_path / "rows.csv")


def test_names_are_on_one_line_and_valid_text(predictor, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in (
        'two\nlines, "quoted".png',
        b"not \xff utf-8.png".decode("utf-8", "surrogateescape"),
        "sch\u00f6n.png",
    ):
        Image.new("RGB", (8, 8)).save(folder / name, format="PNG")
    for suffix in (".jsonl", ".csv"):
        found = dk.predict(predictor, images=folder, output=tmp_path / f"rows{suffix}")
        names = [row["image"].rpartition("/")[2] for row in read(found.output)]
        assert names == ["not \\udcff utf-8.png", "sch\u00f6n.png", 'two\\nlines, "quoted".png']
        assert dk.predict(predictor, images=folder, output=found.output).held == 3


class Counted:
    """An image that is made when it is read; how many were read and not run yet is bounded."""

    lock, read_so_far = threading.Lock(), 0

    def __init__(self, number):
        self.name = f"made {number}"

    def read(self):
        with self.lock:
            Counted.read_so_far += 1
        return Image.new("RGB", (16, 16), (1, 2, 3))


def test_few_images_are_held_at_a_time(predictor):
    Counted.read_so_far, given, taken, most = 0, 0, 0, 0

    def images():
        nonlocal given
        for number in range(500):
            given += 1
            yield Counted(number)

    for rows in classified(predictor.session, images(), naming_of(predictor.session, None), decoders=2):
        taken += len(rows)
        most = max(most, given - taken)
    assert taken == Counted.read_so_far == 500
    assert most <= 4 * BATCH


def test_a_defect_in_a_thread_is_no_row(predictor):
    class Defect:
        name = "defect"

        def read(self):
            raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        list(classified(predictor.session, iter([Defect()]), naming_of(predictor.session, None)))


def test_what_is_done_is_reported(predictor, folder, tmp_path):
    steps = []
    dk.predict(predictor, images=folder, output=tmp_path / "a.csv", progress=lambda *step: steps.append(step))
    assert steps[0] == ("predict", 0, IMAGES)
    assert steps[-1] == ("predict", IMAGES, IMAGES)
    assert [done for _, done, _ in steps] == sorted(done for _, done, _ in steps)
    assert silent("predict", 0, 1) is None
