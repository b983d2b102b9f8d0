"""Models of roles: opened when asked, shared where they are the same, closed with all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter
from openai_server import Server, serving
from tiny_gguf import make_tiny_gguf

from hpcagent.errors import EnvironmentProblem, UsageError
from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.llm.log import Call
from hpcagent.llm.routing import Models, Route, check, open_file, routes
from hpcagent.llm.tables import ModelChoice, from_table
from hpcagent.records import Limits, Message

ASK = (Message("user", "Well?"),)
SCHEMA = {"type": "object", "properties": {"a": {"enum": ["x", "y", "z", "w"]}}}
HERE = ("localhost",)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_gguf(tmp_path_factory.mktemp("routed") / "tiny.gguf")


def counted(opened: list[ModelChoice]) -> object:
    def make(choice: ModelChoice) -> LlamaCpp:
        opened.append(choice)
        return open_file(choice)

    return make


@pytest.mark.llama
def test_roles_on_one_file_share_one_process_each_with_its_own_sampling(tiny: Path) -> None:
    tables = {
        "all": ModelChoice(file=str(tiny)),
        "debug": ModelChoice(temperature=0.0),
        "vision": ModelChoice(file=str(tiny), context=512),
    }
    opened: list[ModelChoice] = []
    models = Models(routes(tables, dict.fromkeys(tables, "test")), HERE, counted(opened))  # type: ignore[arg-type]
    assert opened == []
    limits = Limits(20, 60)
    calls: list[Call] = []
    try:
        cool, usual = (
            models.recorded("debug", calls.append),
            models.recorded("optimise", calls.append),
        )
        assert cool is not None and usual is not None and len(opened) == 1
        firm = {cool.complete(ASK, SCHEMA, limits, seed).text for seed in range(6)}
        loose = {usual.complete(ASK, SCHEMA, limits, seed).text for seed in range(6)}
        assert len(firm) == 1 and len(loose) > 1
        assert models.for_role("vision") is not None and len(opened) == 2
        models.unload()
        assert usual.complete(ASK, SCHEMA, limits, 0).failure is None, "loaded again when asked"
    finally:
        models.close()
    assert {call.role for call in calls} == {"debug", "optimise"}
    assert len({call.model_sha256 for call in calls}) == 1


def test_a_role_may_have_more_time_for_its_answers(tiny: Path) -> None:
    tables = {
        "all": from_table("all", {"file": str(tiny), "answer_seconds": 600}, "f"),
        "debug": from_table("debug", {"answer_seconds": 1200}, "f"),
    }
    models = Models(routes(tables, {}), HERE)
    assert [models.answer_s(role, 300.0) for role in ("debug", "result")] == [1200.0, 600.0]
    assert Models({}, HERE).answer_s("debug", 300.0) == 300.0
    with pytest.raises(
        UsageError, match=r"f: \[models.debug\]: answer_seconds = 0 is out of range"
    ):
        from_table("debug", {"answer_seconds": 0}, "f")


def test_a_role_without_a_model_has_none_and_says_so() -> None:
    models = Models({}, HERE)
    assert models.for_role("debug") is None and not models.has("debug")
    assert models.why("debug") == "none: explain does without"
    assert (models.label("debug"), models.device("debug")) == ("", "")
    assert not models.computes_here("debug")


def test_what_cannot_serve_is_told_without_asking_anybody(tmp_path: Path) -> None:
    def route(**said: object) -> Route:
        return Route("debug", ModelChoice(**said), "test")  # type: ignore[arg-type]

    with pytest.raises(EnvironmentProblem, match="no such file"):
        check(route(file=str(tmp_path / "none.gguf")), HERE)
    with pytest.raises(UsageError, match="model_hosts"):
        check(route(endpoint="http://192.0.2.1/v1"), HERE)
    with pytest.raises(UsageError, match="control characters"):
        check(route(file="a\nb"), HERE)
    check(route(endpoint="unix:/nobody/is/asked"), HERE)


def test_a_projector_is_one_and_belongs_to_a_file(tiny: Path, tmp_path: Path) -> None:
    """Nothing reads images yet; what is configured for it is still the right kind of file."""
    projector = tmp_path / "mmproj.gguf"
    writer = GGUFWriter(projector, "clip")
    writer.add_tensor("v.patch_embd.weight", np.zeros((4, 4), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    def route(**said: str) -> Route:
        found = {"vision": ModelChoice(**said)}  # type: ignore[arg-type]
        return routes(found, {"vision": "[models.vision]"})["vision"]

    check(route(file=str(tiny), mmproj=str(projector)), HERE)
    for said, words in (
        ({"file": str(tiny), "mmproj": str(tiny)}, "mmproj .*: not a projector .*: language model"),
        ({"file": str(projector)}, "not a language model but a projector"),
        ({"mmproj": str(projector)}, "no file is named"),
        ({"endpoint": "http://localhost/v1", "mmproj": str(projector)}, "belongs to a file"),
    ):
        with pytest.raises((UsageError, EnvironmentProblem), match=words) as problem:
            check(route(**said), HERE)
        assert "\n" not in str(problem.value)


def test_what_is_known_of_a_served_model_is_its_identity() -> None:
    with serving(Server(lambda *asked: "")) as server:
        choice = ModelChoice(endpoint=server.url)
        rows = {"debug": Route("debug", choice, "test").to_json()}
        models = Models.from_json(rows, HERE)
        assert models.identity("debug")["name"] == "tiny"
        assert len(models.digest("debug")) == 64 and models.computes_here("debug")
        assert models.why("debug") == f"{server.url} (test)"
