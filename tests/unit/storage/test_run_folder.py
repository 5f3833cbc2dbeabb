"""The run directory: what is written is whole, comes back bit for bit, and a second go finds it."""

from __future__ import annotations

import collections
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conceptnet_ml.errors import DataError, GraphError
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.storage.files import read_json, write_atomic
from conceptnet_ml.storage.hashing import sha256
from conceptnet_ml.storage.run_folder import Run
from conceptnet_ml.storage.tensors import load_tree, save_tree

DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.uint16,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.complex128,
]


def new_run(path: Path) -> Run:
    return Run.create(path, {"depth": 2, "data": {"trap": "wheels"}}, {"depth": "flag"}, {"torch": "2"}, "0.1.0")


@pytest.fixture
def run(tmp_path) -> Run:
    with new_run(tmp_path / "run") as run:
        yield run


def same(a, b) -> bool:
    """Equal in type, order, and every bit of every tensor."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and bits(a) == bits(b)
    if isinstance(a, dict):
        return len(a) == len(b) and all(
            same(k, m) and same(v, w) for (k, v), (m, w) in zip(a.items(), b.items(), strict=True)
        )
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return repr(a) == repr(b)


def bits(tensor: torch.Tensor) -> bytes:
    """The tensor's memory, in order; NaN is NaN only where its bits are the same."""
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


# ------------------------------------------------------------------------------------------------ trees

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
TENSORS = st.builds(
    lambda dtype, shape, seed: (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3).to(dtype),
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 3), max_size=3),
    st.integers(0, 99),
)
TREES = st.recursive(
    SCALARS | TENSORS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(
            st.integers() | st.text(max_size=4) | st.just("$tensor") | st.tuples(st.integers()), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TREES)
def test_any_tree_comes_back_bit_for_bit(tmp_path, tree):
    path = tmp_path / "tree.json"
    returned = save_tree(path, tree)
    assert same(returned, tree)
    assert same(load_tree(path), tree)


def test_views_of_one_tensor_come_back_as_they_are(tmp_path):
    base = torch.arange(12.0).view(3, 4)
    tree = [base, base[1], base.t(), base[:, 2], base.expand(2, 3, 4), base.to(memory_format=torch.contiguous_format)]
    save_tree(tmp_path / "t.json", tree)
    assert all(torch.equal(a, b) for a, b in zip(tree, load_tree(tmp_path / "t.json"), strict=True))


def test_nan_bits_and_signed_zeros_survive(tmp_path):
    bits = torch.tensor([0x7FC00001, 0x7F800000, -(2**31)], dtype=torch.int32)
    save_tree(
        tmp_path / "t.json", {"tensor": bits.view(torch.float32), "zero": -0.0, "nan": math.nan, "inf": -math.inf}
    )
    back = load_tree(tmp_path / "t.json")
    assert torch.equal(back["tensor"].view(torch.int32), bits)
    assert (math.copysign(1, back["zero"]), math.isnan(back["nan"]), back["inf"]) == (-1, True, -math.inf)


@pytest.mark.parametrize(
    "value", [{1, 2}, object(), b"bytes", 1j, torch.eye(2).to_sparse(), Path("x"), [{"deep": {3}}]]
)
def test_what_is_not_plain_is_refused_and_nothing_is_pickled(tmp_path, value):
    with pytest.raises(TypeError, match="value"):
        save_tree(tmp_path / "t.json", value)
    assert list(tmp_path.iterdir()) == []


def test_the_value_returned_does_not_share_memory_with_what_was_saved(tmp_path):
    tensor = torch.zeros(3)
    returned = save_tree(tmp_path / "t.json", {"x": tensor})
    tensor += 1
    assert returned["x"].sum() == 0


# ------------------------------------------------------------------------------------------------ once


def test_once_computes_once_and_reads_ever_after(run):
    calls = []

    def compute():
        calls.append(1)
        return {"maps": torch.eye(3), "names": ("a", "b")}

    first = run.once("find/top", compute)
    run.close()
    again = Run.open(run.path).once("find/top", compute)
    assert calls == [1]
    assert same(first, again)
    assert same(first, {"maps": torch.eye(3), "names": ("a", "b")})


def test_once_returns_the_same_whether_computed_or_read(run):
    state = collections.OrderedDict(w=torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last).requires_grad_())
    first = run.once("state", lambda: state)
    again = run.once("state", lambda: None)
    assert same(first, again)
    assert type(first) is type(again) is dict
    assert first["w"].stride() == again["w"].stride()
    assert not first["w"].requires_grad


def test_once_saves_none_as_a_value(run):
    assert run.once("nothing", lambda: None) is None
    assert run.once("nothing", lambda: 3) is None


def test_once_saves_nothing_when_the_step_fails(run):
    with pytest.raises(ZeroDivisionError):
        run.once("step", lambda: 1 / 0)
    assert not run.has_step("step")
    assert run.once("step", lambda: 2) == 2


def test_forget_makes_a_step_run_again(run):
    run.once("step", lambda: torch.zeros(2))
    run.forget_step("step")
    assert list((run.path / "steps").iterdir()) == []
    assert run.once("step", lambda: 5) == 5


def damage_json(step: Path) -> Path:
    step.write_text(step.read_text().replace('"epoch": 3', '"epoch": 4'))
    return step


def cut_json(step: Path) -> Path:
    step.write_bytes(step.read_bytes()[:-20])
    return step


def signed(tree):
    """Damage that a checksum does not show: what a file of someone else may hold."""

    def change(step: Path) -> Path:
        record = json.loads(step.read_text())
        step.write_text(json.dumps({**record, "tree": tree, "sha256": sha256(json.dumps(tree))}))
        return step

    return change


def flip_a_bit(step: Path) -> Path:
    (file,) = step.parent.glob("*.safetensors")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    return file


def cut_tensors(step: Path) -> Path:
    (file,) = step.parent.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-8])
    return file


def lose_tensors(step: Path) -> Path:
    (file,) = step.parent.glob("*.safetensors")
    file.unlink()
    return file


def other_version(step: Path) -> Path:
    step.write_text(step.read_text().replace('"version": 1', '"version": 9', 1))
    return step


@pytest.mark.parametrize(
    "damage",
    [
        *(damage_json, cut_json, flip_a_bit, cut_tensors, lose_tensors, other_version),
        signed({"$complex": "t0"}),
        signed({"$float": -(10**400)}),
        signed({"$dict": [[{"$tensor": "t0"}, 1], [{"$tensor": "t0"}, 2]]}),
        signed({"$tuple": 3}),
    ],
)
def test_a_damaged_step_names_the_file_and_the_mend_works(run, damage):
    value = {"epoch": 3, "w": torch.randn(4)}
    run.once("train", lambda: value)
    step = run.path / "steps" / "train.json"
    culprit = damage(step)
    with pytest.raises(DataError) as error:
        run.once("train", lambda: value)
    assert str(culprit) in error.value.message
    assert f"Delete {step}" in error.value.mend
    step.unlink()
    assert same(run.once("train", lambda: value), value)
    assert len(list(step.parent.iterdir())) == 2, "what the damaged step left behind is gone"


@pytest.mark.parametrize("name", ["", "/etc/x", "../x", "a/../b", ".", "a//b", "a/"])
def test_a_name_cannot_leave_the_run(run, name):
    for use in (lambda: run.once(name, int), lambda: run.checkpoint(name), lambda: run.save_picture(name, b"")):
        with pytest.raises(ValueError, match="cannot name a file"):
            use()


def test_any_other_name_has_a_file_of_its_own(run):
    names = ["poodle on wheels", "poodle%20on%20wheels", ".hidden", "a:b", "a\\b", "été", "a.b", "a"]
    for name in names:
        run.once(name, lambda name=name: [name, torch.zeros(1)])
    assert [run.once(name, lambda: None)[0] for name in names] == names
    files = [file.name for file in (run.path / "steps").iterdir()]
    assert len(files) == 2 * len(names)
    assert not any(set(file) & set(" :\\") or file.startswith(".") for file in files)


# ------------------------------------------------------------------------------------------------ checkpoints


def test_a_training_goes_on_from_its_checkpoint_as_if_nothing_had_happened(run):
    def start():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
        return model, torch.optim.Adam(model.parameters(), lr=0.1)

    def steps(model, optimizer, start, stop):
        for step in range(start, stop):
            x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()

    model, optimizer = start()
    steps(model, optimizer, 0, 3)
    checkpoint = run.checkpoint("train/ordinary")
    assert checkpoint.load() is None
    checkpoint.save({"step": 0})
    checkpoint.save({"step": 3, "model": model.state_dict(), "optimizer": optimizer.state_dict()})
    steps(model, optimizer, 3, 6)

    state = Run.open(run.path).checkpoint("train/ordinary").load()
    resumed, resumed_optimizer = start()
    resumed.load_state_dict(state["model"])
    resumed_optimizer.load_state_dict(state["optimizer"])
    steps(resumed, resumed_optimizer, state["step"], 6)
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), resumed.state_dict().values(), strict=True)
    )


def test_a_checkpoint_replaces_itself_and_clears_away(run):
    checkpoint = run.checkpoint("train")
    for step in range(3):
        checkpoint.save({"step": step, "w": torch.full((2,), step)})
    folder = run.path / "checkpoints"
    assert len(list(folder.iterdir())) == 2
    checkpoint.clear()
    checkpoint.clear()
    assert list(folder.iterdir()) == []
    assert checkpoint.load() is None


def test_a_checkpoint_survives_a_crash_at_any_moment_of_the_next_save(run, monkeypatch):
    checkpoint = run.checkpoint("train")
    checkpoint.save({"w": torch.zeros(2)})
    real = os.replace
    for allowed in (0, 1):  # renames until the power goes: tensors, then structure
        left = [allowed]

        def crash(source, target, left=left):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            real(source, target)

        monkeypatch.setattr(os, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save({"w": torch.ones(2)})
        assert checkpoint.load()["w"].sum() == 0
    monkeypatch.setattr(os, "replace", real)
    checkpoint.save({"w": torch.ones(2)})
    assert checkpoint.load()["w"].sum() == 2
    assert len(list((run.path / "checkpoints").iterdir())) == 2


# ------------------------------------------------------------------------------------------------ writing


def test_a_failed_write_leaves_the_old_content_and_no_litter(tmp_path):
    """A real limit of the operating system: no file may grow beyond 1 KiB."""
    pytest.importorskip("resource")
    path = tmp_path / "file.txt"
    path.write_text("old")
    new_run(tmp_path / "run").close()
    code = f"""
        import resource, signal
        from pathlib import Path
        from conceptnet_ml.storage.files import write_atomic
        from conceptnet_ml.storage.run_folder import Run
        from conceptnet_ml.errors import DataError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
        run = Run.open({str(tmp_path / "run")!r})
        for write in (lambda: write_atomic(Path({str(path)!r}), "x" * 100_000), lambda: run.log(x="x" * 100_000)):
            try:
                write()
            except DataError as error:
                print(error)
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert f"cannot write {path}: file too large" in result.stdout
    assert f"cannot write {tmp_path / 'run' / 'metrics.jsonl'}: file too large" in result.stdout
    assert "--out" in result.stdout
    assert path.read_text() == "old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file.txt", "run"]
    assert Run.open(tmp_path / "run").metrics() == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_said_in_plain_words(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match=r"cannot write .*: permission denied"):
        new_run(tmp_path / "run")


def test_a_path_below_a_file_is_said_in_plain_words(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write .*: not a directory"):
        new_run(tmp_path / "file" / "run")
    with pytest.raises(DataError, match=r"cannot write .*x\.txt"):
        write_atomic(tmp_path / "file" / "x.txt", "x")


def test_readers_never_see_half_a_file(tmp_path):
    path = tmp_path / "file.txt"
    code = f"""
        from pathlib import Path
        from conceptnet_ml.storage.files import write_atomic
        for i in range(150):
            write_atomic(Path({str(path)!r}), str(i % 10) * 200_000)
    """
    writer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    seen = set()
    while writer.poll() is None:
        if path.exists():
            content = path.read_text()
            assert len(content) == 200_000
            assert len(set(content)) == 1
            seen.add(content[0])
    assert writer.returncode == 0
    assert seen


# ------------------------------------------------------------------------------------------------ create, open, lock


def test_a_run_opens_with_what_it_was_created_with(run):
    opened = Run.open(run.path)
    assert opened.settings == {"depth": 2, "data": {"trap": "wheels"}}
    assert opened.origins == {"depth": "flag"}
    assert read_json(run.path / "environment.json") == {"torch": "2"}
    assert read_json(run.path / "settings.json")["package"] == "0.1.0"
    assert not (run.path / "DONE").exists()


def test_a_run_is_not_created_over_something(run, tmp_path):
    with pytest.raises(DataError, match="holds a run already") as error:
        new_run(run.path)
    assert f"--resume {run.path}" in error.value.mend
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").write_text("")
    with pytest.raises(DataError, match=r"not empty: thesis\.doc"):
        new_run(tmp_path / "full")
    (tmp_path / "empty").mkdir()
    new_run(tmp_path / "empty").close()


def test_what_is_not_a_run_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no run folder"):
        Run.open(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"not a run folder: it has no settings\.json"):
        Run.open(tmp_path)
    (tmp_path / "settings.json").write_text("[1]")
    with pytest.raises(DataError, match="was not written by a run"):
        Run.open(tmp_path)
    (tmp_path / "settings.json").write_text('{"schema": ')
    with pytest.raises(DataError, match=r"settings\.json is damaged"):
        Run.open(tmp_path)


def test_a_run_of_another_version_is_refused(run):
    path = run.path / "settings.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 99, "package": "7.1"}))
    with pytest.raises(DataError, match="run of format 99, this program reads format 1") as error:
        Run.open(run.path)
    assert "7.1" in error.value.mend


WRITER = """
    import sys, time
    from conceptnet_ml.storage.run_folder import Run
    run = Run.open(sys.argv[1], write=True)
    print("locked", flush=True)
    time.sleep(60)
"""


def test_two_processes_cannot_write_to_one_run_and_a_killed_one_leaves_it_free(run):
    run.close()
    other = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(run.path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(DataError, match=f"in use by process {other.pid}"):
            Run.open(run.path, write=True)
        reader = Run.open(run.path)
        with pytest.raises(DataError, match="in use"):
            reader.log(loss=1)
        assert reader.metrics() == []
        with pytest.raises(DataError, match=f"is running, in process {other.pid}, and has no results yet") as error:
            reader.summary()
        assert str(run.path / "metrics.jsonl") in error.value.mend
        assert "resume" not in error.value.mend
        with pytest.raises(DataError, match="is running"):
            reader.load_model()
        with pytest.raises(DataError, match="is running"):
            ConceptGraph.read(run.path)
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    with pytest.raises(DataError, match="has no results yet\n  Finish the run: learn --resume"):
        reader.summary()
    with Run.open(run.path, write=True) as mine:
        mine.log(loss=1)
        with pytest.raises(DataError, match=f"in use by process {os.getpid()}"):
            Run.open(run.path, write=True)
    Run.open(run.path, write=True).close()
    assert not (run.path / "lock.owner").exists()


def test_a_lock_file_of_a_dead_process_is_taken_over(run):
    run.close()
    (run.path / "lock").write_text("999999999\n")
    Run.open(run.path, write=True).close()


def test_leftovers_of_a_killed_write_are_tidied(run):
    run.close()
    leftover = run.path / "steps" / ".x.json.123.tmp"
    leftover.parent.mkdir()
    leftover.write_text("half")
    Run.open(run.path)
    assert leftover.exists(), "a reader changes nothing"
    with Run.open(run.path, write=True):
        assert not leftover.exists()


# ------------------------------------------------------------------------------------------------ metrics, results


def test_metrics_are_appended_in_order_and_a_torn_last_line_is_dropped(run):
    before = time.time()
    run.log(epoch=1, loss=0.5, where={"stage": "top"})
    run.log(epoch=2, loss=math.nan)
    run.close()
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "lo')
    resumed = Run.open(run.path)
    assert [line["epoch"] for line in resumed.metrics()] == [1, 2]
    resumed.log(epoch=3)
    assert [line["epoch"] for line in resumed.metrics()] == [1, 2, 3]
    assert resumed.metrics()[1]["loss"] is None
    assert before - 1 < resumed.metrics()[0]["time"] < time.time() + 1
    resumed.close()


def test_damaged_metrics_are_said_so(run):
    (run.path / "metrics.jsonl").write_text('{"a": 1\n{"a": 2}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl is damaged"):
        run.metrics()


def test_the_graph_is_kept(run):
    graph = ConceptGraph(["car", "dog"], [("top", 4)], network="n", settings="s", seed=0)
    with pytest.raises(DataError, match="no concept graph yet"):
        ConceptGraph.read(run.path)
    graph.add_node("class", "car")
    run.save_graph(graph.to_json())
    assert ConceptGraph.read(run.path) == graph
    text = (run.path / "graph.json").read_text()
    (run.path / "graph.json").write_text(text.replace('"label": "car"', '"label": "cat"'))
    with pytest.raises(GraphError, match=r"graph\.json"):
        ConceptGraph.read(run.path)


def test_the_model_is_kept_and_loads_without_this_package(run):
    from safetensors.torch import load_file

    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last), torch.nn.BatchNorm2d(4))
    with pytest.raises(DataError, match="no model yet"):
        run.load_model()
    run.save_model(model.state_dict(), {"backbone": "small", "classes": ["car", "dog"]})
    weights, description = run.load_model()
    assert description == {"backbone": "small", "classes": ["car", "dog"]}
    direct = load_file(run.path / "model.safetensors")
    for name, value in model.state_dict().items():
        assert torch.equal(weights[name], value)
        assert torch.equal(direct[name], value)
    with (run.path / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    with pytest.raises(DataError, match=r"model\.safetensors is damaged"):
        run.load_model()


def test_pictures_are_kept(run):
    relative = run.save_picture("round1/car.png", b"picture")
    assert relative == "pictures/round1/car.png"
    assert (run.path / relative).read_bytes() == b"picture"


def test_finish_writes_the_summary_marks_the_end_and_frees_the_run(run):
    run.checkpoint("train").save({"x": 1})
    run.finish({"conflict": 0.95, "bad": math.inf}, "conflict  95.0 %\n")
    opened = Run.open(run.path, write=True)
    opened.close()
    assert (run.path / "DONE").exists()
    assert opened.summary() == {"conflict": 0.95, "bad": None}
    assert (run.path / "summary.txt").read_text() == "conflict  95.0 %\n"
    assert not (run.path / "checkpoints").exists()


def test_reading_a_run_needs_no_torch(run):
    run.save_graph(ConceptGraph(["car"], [("top", 4)], network="n", settings="s", seed=0).to_json())
    run.once("plain", lambda: {"x": 1})
    code = f"""
        import sys
        from conceptnet_ml.graph.concept_graph import ConceptGraph
        from conceptnet_ml.storage.run_folder import Run
        run = Run.open({str(run.path)!r})
        ConceptGraph.read(run.path), run.metrics(), run.once("plain", int)
        print("torch" in sys.modules)
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


# ------------------------------------------------------------------------------------------------ folders of others


@pytest.mark.parametrize("name", ["pictures", "lock", "lock.owner", "graph.json", "steps/find.json"])
@pytest.mark.parametrize("target", ["folder", "file", "device", "nothing"])
def test_no_link_leads_out_of_a_run(run, tmp_path, name, target):
    run.close()
    outside = {"folder": tmp_path / "mine", "file": tmp_path / "mine/a.png", "device": Path("/dev/zero")}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a.png").write_text("mine")
    (run.path / name).parent.mkdir(exist_ok=True)
    (run.path / name).unlink(missing_ok=True)
    (run.path / name).symlink_to(outside.get(target, tmp_path / "gone"))
    with pytest.raises(DataError, match="is a link that leads out of the run, or nowhere"):
        Run.open(run.path, write=True)
    assert (tmp_path / "mine/a.png").read_text() == "mine"


def test_a_new_run_follows_no_link_that_waits_in_its_folder(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lock.owner").symlink_to(tmp_path / "mine")
    with pytest.raises(DataError, match="is a link that leads out"):
        new_run(tmp_path / "run")
    assert (tmp_path / "mine").read_text() == "mine"


def test_links_within_a_run_and_to_a_run_are_fine(run, tmp_path):
    run.close()
    (run.path / "newest.json").symlink_to("settings.json")
    (tmp_path / "alias").symlink_to(run.path)
    assert Run.open(tmp_path / "alias").settings == run.settings


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_pipes_are_refused_and_not_waited_for(run, tmp_path):
    run.close()
    os.mkfifo(run.path / "graph.json")
    with pytest.raises(DataError, match=r"graph\.json is no regular file"):
        Run.open(run.path)
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(DataError, match="is not a regular file"):
        read_json(tmp_path / "pipe.json")


def test_a_file_of_any_length_is_not_read_into_memory(tmp_path):
    with (tmp_path / "long.json").open("wb") as file:
        file.truncate(2**40)  # takes no room
    with pytest.raises(DataError, match="MiB, more than"):
        read_json(tmp_path / "long.json")


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5_000, "{", "nul", '{"a": \x00}'])
def test_json_that_cannot_be_read_is_damaged_and_no_bug(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=r"x\.json is damaged"):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize("content", [{"settings": []}, {"settings": {}, "origins": 3}])
def test_settings_without_settings_are_damaged(run, content):
    run.close()
    header = json.loads((run.path / "settings.json").read_text())
    (run.path / "settings.json").write_text(json.dumps(header | content))
    with pytest.raises(DataError, match=r"settings\.json is damaged"):
        Run.open(run.path)


def test_only_what_a_run_left_half_written_is_cleared(run):
    run.close()
    ours = [run.path / ".graph.json.123.tmp", run.path / "edits/.0001.tmp", run.path / ".adapted.tmp"]
    for place in ours[1:]:
        place.mkdir(parents=True)
        (place / "a.json").touch()
    ours[0].touch()
    (run.path / ".notes.tmp").write_text("mine")
    Run.open(run.path, write=True).close()
    assert not any(place.exists() for place in ours)
    assert (run.path / ".notes.tmp").read_text() == "mine"


def test_only_pictures_that_the_run_wrote_are_removed(run, tmp_path):
    outside = tmp_path / "mine.png"
    for path in (outside, *(run.path / "pictures" / name for name in ("mine.png", "nodes/mine.jpg", "old-swaps.png"))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    first, second = (run.save_picture(name, b"x") for name in ("nodes/0123456789ab.jpg", "dreams-top.png"))
    with (run.path / "pictures.txt").open("a") as file:
        file.write("pictures/../../mine.png\n/etc/passwd.png\nsettings.json\n")
    run.save_picture("later.png", b"x")
    run.keep_pictures([second])
    left = sorted(path.name for path in (run.path / "pictures").rglob("*.*"))
    assert left == ["dreams-top.png", "mine.jpg", "mine.png"], "one of a run of before is known by its name"
    assert outside.exists()
    assert (run.path / "settings.json").exists()
    assert (run.path / "pictures.txt").read_text() == f"{second}\n" != first


def test_a_run_that_was_killed_before_it_was_one_is_begun_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("environment.json", ".settings.json.7.tmp", "lock", "lock.owner"):
        (folder / name).touch()
    Run.create(folder, {}, {}, {}, "0").close()
    with pytest.raises(DataError, match="holds a run already"):
        Run.check_free(folder)
    (folder / "settings.json").rename(folder / "mine.json")
    with pytest.raises(DataError, match=r"is not empty: environment\.json"):
        Run.check_free(folder)
