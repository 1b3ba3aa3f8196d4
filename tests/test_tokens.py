"""What stands in front of a text: one rule, which every paper asks for."""

from __future__ import annotations

import pytest
from conftest import REFERENCE
from test_loading import copy_of
from tokenizers import Tokenizer as Backend
from tokenizers.processors import TemplateProcessing

from interp_core.papers import logit_lens
from interp_core.papers.causal_tracing import Params as Tracing
from interp_core.papers.causal_tracing.compute.subject import locate
from interp_core.papers.induction_heads import AttentionParams, ContextParams
from interp_core.papers.induction_heads import Params as Induction
from interp_core.papers.induction_heads.compute import passages, pattern, repeats
from interp_core.papers.logit_lens.compute import encode
from interp_core.tokens import Tokenizer

PLAIN = Tokenizer(REFERENCE / "llama")
"""BOS is <|endoftext|>, 0, which the tokenizer itself does not add."""


@pytest.fixture
def llama_like(tmp_path) -> Tokenizer:
    """A tokenizer that begins each text with <|im_start|>, 1, and ends it with <|im_end|>."""
    folder = copy_of("llama", tmp_path / "model")
    backend = Backend.from_file(str(folder / "tokenizer.json"))
    ends = [("<|im_start|>", 1), ("<|im_end|>", 2)]
    backend.post_processor = TemplateProcessing("<|im_start|> $A <|im_end|>", None, ends)
    backend.save(str(folder / "tokenizer.json"))
    return Tokenizer(folder)


FRONTS = [
    (False, "bos", [], []),
    ("none", "document", [], []),
    (True, "tokenizer", [0], [0]),
    ("<|im_end|>", "document", [2], [2]),
    ("auto", "tokenizer", [], [1]),
    ("auto", "bos", [0], [0]),
    ("auto", "document", [0], [0]),
]


@pytest.mark.parametrize(("choice", "auto", "plain", "templated"), FRONTS)
def test_the_rule(choice, auto, plain, templated, llama_like):
    assert PLAIN.front(choice, auto) == plain
    assert llama_like.front(choice, auto) == templated


def test_a_front_is_never_doubled_and_nothing_follows_a_text(llama_like):
    ids = PLAIN.encode("the cat")
    assert llama_like.encode("the cat") == [1, *ids]
    assert llama_like.encode("<|im_start|>the cat") == [1, *ids]
    assert llama_like.prompt("the cat", chat=True)[:2] != [1, 1]
    assert llama_like.encode("the cat", bos=True) == [0, *ids]
    assert llama_like.encode("the cat", bos=False) == ids


def test_tokens_that_are_not_there_are_named(monkeypatch):
    with pytest.raises(ValueError, match=r"start: 'cat' is not accepted; accepted: auto, none, <"):
        PLAIN.front("cat", "document")
    monkeypatch.setattr(PLAIN, "bos_id", None)
    with pytest.raises(ValueError, match="bos: this model's tokenizer has no BOS token"):
        PLAIN.front(True, "bos")
    assert PLAIN.front("auto", "bos") == [] and PLAIN.front("auto", "document") == [0]


def test_every_paper_asks_for_the_rule(tiny, monkeypatch):
    model = tiny("llama")
    asked = []
    monkeypatch.setattr(Tokenizer, "front", lambda _, choice, auto: asked.append(auto) or [5])
    assert encode(model, logit_lens.Params(prompt="the cat"))[0] == 5
    assert locate(model, Tracing(prompt="the cat", subject="cat")).ids[0] == 5
    assert repeats.draw(model, Induction(tokens=4, repeats=2, seeds=1)).tokens[0, 0] == 5
    assert passages.draw(model, ContextParams(context=32, texts=2))[0, 0] == 5
    assert pattern.tokens(model.tokenizer, AttentionParams(text="the cat the cat"))[0] == 5
    assert {"tokenizer", "document", "bos"} <= set(asked)
