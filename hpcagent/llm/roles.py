"""What a language model may be asked to do here, and which of it is in use."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

OPTIMISE, DEBUG, RESULT, CODEGEN = "optimise", "debug", "result", "codegen"

ROLES: Mapping[str, str] = MappingProxyType(
    {
        OPTIMISE: "takes part in the proposals of `hpcagent tune`",
        DEBUG: "says which of the causes found by `hpcagent explain` it takes for the one",
        RESULT: "words the paragraph of a report that tells what came out",
        "manager": "plans the steps of a task",
        CODEGEN: "writes code that is then compiled, tested and measured",
        "report": "words the other parts of a report",
        "review": "looks over what another role wrote",
        "vision": "reads figures; nothing does so yet, and llama.cpp is built without it here",
    }
)
# The others can be configured and are routed, but nothing asks them yet.
USED = (OPTIMISE, DEBUG, RESULT, CODEGEN)
