"""Where settings come from, and what is said about wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conceptnet_ml.config.settings import DECAYS, RATES, Settings
from conceptnet_ml.config.sources import (
    DEFAULT,
    FLAGS,
    MOVABLE,
    default_folder,
    flatten,
    known_settings,
    resolve_settings,
    resume_settings,
)
from conceptnet_ml.config.values import allowed_values, show_value
from conceptnet_ml.errors import SettingsError


def toml(folder: Path, text: str) -> Path:
    path = folder / "cars.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(*args: object, **keywords: object) -> str:
    with pytest.raises(SettingsError) as caught:
        resolve_settings(*args, **keywords)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_defaults_alone() -> None:
    resolved = resolve_settings()
    assert resolved.settings == Settings()
    assert set(resolved.origins) == set(flatten(Settings())) == set(known_settings())
    assert set(resolved.origins.values()) == {DEFAULT}


def test_later_sources_win_and_origins_say_so(tmp_path: Path) -> None:
    path = toml(tmp_path, "depth = 2\nseed = 5\n[data]\ntrap = 'tint'\nmemory = 1\n[training]\nepochs = 3\n")
    resolved = resolve_settings(
        path, ["seed=6", "training.epochs=4"], {"training.epochs": None, "seed": 7, "data.trap": "wheels"}
    )
    settings = resolved.settings
    assert (settings.depth, settings.seed, settings.training.epochs, settings.data.trap) == (2, 7, 4, "wheels")
    assert settings.data.memory == 1.0
    origins = {name: origin for name, origin in resolved.origins.items() if origin != DEFAULT}
    assert origins == {
        "depth": f"file {path}",
        "data.memory": f"file {path}",
        "training.epochs": "--set",
        "seed": "--seed",
        "data.trap": "--trap",
    }


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("training.epochs=8", "training.epochs", 8),
        (" training.rate = 1e-3 ", "training.rate", 1e-3),
        ("training.flip=no", "training.flip", False),
        ("data.root=none", "data.root", None),
        ("data.root='none'", "data.root", "none"),
        ("data.trap=none", "data.trap", "none"),
        ("data.source=folder:a=b", "data.source", "folder:a=b"),
        ("data.trap=1", "data.trap", "1"),
        ("data.image_size=32", "data.image_size", 32),
        ("data.image_size=64,32", "data.image_size", (64, 32)),
        ("data.image_size=[64, 32]", "data.image_size", (64, 32)),
        ("data.image_size=none", "data.image_size", None),
        ("network.stages=stem, block1", "network.stages", ("stem", "block1")),
        ('network.stages=["stem","block1"]', "network.stages", ("stem", "block1")),
        ("network.stages=none", "network.stages", None),
        ("plugins.controls=", "plugins.controls", ()),
    ],
)
def test_values_given_as_text(text: str, name: str, value: object) -> None:
    assert flatten(resolve_settings(None, [text]).settings)[name] == value


def test_every_default_survives_being_written_and_read_as_text() -> None:
    values = flatten(Settings())
    again = flatten(resolve_settings(None, [f"{name}={show_value(value)}" for name, value in values.items()]).settings)
    assert again == values


@given(st.text(max_size=20))
def test_any_text_for_a_number_is_taken_or_plainly_refused(text: str) -> None:
    try:
        epochs = resolve_settings(None, [f"training.epochs={text}"]).settings.training.epochs
    except SettingsError as error:
        message = str(error)
    else:
        message = f"training.epochs {epochs}"
        assert epochs >= 0
    assert "training.epochs" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trap=wheels", "Did you mean 'data.trap'?"),
        ("training.epoch=3", "Did you mean 'training.epochs'?"),
        ("training.epochs", "has no '='"),
        ("data=3", "'data' is a group of settings"),
        ("training.batch=1", "a whole number, at least 2"),
        ("training.epochs=many", "'many' is not allowed"),
        ("training.epochs=2.5", "a whole number"),
        ("training.precision=int8", "one of auto, fp32, bf16, fp16"),
        ("data.test_share=1.5", "a number, over 0, under 0.9"),
        ("training.rate=nan", "a number, over 0"),
        ("training.flip=perhaps", "true or false"),
        ("data.image_size=7", "a whole number, at least 8, at most 1024 or two of these, as in 64,32 or none"),
        ("data.image_size=64,1025", "'64,1025' is not allowed"),
        ("data.image_size=64,32,16", "two of these"),
        ("data.image_size=64,", "two of these"),
    ],
)
def test_wrong_settings_are_named_with_what_is_allowed(text: str, words: str) -> None:
    message = refused(None, [text])
    assert "--set" in message
    assert words in message
    assert "pydantic" not in message


def test_a_wrong_flag_is_named_as_the_flag() -> None:
    message = refused(None, [], {"depth": "0"})
    assert message.startswith("--depth: '0' is not allowed")
    assert "at least 1" in message


def test_all_wrong_values_are_named_at_once() -> None:
    message = refused(None, ["training.epochs=-1", "data.memory=-1"])
    assert "training.epochs" in message
    assert "data.memory" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("depht = 2", "Did you mean 'depth'?"),
        ("[data]\ntrapp = 'tint'", "'data.trapp'"),
        ("data = 3", "Write it as a table: [data]"),
        ("[depth]\nx = 1", "'1'|depth"),
        ("depth = true", "a whole number"),
        ("depth = 'x'", "a whole number"),
        ("depth = ", "is not TOML"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, text: str, words: str) -> None:
    path = toml(tmp_path, text)
    message = refused(path)
    assert str(path) in message
    assert any(word in message for word in words.split("|"))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "absent.toml")
    assert str(tmp_path) in refused(tmp_path)
    path = tmp_path / "latin.toml"
    path.write_bytes("[data]\nsource = 'Straße'".encode("latin-1"))
    assert "is not TOML" in refused(path)


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "windows.toml"
    path.write_bytes(b"\xef\xbb\xbfdepth = 3\r\n")
    assert resolve_settings(path).settings.depth == 3


def test_every_setting_can_be_described() -> None:
    for name, info in known_settings().items():
        assert info.description, name
        assert not any(sign in allowed_values(info) for sign in "<[("), name


def test_flags_and_movable_settings_exist() -> None:
    assert {*FLAGS, *MOVABLE} <= set(known_settings())


class TestResume:
    stored = resolve_settings(None, [], {"depth": 2, "data.trap": "wheels", "device": "cuda"})

    def go_on(self, *assignments: str, **flags: object) -> tuple[Settings, dict[str, str]]:
        dotted = {name.replace("__", "."): value for name, value in flags.items()}
        resolved = resume_settings(self.stored.settings, self.stored.origins, None, assignments, dotted)
        return resolved.settings, resolved.origins

    def test_keeps_the_runs_settings_and_origins(self) -> None:
        settings, origins = self.go_on()
        assert settings == self.stored.settings
        assert origins == self.stored.origins

    def test_the_same_value_again_is_no_contradiction(self) -> None:
        settings, origins = self.go_on("depth=2", data__trap="wheels")
        assert settings == self.stored.settings
        assert origins == self.stored.origins

    def test_another_value_is_refused_with_both(self) -> None:
        with pytest.raises(
            SettingsError, match=r"depth: the run has 2, --depth says 3.*trap: .*wheels, --set says none"
        ):
            self.go_on("data.trap=none", depth=3)

    def test_a_default_given_outright_contradicts_too(self) -> None:
        with pytest.raises(SettingsError, match="depth: the run has 2"):
            self.go_on(depth="1")

    def test_the_place_of_work_may_change(self) -> None:
        settings, origins = self.go_on(device="cpu")
        assert settings.device == "cpu"
        assert origins["device"] == "--device"
        assert settings.depth == 2

    def test_wrong_values_are_still_wrong(self) -> None:
        with pytest.raises(SettingsError, match="no setting"):
            self.go_on("nothing=1")


@pytest.mark.parametrize(
    ("source", "trap", "start"),
    [
        ("cars-and-poodles", "none", "cars-and-poodles-2"),
        ("cars-and-poodles", "wheels+tint", "cars-and-poodles-wheels+tint-2"),
        ("folder:/some where/my cars/", "none", "my-cars-2"),
        ("folder:photos", "tint", "folder-photos-tint-2"),
        ("torchvision:CIFAR10", "none", "torchvision-CIFAR10-2"),
    ],
)
def test_a_run_folder_is_named_after_its_data(source: str, trap: str, start: str) -> None:
    folder = default_folder(resolve_settings(None, [], {"data.source": source, "data.trap": trap}).settings)
    assert folder.parent == Path("runs")
    assert folder.name.startswith(start)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("given", ["network.weights=mine.pt", "network.pretrained=true"])
def test_trained_weights_are_gone_on_with_gently(given: str, optimizer: str) -> None:
    fresh, fine = RATES[optimizer]
    chosen = f"training.optimizer={optimizer}"
    plain = resolve_settings(None, [chosen]).settings.training
    assert (plain.rate, plain.warm_rate, plain.weight_decay) == (fresh, fresh, DECAYS[optimizer])
    gentle = resolve_settings(None, [given, chosen]).settings
    assert gentle.training.rate == gentle.training.warm_rate == fine
    mixed = resolve_settings(None, [given, chosen, "training.rate=0.05", "training.weight_decay=0"]).settings.training
    assert (mixed.rate, mixed.warm_rate, mixed.weight_decay) == (0.05, fine, 0)
    stored = gentle.model_dump(mode="json") | {"training": Settings().training.model_dump(mode="json")}
    assert Settings.of_run(stored).training.rate == RATES["sgd"][0], "a run of before goes on at its own rates"


def test_a_run_of_an_older_version_does_not_begin_to_do_what_that_version_did_not() -> None:
    stored = Settings().model_dump(mode="json")
    assert Settings.of_run(stored) == Settings()
    for name in ("purify", "again", "outside", "fills", "rest"):
        del stored["round"][name]
    assert Settings.of_run(stored).round.purify == Settings.of_run(stored).round.again == 0
    assert not Settings.of_run(stored).round.outside
    assert (Settings.of_run(stored).round.fills, Settings.of_run(stored).round.rest) == (1.0, 0.2)
    assert Settings().round.purify > 0 < Settings().round.again
    del stored["plugins"]["stop_rule"]
    assert Settings.of_run(stored).plugins.stop_rule == "interchangeable"
    stored["round"]["alone"] = 0.84  # asked until readers were (docs/decisions/0073-no-harm.md)
    assert Settings.of_run(stored).round.purify == 0
