from __future__ import annotations

from pathlib import Path

import pytest

from hpcagent.catalogue import EVERY_PARTITION, Rate
from hpcagent.config import Settings, load_settings, model_routes, rates
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
        ("roundz = 3", "unknown key 'roundz'; did you mean 'rounds'?"),
        ("xyzzy = 3", "unknown key 'xyzzy'; known: account, "),
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


# --- which model serves which role ---------------------------------------------------------------


def why(environment: dict[str, str], project: Path, flag: str | None = None) -> dict[str, str]:
    routes = model_routes(load_settings(environment, project), flag)
    return {role: route.why for role, route in routes.items()}


def test_no_model_serves_no_role(tmp_path: Path) -> None:
    found = why(*layers(tmp_path))
    assert found["optimise"] == "none: the search does without"
    assert set(found.values()) == {
        f"none: {who} does without"
        for who in ("the search", "explain", "the report", "codegen with --candidates", "hpcagent")
    }


def test_a_table_is_for_its_role_and_the_flat_model_for_the_others(tmp_path: Path) -> None:
    environment, project = layers(
        tmp_path,
        user="model = '/m/user.gguf'",
        project="[models.codegen]\nendpoint = 'http://localhost:11434#llama'\ntop_k = 5\n"
        "[models.debug]\ntemperature = 0\n",
    )
    found = why(environment, project)
    assert found["optimise"] == f"/m/user.gguf ({tmp_path}/home/.config/hpcagent/config.toml)"
    assert found["debug"].startswith("/m/user.gguf (") and "[models.debug]" in found["debug"]
    assert found["codegen"].startswith("http://localhost:11434#llama (")
    routes = model_routes(load_settings(environment, project))
    assert routes["debug"].choice.temperature == 0.0
    assert (routes["codegen"].choice.name, routes["codegen"].choice.top_k) == ("llama", 5)
    environment["HPCAGENT_MODEL_VISION"] = "/m/eyes.gguf"
    assert why(environment, project)["vision"] == "/m/eyes.gguf (HPCAGENT_MODEL_VISION)"


def test_what_is_said_later_of_all_roles_replaces_earlier_tables(tmp_path: Path) -> None:
    environment, project = layers(
        tmp_path, site="[models.debug]\nfile = '/m/site.gguf'", project="[models.all]\nseed = 3"
    )
    assert why(environment, project)["debug"].startswith("/m/site.gguf (")
    (project / "hpcagent.toml").write_text(
        "[models.codegen]\nseed = 3\n[models.all]\nfile = '/m/all.gguf'\n"
    )
    told = why(environment, project)
    assert told["debug"] == f"/m/all.gguf ({project}/hpcagent.toml [models.all])"
    source = f"{project}/hpcagent.toml [models.all], with [models.codegen]"
    assert told["codegen"] == f"/m/all.gguf ({source})"
    environment["HPCAGENT_MODEL"] = "/m/env.gguf"
    assert set(why(environment, project).values()) == {"/m/env.gguf (HPCAGENT_MODEL)"}
    assert set(why(environment, project, "/m/x.gguf").values()) == {"/m/x.gguf (--model)"}
    assert why(environment, project, "")["debug"] == "none: explain does without"
    environment["HPCAGENT_MODEL_DEBUG"] = "unix:/run/llm"
    assert why(environment, project)["debug"] == "unix:/run/llm (HPCAGENT_MODEL_DEBUG)"


def test_a_table_without_a_model_is_told(tmp_path: Path) -> None:
    environment, project = layers(tmp_path, project="[models.debug]\ntemperature = 0.1")
    told = why(environment, project)["debug"]
    assert "[models.debug] names neither file nor endpoint): explain does without" in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("models = 3", "models: write tables such as"),
        ("[models]\ndebug = 'x.gguf'", r"\[models.debug\]: must be a table"),
        ("[models.coder]\nfile = 'x'", r"\[models.coder\]: there is no such role; roles: all, opt"),
        ("[models.debug]\nfiles = 'x'", r"\[models.debug\]: unknown key 'files'; known: file, end"),
        ("[models.debug]\nfile = 3", "file must be a text, not 3"),
        ('[models.debug]\nfile = "a\\nb"', "file has control characters"),
        ("[models.debug]\nfile = 'a'\nendpoint = 'unix:/s'", "exclude each other"),
        ("[models.debug]\nfile = 'http://h/v1'", "is an address: write endpoint"),
        ("[models.debug]\nendpoint = 'host:80'", r"endpoint 'host:80': write http://HOST"),
        ("[models.debug]\nendpoint = 'http://u:p@h/v1'", "no user or password in a URL"),
        ("[models.debug]\nfile = 'a'\napi_key_file = 'k'", "belongs to an endpoint"),
        ("[models.debug]\ntemperature = 'hot'", "temperature must be a number, not 'hot'"),
        ("[models.debug]\ntemperature = -1", "temperature = -1 is out of range: 0 to 5"),
        ("[models.debug]\ntemperature = nan", "temperature must be a number"),
        ("[models.debug]\ntop_p = 1.5", "out of range"),
        ("[models.debug]\ntop_k = 1.5", "top_k must be a whole number"),
        ("[models.debug]\ncontext = true", "context must be a whole number"),
        ("[models.debug]\ncontext = 0", "context = 0 is out of range"),
        ("[models.debug]\napi_key = 'secret'", "unknown key 'api_key'"),
        ("model = 'a'\n[models.all]\nfile = 'b'", "name a model each: keep one"),
        ("model = 'http://host:port/v1'", "model endpoint 'http://host:port/v1'"),
        ("model_hosts = ['localhost']", "site's configuration only"),
    ],
)
def test_a_bad_table_is_named_with_its_file_and_key(tmp_path: Path, text: str, words: str) -> None:
    environment, project = layers(tmp_path, project=text)
    with pytest.raises(UsageError, match=words) as caught:
        load_settings(environment, project)
    assert str(caught.value).startswith(str(project / "hpcagent.toml"))
    assert len(str(caught.value).splitlines()) == 1


def test_a_name_laid_over_a_file_is_refused(tmp_path: Path) -> None:
    environment, project = layers(
        tmp_path, user="model = 'a.gguf'", project="[models.debug]\nname = 'x'"
    )
    with pytest.raises(UsageError, match=r"\[models.debug\].*belongs to an endpoint"):
        why(environment, project)


def test_the_site_says_which_hosts_may_be_asked(tmp_path: Path) -> None:
    environment, project = layers(tmp_path, site="model_hosts = ['gpu01', '10.0.0.0/8']")
    environment["HPCAGENT_MODEL_HOSTS"] = "everywhere"
    assert load_settings(environment, project).model_hosts == ("gpu01", "10.0.0.0/8")
    (tmp_path / "site.toml").write_text("model_hosts = ['http://gpu01']")
    with pytest.raises(UsageError, match=r"site.toml: model_hosts: 'http://gpu01'"):
        load_settings(environment, project)
