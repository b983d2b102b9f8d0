"""A plugin is one file: its name is the file's name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hpcagent import plugins
from hpcagent.errors import UsageError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = "plugin_sample"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "good.py").write_text("def entry():\n    return 42\n")
    (folder / "better.py").write_text("class entry:\n    pass\n")
    (folder / "heavy.py").write_text("raise RuntimeError\n\ndef entry():\n    pass\n")
    (folder / "helper.py").write_text("def other():\n    def entry():\n        pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def test_plugins_are_listed_without_being_imported(package: str) -> None:
    assert plugins.names(package, "entry") == ("better", "good", "heavy")
    assert f"{package}.good" not in sys.modules


def test_a_plugin_is_loaded_by_its_name(package: str) -> None:
    assert plugins.load(package, "good", "entry").entry() == 42


@pytest.mark.parametrize("name", ["helper", "", "goood", "os", "..good", "good.entry", "a\nb"])
def test_an_unknown_plugin_names_the_choices(package: str, name: str) -> None:
    with pytest.raises(UsageError, match="better, good, heavy") as caught:
        plugins.load(package, name, "entry")
    assert "\n" not in str(caught.value)


def test_the_local_scheduler_is_a_plugin() -> None:
    found = plugins.names("hpcagent.schedulers", "scheduler")
    assert "local" in found
    assert "local_executor" not in found
