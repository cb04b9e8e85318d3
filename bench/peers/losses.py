"""The options' scores (mean log-probabilities, up to a constant an example) and the cross-entropy over them."""

import torch
import torch.nn.functional as F

from batches import OPTIONS, Batch, lean_batch, published_batch


def published_scores(model, batch: Batch) -> torch.Tensor:
    """[examples, options]. Logits of every position, copied, normalised over the whole vocabulary: as published."""
    logits = model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False).logits
    log_probabilities = F.log_softmax(logits[:, :-1].contiguous(), dim=-1)  # [rows, length - 1, vocabulary]
    targets = batch.ids[:, 1:]
    chosen = log_probabilities.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    from_end = torch.arange(targets.shape[1], 0, -1)
    scored = from_end <= torch.tensor(batch.option_lengths).unsqueeze(-1)
    return ((chosen * scored).sum(-1) / scored.sum(-1)).view(-1, len(OPTIONS))


def lean_scores(model, batch: Batch) -> torch.Tensor:
    """[examples, options]. Right padding lies behind a causal row's last token, so attention needs no mask; only that
    token's hidden state reaches the head; the softmax over the vocabulary cancels between the options."""
    hidden = model.model(input_ids=batch.ids, use_cache=False).last_hidden_state
    last = batch.mask.sum(-1) - 1
    logits = model.lm_head(hidden[torch.arange(len(last)), last])  # [examples, vocabulary]
    return logits[:, batch.option_ids].float()


def loss_of(scores: torch.Tensor, batch: Batch) -> torch.Tensor:
    return F.cross_entropy(scores, batch.labels)


# form -> (batch of rows, scores of a batch)
FORMS = {"published": (published_batch, published_scores), "lean": (lean_batch, lean_scores)}
