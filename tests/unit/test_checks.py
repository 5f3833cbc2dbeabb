"""What is refused before an image is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from conceptnet_ml.checks import Session, check_plan, check_settings
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.config.sources import resolve_settings
from conceptnet_ml.errors import ConceptNetError, DataError, SettingsError
from conceptnet_ml.plugins import Plugins, load_plugins

PLUGINS = load_plugins(use_entry_points=False)


@pytest.mark.parametrize(
    ("data", "words", "mend"),
    [
        ({"target": "{}"}, "data.target: {} holds no pictures", "folder of pictures"),
        ({"target": "{}/absent"}, "data.target: {}/absent: no such folder", "folder of pictures"),
        ({"trap": "stripes", "classes": ("a", "b", "c")}, "trap 'stripes' needs 2 classes, data.classes has 3", "2"),
        ({"exceptions": 0.1}, "data.exceptions is 0.1, but there is no trap", "data.trap"),
        ({"trap": "tint:red"}, "trap 'tint' takes no argument 'red'", "--trap tint"),
    ],
)
def test_settings_that_cannot_be_met(
    tmp_path: Path, data: dict[str, object], words: str, mend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conceptnet_ml.checks.load_data", lambda *_: pytest.fail("images were read"))
    filled = {key: value.format(tmp_path) if isinstance(value, str) else value for key, value in data.items()}
    settings = Settings.model_validate({"data": filled})
    for check in (lambda: check_settings(settings, PLUGINS), lambda: check_plan(settings, Session(PLUGINS))):
        with pytest.raises((DataError, SettingsError)) as caught:
            check()
        assert isinstance(caught.value, ConceptNetError)
        assert words.format(tmp_path) in caught.value.message
        assert mend in caught.value.mend


def test_a_rule_that_is_not_there_and_none_at_all() -> None:
    settings = Settings.model_validate({"plugins": {"stop_rule": "interchangable"}})
    with pytest.raises(SettingsError, match="There is no stop_rule named 'interchangable'") as caught:
        check_settings(settings, PLUGINS)
    assert caught.value.mend == "Did you mean 'interchangeable'? Known: interchangeable."
    # A checkout that was updated knows a kind whose entry point is not installed.
    with pytest.raises(SettingsError) as caught:
        Plugins().get("stop_rule", "interchangeable")
    assert "pip install -e ." in caught.value.mend


def test_exceptions_are_no_more_than_a_half() -> None:
    with pytest.raises(SettingsError, match=r"data.exceptions: '0.6' is not allowed.* at most 0.5"):
        resolve_settings(assignments=["data.trap=tint", "data.exceptions=0.6"])
    assert resolve_settings(assignments=["data.exceptions=0.5"]).settings.data.exceptions == 0.5
