from __future__ import annotations

from pathlib import Path

import pytest

from hpcagent.config import Settings, load_settings
from hpcagent.errors import UsageError


def layers(tmp_path: Path, **texts: str) -> tuple[dict[str, str], Path]:
    """An environment and a project folder with the given site, user and project files."""
    project = tmp_path / "project"
    project.mkdir()
    user = tmp_path / "home" / ".config" / "hpcagent"
    user.mkdir(parents=True)
    environment = {"HOME": str(tmp_path / "home")}
    if "site" in texts:
        (tmp_path / "site.toml").write_text(texts["site"])
        environment["HPCAGENT_SITE_CONFIG"] = str(tmp_path / "site.toml")
    if "user" in texts:
        (user / "config.toml").write_text(texts["user"])
    if "project" in texts:
        (project / "hpcagent.toml").write_text(texts["project"])
    return environment, project


def test_later_layers_win_and_sources_are_told(tmp_path: Path) -> None:
    environment, project = layers(
        tmp_path, site="rounds = 2\nchallengers = 2\nruns = 's'", user="rounds = 3\nruns = 'u'",
        project="runs = 'p'",
    )  # fmt: skip
    environment["HPCAGENT_MODEL"] = "m.gguf"
    settings = load_settings(environment, project)
    assert (settings.rounds, settings.challengers, settings.runs) == (3, 2, "p")
    assert settings.model == "m.gguf"
    assert settings.sources["runs"].endswith("project/hpcagent.toml")
    assert settings.sources["model"] == "HPCAGENT_MODEL"


def test_nothing_configured_gives_the_defaults(tmp_path: Path) -> None:
    environment, project = layers(tmp_path)
    assert load_settings(environment, project) == Settings()


def test_site_only_keys_are_refused_elsewhere(tmp_path: Path) -> None:
    environment, project = layers(
        tmp_path, site="max_core_hours = 4\nprologue = ['module load gcc']"
    )
    settings = load_settings(environment, project)
    assert settings.max_core_hours == 4.0
    assert settings.prologue == ("module load gcc",)
    (project / "hpcagent.toml").write_text("max_core_hours = 400")
    with pytest.raises(UsageError, match=r"hpcagent\.toml.*site's configuration only"):
        load_settings(environment, project)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("roundz = 3", "unknown key 'roundz'"),
        ("rounds = 'many'", "must be of type int"),
        ("rounds = true", "must be of type int"),
        ("rounds = -1", "out of range"),
        ("core_hours = nan", "out of range"),
        ("rounds = ", "not valid TOML"),
    ],
)
def test_a_bad_file_is_named_with_its_key(tmp_path: Path, text: str, words: str) -> None:
    environment, project = layers(tmp_path, project=text)
    with pytest.raises(UsageError, match=words) as caught:
        load_settings(environment, project)
    assert "hpcagent.toml" in str(caught.value)


def test_bad_bytes_and_a_missing_site_file(tmp_path: Path) -> None:
    environment, project = layers(tmp_path)
    (project / "hpcagent.toml").write_bytes(b"runs = '\xff'")
    with pytest.raises(UsageError, match="not UTF-8"):
        load_settings(environment, project)
    environment["HPCAGENT_SITE_CONFIG"] = str(tmp_path / "nowhere.toml")
    with pytest.raises(UsageError, match=r"nowhere\.toml"):
        load_settings(environment, project)


def test_a_bad_environment_variable_is_named(tmp_path: Path) -> None:
    environment, project = layers(tmp_path)
    environment["HPCAGENT_ROUNDS"] = "six"
    with pytest.raises(UsageError, match="HPCAGENT_ROUNDS: 'six' is not a number"):
        load_settings(environment, project)
