"""A benchmark model: which tensors it has, how large their weights are, what its file says about it."""

import numpy as np

from bench_model import gguf_file, routing
from bench_model.formats import FORMATS
from bench_model.weights import Matrix, Pool

F32 = FORMATS["f32"]
# Attention may add half of what experts add, where it sees one token; it soon sees more and adds less.
ATTENTION_SHARE = 0.5
LM_HEAD_DEVIATION = 2.0  # of the logits


class BenchModel:
    """Embeddings have deviation 1, projections keep it, and experts add design.step of the residual stream's size."""

    def __init__(self, shape, weight_format, design, seed):
        self.shape, self.design, self._format = shape, design, weight_format
        self._rng = np.random.default_rng(seed)
        self._pool = Pool(weight_format, self._rng)
        self.tensors, self._content = [], {}
        self.routers, self.router_norms, self._experts = [], [], []
        self._add_embeddings()
        for layer in range(shape.layers):
            self._add_attention(layer)
            self._add_experts(layer)

    def _common_blocks(self):
        """Every embedding's first blocks: an eighth of it where popularity matters, none where routing is uniform."""
        if self.design.rho == 0:
            return 0
        per_row = self.shape.hidden // self._format.block_elements
        return max(1, per_row // 8)

    def _add(self, name, shape, number, size, content):
        tensor = gguf_file.Tensor(name, shape, number, size)
        self.tensors.append(tensor)
        self._content[name] = content

    def _add_matrix(self, name, deviation, rows, columns, experts=None, common=None):
        starts = self._rng.integers(0, self._pool.blocks, experts or 1).tolist()
        matrix = Matrix(self._pool, deviation, starts, rows, columns, common)
        shape = (rows, columns) if experts is None else (experts, rows, columns)
        self._add(name, shape, self._format.number, matrix.size, matrix.pieces)
        return matrix

    def _add_floats(self, name, values):
        values = np.ascontiguousarray(values, np.float32)
        self._add(name, values.shape, F32.number, values.nbytes, lambda: [values.tobytes()])
        return values

    def _norm(self, size):
        return 1 + 0.1 * self._rng.standard_normal(size)

    def _add_embeddings(self):
        shape, count = self.shape, self._common_blocks()
        common = self._pool.scaled(1.0)[:count].copy() if count else None
        self.embeddings = self._add_matrix("token_embd.weight", 1.0, shape.vocab, shape.hidden, common=common)
        self.common = self._format.decode(common).reshape(-1) if count else np.zeros(0, np.float32)
        self._add_floats("output_norm.weight", self._norm(shape.hidden))
        # Behind a final norm.
        self._add_matrix("output.weight", LM_HEAD_DEVIATION / shape.hidden**0.5, shape.vocab, shape.hidden)

    def _add_attention(self, layer):
        shape, prefix = self.shape, f"blk.{layer}."
        width, kv_width, keep = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim, shape.hidden**-0.5
        self._add_floats(prefix + "attn_norm.weight", self._norm(shape.hidden))
        self._add_matrix(prefix + "attn_q.weight", keep, width, shape.hidden)
        self._add_matrix(prefix + "attn_k.weight", keep, kv_width, shape.hidden)
        self._add_matrix(prefix + "attn_v.weight", keep, kv_width, shape.hidden)
        if shape.qk_norm:
            self._add_floats(prefix + "attn_q_norm.weight", self._norm(shape.head_dim))
            self._add_floats(prefix + "attn_k_norm.weight", self._norm(shape.head_dim))
        self._add_matrix(prefix + "attn_output.weight", self._attention_size(layer) * width**-0.5, shape.hidden, width)

    def _attention_size(self, layer):
        return ATTENTION_SHARE * self.design.step * self.design.growth(layer)

    def _add_experts(self, layer):
        shape, prefix = self.shape, f"blk.{layer}."
        norm = self._add_floats(prefix + "ffn_norm.weight", self._norm(shape.hidden))
        router = routing.make_router(shape, self.design, layer, self.common, self._rng)
        self._add_floats(prefix + "ffn_gate_inp.weight", router)
        keep = shape.hidden**-0.5
        down = self.design.step * self.design.growth(layer) / (shape.expert_ffn * self._mixture_energy())**0.5
        gate = self._add_matrix(prefix + "ffn_gate_exps.weight", keep, shape.expert_ffn, shape.hidden, shape.experts)
        up = self._add_matrix(prefix + "ffn_up_exps.weight", keep, shape.expert_ffn, shape.hidden, shape.experts)
        down = self._add_matrix(prefix + "ffn_down_exps.weight", down, shape.hidden, shape.expert_ffn, shape.experts)
        self.routers.append(router)
        self.router_norms.append(norm)
        self._experts.append((gate, up, down))

    def _mixture_energy(self):
        """Mean square of the weighted sum of top_k experts' hidden activations, for Gaussian gates and logits."""
        shape, rng = self.shape, np.random.default_rng(0)
        gates = rng.standard_normal(1 << 16)
        silu = gates / (1 + np.exp(-gates))
        best = np.sort(rng.standard_normal((1024, shape.experts)) * routing.LOGIT_DEVIATION)[:, -shape.top_k:]
        weights = np.exp(best) / np.exp(best).sum(axis=1, keepdims=True)
        return float(np.mean(silu**2) * np.mean((weights**2).sum(axis=1)))

    def metadata(self):
        shape = self.shape
        width = shape.head_dim
        own = {
            "block_count": shape.layers, "context_length": shape.context, "embedding_length": shape.hidden,
            "feed_forward_length": shape.expert_ffn, "attention.head_count": shape.heads,
            "attention.head_count_kv": shape.kv_heads, "attention.key_length": width, "attention.value_length": width,
            "attention.layer_norm_rms_epsilon": shape.rms_epsilon, "rope.freq_base": float(shape.rope_base),
            "rope.dimension_count": width, "expert_count": shape.experts, "expert_used_count": shape.top_k,
            "vocab_size": shape.vocab,
        }
        if shape.architecture != "llama":
            own["expert_feed_forward_length"] = shape.expert_ffn
        return {
            "general.architecture": shape.architecture, "general.type": "model",
            "general.name": f"{shape.name}, {shape.layers} layers, random weights",
            "general.file_type": self._format.file_type, "general.quantization_version": 2,
            "tokenizer.ggml.model": "none",
        } | {f"{shape.architecture}.{key}": content for key, content in own.items()}

    def write(self, path):
        """Returns the file's size in bytes."""
        return gguf_file.write(path, self.metadata(), self.tensors, lambda tensor: self._content[tensor.name]())

    def _measured_expert_size(self, layer, stream):
        """Root mean square of what layer `layer`'s experts add, estimated from the weights that the file has: a sample of one
        expert's hidden activations for inputs `stream` [tokens, hidden], and of its down projection."""
        shape = self.shape
        gate, up, down = self._experts[layer]
        x = routing.rms_norm(stream, self.router_norms[layer], shape.rms_epsilon).astype(np.float32)
        sample = np.arange(0, shape.expert_ffn, max(1, shape.expert_ffn // 128))
        gates = x @ gate.decode_rows(sample).T
        hidden = gates / (1 + np.exp(-gates)) * (x @ up.decode_rows(sample).T)
        logits = np.sort(x @ self.routers[layer].T, axis=1)[:, -shape.top_k:]
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        deviation = np.std(down.decode_rows(np.arange(0, shape.hidden, max(1, shape.hidden // 64))))
        energy = np.mean(hidden.astype(np.float64)**2) * np.mean((weights**2).sum(axis=1))
        return float(deviation * np.sqrt(shape.expert_ffn * energy))

    def simulate(self, tokens):
        """routing.Figures for `tokens` random token ids."""
        rng = np.random.default_rng(1)
        embeddings = self.embeddings.decode_rows(rng.integers(0, self.shape.vocab, tokens))
        # The norm before the experts makes their output the same for a stream of any size.
        additions = [(self._measured_expert_size(layer, embeddings[:64]), self._attention_size(layer))
                     for layer in range(self.shape.layers)]
        common_share = len(self.common) / self.shape.hidden
        return routing.simulate(self.shape, self.routers, self.router_norms, embeddings, additions, common_share, rng)
