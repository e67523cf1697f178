"""Vectors of twenty texts by an independent implementation, for test_minilm.py.

    python -m tests.minilm_reference FOLDER

FOLDER holds the published model.safetensors and tokenizer.json. The command needs
`transformers` and PyTorch, computes in float64, and writes minilm_reference.npz beside
this file. Nothing here imports this project.
"""

import sys
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_suffix(".npz")
MAX_LENGTH = 256  # tokens, as sentence_bert_config.json of the published model says
TEXTS = (
    "",
    "   \t\n ",
    "?",
    "What is my balance?",
    "please transfer ten dollars from checking to savings",
    "I still have not received my new card, I ordered over a week ago.",
    "Wie lange dauert die Überweisung nach Österreich? Größe: 3 µm",
    "ÉCOLE naïve façade — “quotes” … €20",
    "كيف يمكنني إلغاء بطاقتي؟",
    "איך אני מבטל את הכרטיס שלי?",
    "我想取消我的卡。",
    "カードをキャンセルしたいです",
    "🙂🙃 love it 👩‍👩‍👧‍👦 🇨🇭",
    "zero\u200bwidth\u200djoiner \u202eturned\u202c and \x00null \ufffd",
    "e\u0301 equals \u00e9 and \uff26\uff55\uff4c\uff4c width",
    "The words [SEP] and [MASK] are special tokens, [CLS] as well.",
    "a" * 150,
    "https://example.org/a/b?c=d&e=f#g user@example.org 3.14159 1,000,000",
    " ".join(f"Sentence {i} tells a part of a long story." for i in range(12)),
    " ".join(f"word{i} is truncated somewhere" for i in range(200)),
)


def vectors(folder: Path, texts=TEXTS) -> np.ndarray:
    """Mean of the last layer's outputs over the tokens, scaled to unit norm."""
    import torch
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    config = BertConfig(  # the rest are its defaults, exact GELU and 1e-12 among them
        hidden_size=384, num_hidden_layers=6, intermediate_size=1536
    )
    model = BertModel(config).double().eval()
    model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    found = []
    for text in texts:  # one by one: without padding
        tokens = tokenizer(text, truncation=True, max_length=MAX_LENGTH, padding=False)
        with torch.no_grad():
            outputs = model(torch.tensor([tokens["input_ids"]])).last_hidden_state
        mean = outputs[0].mean(0)
        found.append((mean / mean.norm()).numpy())
    return np.stack(found)


if __name__ == "__main__":
    np.savez_compressed(FILE, vectors=vectors(Path(sys.argv[1])).astype(np.float32))
