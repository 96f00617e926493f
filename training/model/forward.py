"""A causal language model's forward pass as training wants it: packed documents in, one loss out.

`install` puts it on a model that transformers loaded. With `documents` it runs the layers over them and the head on the
learned positions only; called in any other way the model does what it always did.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch

from training.data.packing import Documents
from training.errors import BadInputError
from training.model import attention, rotary, trial
from training.model.head import head_loss

SCALED_LOGITS = ("final_logit_softcapping", "logits_scaling", "logit_scale")  # heads that are more than a matrix


def install(model: Any) -> Any:
    """Teach a loaded model the training call; returns the model. Raises BadInputError for a head that is not linear."""
    attention.register()
    if getattr(model, "_snowcat_forward", False):
        return model
    scaled = [name for name in SCALED_LOGITS if getattr(model.config, name, None) not in (None, 1.0)]
    if scaled:
        raise BadInputError(f"models of type {model.config.model_type} scale their logits ({scaled[0]}), which training does not do")
    plain, head = model.forward, model.get_output_embeddings()
    by_document = rotary.install(model.get_decoder())
    plain_head = head.forward

    @wraps(plain_head)
    def head_forward(hidden: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
        # inside the head's own call, because ZeRO-3 brings a module's weights together for the time of its call
        logits_or_loss: torch.Tensor = plain_head(hidden) if targets is None else head_loss(head, hidden, targets)
        return logits_or_loss

    def states(documents: Documents, *args: Any, **kwargs: Any) -> torch.Tensor:
        known = attention.arguments(model.config._attn_implementation, documents)
        with rotary.one_by_one(by_document, documents.lengths):
            # no cache: it is waste here, and with one transformers' own attention lets packed documents see each other
            found = model.get_decoder()(*args, position_ids=documents.positions, use_cache=False, **known, **kwargs)
        hidden: torch.Tensor = found.last_hidden_state
        return hidden

    def plain_states(ids: torch.Tensor) -> torch.Tensor:
        with attention.plain(model.config):
            hidden: torch.Tensor = model.get_decoder()(ids, use_cache=False).last_hidden_state
            return hidden

    @wraps(plain)
    def forward(*args: Any, documents: Documents | None = None, keep: Any = None, targets: Any = None, **kwargs: Any) -> Any:
        if documents is None:
            with attention.plain(model.config):
                return plain(*args, **kwargs)
        hidden = states(documents, *args, **kwargs)
        current = model.get_output_embeddings()
        if current is head:
            return current(hidden[0, keep], targets=targets)
        return head_loss(current, hidden[0, keep], targets)  # PEFT has put an adapter around the head

    trial.check(model, states, plain_states)
    model.forward, head.forward, model._snowcat_forward = forward, head_forward, True
    return model
