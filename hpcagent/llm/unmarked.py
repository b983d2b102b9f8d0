"""Texts for a server, without what it might take for the marks of roles.

Servers make control tokens of their names in a message (llama-server, vLLM and others read the
whole prompt so), and which names the model has is not known here. What has the shape of one in the
model families of today gets a space, which neither a log nor a program in C minds.
"""

from __future__ import annotations

import re

_WORDS = (
    "s|bos|eos|think|tool_call|tool_response|start_of_turn|end_of_turn|role|seed:\\w{1,20}"
    "|(?:extra_id|SPECIAL|reserved|unused)_\\d{1,4}|_(?:system|user|bot|end)"
)
_INSTRUCTION = "INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|THINK|BOS|EOS"
_MARK = re.compile(
    r"<(?=\|[\w.:-]{1,40}\|?>|[\w.:-]{1,40}\|>"  # <|im_end|>, <|turn>, <turn|>
    "|\uff5c[^\uff5c<>]{1,60}\uff5c>"  # the same with wide bars
    rf"|/?(?:{_WORDS})>|</?SYS>>)"
    rf"|\[(?=/?(?:{_INSTRUCTION})\]|\|[\w.:-]{{1,40}}\|\])"  # [INST], [|system|]
)


def unmarked(text: str) -> str:
    return _MARK.sub(lambda found: f"{found[0]} ", text)
