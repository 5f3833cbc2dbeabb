"""docs/ says what the code says: hooks, records, settings, examples, commands, links."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from conceptnet_ml import (
    BaselineContext,
    BasisEvidence,
    MergeEvidence,
    SplitEvidence,
    SwapMeasurement,
    load_plugins,
)
from conceptnet_ml.cli.main import app
from conceptnet_ml.config.sources import known_settings
from conceptnet_ml.data.traps import TrapGround
from conceptnet_ml.drawing.pictures import to_png
from conceptnet_ml.records import KINDS, Record, RunLog

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
OUTSIDE = [DOCS.parent / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PLUGINS_PAGE = (DOCS / "plugins.md").read_text(encoding="utf-8")
COOKBOOK = (DOCS / "cookbook.md").read_text(encoding="utf-8")
EXAMPLES = sorted((DOCS / "examples").glob("*.py"))
HOOKS = {f"conceptnet_{kind}s": record for kind, record in KINDS.items()}
COMMANDS = [
    line.removeprefix("python cli.py ")
    for block in re.findall(r"```sh\n(.*?)```", PLUGINS_PAGE + COOKBOOK, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("python cli.py ")
]


def generate():  # type: ignore[no-untyped-def]
    """docs/generate.py, imported."""
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def section(title: str) -> str:
    """The text below ``### title`` up to the next heading."""
    found = re.search(rf"^### {title}\n(.*?)(?=^##)", PLUGINS_PAGE, re.DOTALL | re.MULTILINE)
    assert found, f"plugins.md has no section '{title}'"
    return found[1]


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_documented_with_its_signature(name: str) -> None:
    assert f"| `{name}() -> list[{HOOKS[name].__name__}]` |" in PLUGINS_PAGE


def test_the_table_has_no_hook_that_is_not_there() -> None:
    assert re.findall(r"^\| `(conceptnet_\w+)\(", PLUGINS_PAGE, re.MULTILINE) == list(HOOKS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_every_record_is_described(kind: str) -> None:
    record = KINDS[kind]
    text = section(record.__name__)
    shared = {field.name for field in dataclasses.fields(Record)}
    signatures = _signatures(record.__doc__ or "")
    for field in dataclasses.fields(record):
        if field.name in shared:
            continue
        if field.type in ("Function", "Function | None"):
            assert field.name in signatures, f"the docstring of {record.__name__} has no signature of {field.name}"
            assert f"`{signatures[field.name]}`" in text
        else:
            assert f"`{field.name}`" in text


def _signatures(docstring: str) -> dict[str, str]:
    """Signatures in double backticks by the function's name, line breaks taken out."""
    quoted = (" ".join(found.split()) for found in re.findall(r"``(.+?)``", docstring, re.DOTALL))
    return {text.partition("(")[0]: text for text in quoted if re.fullmatch(r"\w+\(.*\)( -> .+)?", text)}


def test_every_method_of_a_log_is_documented_with_its_arguments() -> None:
    for name, method in vars(RunLog).items():
        if not name.startswith("_"):
            given = list(inspect.signature(method).parameters)[1:]
            assert f"| `{name}({', '.join(given)})` |" in section("Logger")


@pytest.mark.parametrize(
    ("given", "title"),
    [
        (BasisEvidence, "Discoverer"),
        (MergeEvidence, "Generalizer"),
        (SplitEvidence, "Specializer"),
        (BaselineContext, "Baseline"),
        (TrapGround, "Trap"),
    ],
)
def test_what_a_plugin_is_given_is_described(given: type, title: str) -> None:
    fields = {field.name for field in dataclasses.fields(given)} if dataclasses.is_dataclass(given) else set()
    for name in fields | {name for name in vars(given) if not name.startswith("_")}:
        assert re.search(rf"`{name}[`(]", section(title)), f"{given.__name__}.{name}"


def test_every_figure_that_a_stop_rule_sees_is_in_the_table_with_its_type() -> None:
    rows = [line for line in section("StopRule").splitlines() if line.startswith("| `")]
    for field in dataclasses.fields(SwapMeasurement):
        (row,) = (row for row in rows if f"`{field.name}`" in row.split("|")[1])
        cells = [cell.replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", row)]
        assert f"`{field.type}`" in cells[2]


def test_what_all_records_share_is_described() -> None:
    for field in dataclasses.fields(Record):
        assert re.search(rf"^- `{field.name}`: ", PLUGINS_PAGE, re.MULTILINE)


def test_settings_page_is_up_to_date() -> None:
    page = (DOCS / "settings.md").read_text(encoding="utf-8")
    assert page == generate().settings_page(), "run: python docs/generate.py"
    assert re.findall(r"^\| `([\w.]+)` \|", page, re.MULTILINE) == list(known_settings())


def test_commands_page_is_up_to_date() -> None:
    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert page == generate().commands_page(), "run: python docs/generate.py"


def test_the_list_of_decisions_is_up_to_date() -> None:
    page = (DOCS / "decisions.md").read_text(encoding="utf-8")
    assert page == generate().decisions_page(), "run: python docs/generate.py"


def test_the_site_has_every_page_once() -> None:
    order = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r"^ +- .*?([\w/-]+\.md)$", order, re.MULTILINE)
    there = [page.relative_to(DOCS).as_posix() for page in PAGES]
    assert sorted(listed) == [page for page in sorted(there) if not page.startswith("decisions/")]
    assert "font: false" in order  # nothing is loaded from elsewhere


def programs(name: str = "conceptnet-ml", command: Any = None) -> Iterator[tuple[str, Any]]:
    """Every command of the program by its whole name, without those of installed plugins."""
    command = command or typer.main.get_command(app)
    yield name, command
    for word, below in getattr(command, "commands", {}).items():
        yield from programs(f"{name} {word}", below)


@pytest.mark.parametrize(("name", "command"), [*programs()], ids=lambda one: one if isinstance(one, str) else "")
def test_every_option_of_a_command_is_on_the_page(name: str, command: Any) -> None:
    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {name.removeprefix('conceptnet-ml ')}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    assert found
    where = page if name == "conceptnet-ml" else found[1]  # two of the program's own are told above
    for parameter in command.params:
        for flag in parameter.opts if parameter.param_type_name == "option" else [parameter.metavar]:
            assert f"`{flag}`" in where


def test_the_cookbook_shows_the_examples_as_they_are() -> None:
    for file in EXAMPLES:
        assert f"```python\n{file.read_text(encoding='utf-8')}```\n" in COOKBOOK, "run: python docs/generate.py"
    assert generate().with_examples(COOKBOOK) == COOKBOOK


def test_the_cookbook_has_every_kind() -> None:
    shown = load_plugins(DOCS / "examples", use_entry_points=False)
    for kind in KINDS:
        names = [record.name for record in shown.all(kind) if "examples" in shown.origin(record)]
        assert names
        (row,) = (line for line in COOKBOOK.splitlines() if line.startswith(f"| {kind.replace('_', ' ')} | "))
        assert all(f"[`{name}`](#" in row for name in names)


def test_the_first_plugin_of_the_page_works(tmp_path: Path) -> None:
    source = re.search(r"```python\n(.*?)```", PLUGINS_PAGE, re.DOTALL)
    assert source
    (tmp_path / "gamma.py").write_text(source[1], encoding="utf-8")
    record = load_plugins(tmp_path / "gamma.py", use_entry_points=False).get("representation", "log-pixels")
    images = torch.rand(2, 3, 4, 4).clamp_min(0.01)
    torch.testing.assert_close(record.function("decode")(record.function("encode")(images)), images)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small folder of images, so that a plan is quick."""
    root = tmp_path_factory.mktemp("photos")
    for name in ("car", "poodle"):
        (root / name).mkdir()
        for number in range(12):
            image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
            (root / name / f"{number}.png").write_bytes(to_png(image))
    return root


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_page_is_accepted(
    command: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = re.search(r"```python\n(.*?)```", PLUGINS_PAGE, re.DOTALL)
    assert source
    (tmp_path / "gamma.py").write_text(source[1], encoding="utf-8")
    (tmp_path / "docs").symlink_to(DOCS)
    listed = [f"{file},{file.parent.name},{'test' if file.stem in '34' else 'train'}" for file in photos.rglob("*.png")]
    (tmp_path / "photos.csv").write_text("\n".join(["file,class,part", *listed]), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)
    if words[0] == "learn":
        words += ["--dry-run"] if "--data" in words else ["--data", f"folder:{photos}", "--dry-run"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    named = [word.rpartition("=")[2].split(",")[0] for word in words if word.startswith("plugins.")]
    named += [word for word in words if word.startswith("plugin.")]
    assert all(name in result.output for name in named)


def typed(text: str) -> Iterator[str]:
    """The lines of a page that start the program, without what a shell does with them."""
    for block in re.findall(r"^```(?:bash|sh)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.search(r"(?:^|\s)(?:conceptnet-ml|\S*python cli\.py) (.*)", line)
            if found:
                yield re.split(r" (?:2?>|\||&&|#) ?", f"{found[1]} ")[0].strip()


LINES = sorted({line for page in [*PAGES, *OUTSIDE] for line in typed(page.read_text(encoding="utf-8"))})


@pytest.mark.parametrize("line", LINES)
def test_every_command_of_every_page_has_arguments_that_there_are(line: str) -> None:
    words, command = shlex.split(line), typer.main.get_command(app)
    if words[0] == "runs":  # the cookbook's own
        return
    while getattr(command, "commands", None):
        command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
    try:
        command.make_context(line, words)
    except Exception as error:  # Typer's, which each release names differently
        pytest.fail(error.format_message() if hasattr(error, "format_message") else repr(error))


def anchors(page: Path) -> set[str]:
    """What a link to a heading of the page may say behind #, as GitHub makes it."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    found: Counter[str] = Counter()
    made = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        made.add(f"{slug}-{found[slug]}" if found[slug] else slug)
        found[slug] += 1
    return made


@pytest.mark.parametrize("page", [*PAGES, *OUTSIDE], ids=lambda page: str(page.relative_to(DOCS.parent)))
def test_links_lead_to_pages_and_headings(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]+`(?!\])", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(<?([^)\s>]+)>?\)", text):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), target
        assert page not in PAGES or DOCS in [there, *there.parents], f"{target} is no part of the site of docs/"
        assert not anchor or anchor in anchors(there), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_code_that_is_named_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    outside = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    root = DOCS.parent
    folders = (root / "conceptnet_ml", root / "plugins", root / "benchmarks", root / "tests", DOCS)
    files = {str(path.relative_to(root)) for folder in folders for path in folder.rglob("*.py")}
    for name in re.findall(r"`((?:[\w-]+/)*\w+\.py)`", outside):
        if name not in ("gamma.py", "FILE.py"):
            assert any(file == name or file.endswith(f"/{name}") for file in files), name
    known = known_settings()
    groups = "|".join({name.partition(".")[0] for name in known if "." in name})
    for name in re.findall(rf"`((?:{groups})\.[a-z_]+)`", outside):
        assert name in known or name.endswith((".py", ".md")), name


def test_decisions_are_numbered_and_short() -> None:
    pages = sorted((DOCS / "decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        lines = page.read_text(encoding="utf-8").splitlines()
        assert len(lines) < 40
        for part in ("**Context.**", "**Decision.**", "**Why the others lost.**"):
            assert any(line.startswith(part) for line in lines), f"{page.name}: {part}"
