"""Log-probabilities after a prompt as PEFT computes them: python peft_logits.py MODEL ADAPTER '[ids]' COUNT

Prints a JSON object: the likeliest tokens, one after the other, and the whole vocabulary's log-probabilities at each.
"""

import json
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

folder, adapter, prompt, count = sys.argv[1:5]
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
model = PeftModel.from_pretrained(model, adapter).eval()
ids, tokens, rows = json.loads(prompt), [], []
with torch.inference_mode():
    for _ in range(int(count)):
        row = model(torch.tensor([ids + tokens])).logits[0, -1].double().log_softmax(-1)
        rows.append(row.tolist())
        tokens.append(int(row.argmax()))
print(json.dumps({"tokens": tokens, "rows": rows}))
