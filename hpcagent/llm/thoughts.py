"""What a model wrote in front of its answer, between <think> and </think>."""

from __future__ import annotations

BEGIN, END = "<think>", "</think>"


def parted(text: str) -> tuple[str, str]:
    """(thoughts, answer): a chat template may have begun the thoughts already, and an answer that
    was cut off may have none but these.

    >>> parted("so </think> yes")
    ('so', 'yes')
    >>> parted("yes")
    ('', 'yes')
    """
    before, end, after = text.rpartition(END)
    if end:
        return before.strip().removeprefix(BEGIN).strip(), after.strip()
    if text.lstrip().startswith(BEGIN):
        return text.strip().removeprefix(BEGIN).strip(), ""
    return "", text
