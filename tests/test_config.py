from __future__ import annotations

from pathlib import Path

import pytest

from hpcagent.catalogue import EVERY_PARTITION, Rate
from hpcagent.config import Settings, load_settings, rates
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


def test_charge_rates_are_the_site_s_own(tmp_path: Path) -> None:
    line = "charge_rates = ['gpu=2.5 per gpu-hour', '* = 0.02 per core-hour']"
    environment, project = layers(tmp_path, site=line)
    environment["HPCAGENT_CHARGE_RATES"] = "'gpu=0 per gpu-hour'"
    found = load_settings(environment, project)
    assert rates(found.charge_rates) == {
        "gpu": Rate(2.5, "gpu-hour"), EVERY_PARTITION: Rate(0.02, "core-hour"),
    }  # fmt: skip
    (project / "hpcagent.toml").write_text(line)
    with pytest.raises(UsageError, match=r"charge_rates.*site's configuration only"):
        load_settings(environment, project)


@pytest.mark.parametrize(
    "lines",
    ["gpu", "gpu=2", "gpu=2 per day", "=2 per gpu-hour", "gpu=-2 per gpu-hour", "gpu=nan per x",
     "gpu=1e9 per node-hour", "gpu=1 per node-hour', 'gpu=2 per node-hour"],
)  # fmt: skip
def test_a_bad_rate_is_named_with_its_file(tmp_path: Path, lines: str) -> None:
    environment, project = layers(tmp_path, site=f"charge_rates = ['{lines}']")
    with pytest.raises(UsageError, match=r"site\.toml: charge_rates: ") as caught:
        load_settings(environment, project)
    assert len(str(caught.value).splitlines()) == 1
