"""Write a lens of the paper's authors, and what their package reads through it.

``python make_tuned_lens.py``, with tuned-lens 0.2, torch 2.13 and transformers, beside the folder ``llama``. It
writes ``lenses/llama/config.json`` and ``params.pt`` (random numbers), and ``expected.npz``: ``states``
[layer, row, d_model], inputs of each block, and ``logits`` [layer, row, d_vocab].
"""

from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM
from tuned_lens import TunedLens

HERE = Path(__file__).parent

torch.manual_seed(0)
model = AutoModelForCausalLM.from_pretrained(HERE / "llama", dtype=torch.float32)
lens = TunedLens.from_model(model)
with torch.no_grad():
    for parameter in lens.layer_translators.parameters():
        parameter.normal_(0, 0.2)
lens.config.base_model_name_or_path = "llama"
folder = HERE / "lenses" / "llama"
lens.save(folder)
states = torch.randn(len(lens), 5, model.config.hidden_size)
with torch.no_grad():
    logits = torch.stack([lens(state, i) for i, state in enumerate(states)])
np.savez(folder / "expected.npz", states=states.numpy(), logits=logits.numpy())
