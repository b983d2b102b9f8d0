"""Which tokens a grammar admits next, by llama.cpp's own matcher.

For answers that no outline describes, since the model decides how many parts they have. Each step
may look at the whole vocabulary; where an outline serves, it is cheaper.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any


class Matcher:
    """Follows an answer through a grammar (GBNF, beginning with the rule root); `close` frees it.

    RuntimeError where llama.cpp cannot read the grammar.
    """

    def __init__(self, llama: Any, grammar: str) -> None:
        import llama_cpp

        self._api = llama_cpp
        vocabulary = llama_cpp.llama_model_get_vocab(llama.model)
        self._count = int(llama_cpp.llama_vocab_n_tokens(vocabulary))
        self._end = int(llama_cpp.llama_vocab_eos(vocabulary))
        self._sampler = llama_cpp.llama_sampler_init_grammar(
            vocabulary, grammar.encode("ascii"), b"root"
        )
        if not self._sampler:
            raise RuntimeError("llama.cpp cannot read the grammar")

    def close(self) -> None:
        self._api.llama_sampler_free(self._sampler)

    def admits(self, token: int) -> bool:
        return len(self._of([token])) > 0

    def all(self) -> Sequence[int]:
        """Every token that may come next."""
        import numpy as np

        return self._of(np.arange(self._count))

    def take(self, token: int) -> None:
        """Go on with a token that is admitted."""
        self._api.llama_sampler_accept(self._sampler, token)

    @property
    def ended(self) -> bool:
        """Whether the answer is whole; nothing may follow then, for a grammar of an object."""
        return self.admits(self._end) if self._end >= 0 else not self.all()

    def _of(self, tokens: Any) -> list[int]:
        """Those of `tokens` that may come next; there may be 256,000 of them."""
        import numpy as np

        rows = np.zeros(len(tokens), dtype=[("id", "i4"), ("logit", "f4"), ("p", "f4")])
        rows["id"] = tokens  # laid out as llama_token_data
        data = ctypes.cast(rows.ctypes.data, self._api.llama_token_data_p)
        array = self._api.llama_token_data_array(data=data, size=len(tokens), selected=-1)
        self._api.llama_sampler_apply(self._sampler, ctypes.byref(array))
        found: list[int] = rows["id"][rows["logit"] == 0.0].tolist()
        return found
