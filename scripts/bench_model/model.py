"""A benchmark model: which tensors it has, how large their weights are, what its file says about it."""

import numpy as np

from bench_model import gguf_file, routing
from bench_model.formats import FORMATS
from bench_model.mixers import SIGMOID_SIZE
from bench_model.weights import Matrix, Pool

F32 = FORMATS["f32"]
# Attention may add half of what experts add, where it sees one token; it soon sees more and adds less.
ATTENTION_SHARE = 0.5
LM_HEAD_DEVIATION = 2.0  # of the logits


def activated(shape, gates, ups):
    """An expert's hidden values."""
    if shape.expert_biases:  # the clamped SwiGLU
        gates, ups = np.minimum(gates, 7), np.clip(ups, -7, 7) + 1
        return gates / (1 + np.exp(-1.702 * gates)) * ups
    return gates / (1 + np.exp(-gates)) * ups


def mixture(shape, logits):
    """Weights [tokens, top_k] of the chosen experts' outputs."""
    scores = 1 / (1 + np.exp(-logits)) if shape.sigmoid_router else np.exp(logits - logits.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True) * shape.router_scale


class BenchModel:
    """Embeddings have deviation 1, projections keep it, and experts add design.step of the residual stream's size."""

    def __init__(self, shape, expert_format, dense_format, design, seed):
        self.shape, self.design = shape, design
        self._rng = np.random.default_rng(seed)
        self._dense = Pool(dense_format, self._rng)
        self._experts_pool = self._dense if expert_format == dense_format else Pool(expert_format, self._rng)
        self.tensors, self._content = [], {}
        self.routers, self.router_norms, self._experts = [], [], []
        self._add_embeddings()
        for layer in range(shape.layers):
            self._add_layer(layer)

    def _common_blocks(self):
        """Every embedding's first blocks: an eighth of it where popularity matters, none where routing is uniform."""
        if self.design.rho == 0:
            return 0
        per_row = self.shape.hidden // self._dense.format.block_elements
        return max(1, per_row // 8)

    def _add(self, name, shape, number, size, content):
        tensor = gguf_file.Tensor(name, shape, number, size)
        self.tensors.append(tensor)
        self._content[name] = content

    def add_matrix(self, name, deviation, rows, columns, copies=None, common=None, pool=None):
        """[rows, columns], or [copies, rows, columns]."""
        pool = pool or self._dense
        starts = self._rng.integers(0, pool.blocks, copies or 1).tolist()
        matrix = Matrix(pool, deviation, starts, rows, columns, common)
        shape = (rows, columns) if copies is None else (copies, rows, columns)
        self._add(name, shape, pool.format.number, matrix.size, matrix.pieces)
        return matrix

    def add_floats(self, name, values):
        values = np.ascontiguousarray(values, np.float32)
        self._add(name, values.shape, F32.number, values.nbytes, lambda: [values.tobytes()])
        return values

    def add_noise(self, name, shape, deviation):
        return self.add_floats(name, deviation * self._rng.standard_normal(shape))

    def add_norm(self, name, size):
        return self.add_floats(name, 1 + 0.1 * self._rng.standard_normal(size))

    def _add_embeddings(self):
        shape, count = self.shape, self._common_blocks()
        common = self._dense.scaled(1.0)[:count].copy() if count else None
        self.embeddings = self.add_matrix("token_embd.weight", 1.0, shape.vocab, shape.hidden, common=common)
        self.common = self._dense.format.decode(common).reshape(-1) if count else np.zeros(0, np.float32)
        self.add_norm("output_norm.weight", shape.hidden)
        # Behind a final norm.
        self.add_matrix("output.weight", LM_HEAD_DEVIATION / shape.hidden**0.5, shape.vocab, shape.hidden)

    def _add_layer(self, layer):
        shape, prefix = self.shape, f"blk.{layer}."
        self.add_norm(prefix + "attn_norm.weight", shape.hidden)
        shape.mixer(layer).add(self, prefix, shape.hidden, self._attention_size(layer))
        norm = self.add_norm(prefix + ("post_attention_norm" if shape.post_attention_norm else "ffn_norm") + ".weight",
                             shape.hidden)
        self.router_norms.append(norm)
        if shape.is_sparse(layer):
            self._add_experts(layer, prefix)
        else:
            self.routers.append(None)
            self._experts.append(None)
            self._add_network(prefix, "", shape.dense_ffn, self._experts_size(layer))

    def _attention_size(self, layer):
        return ATTENTION_SHARE * self._experts_size(layer)

    def _experts_size(self, layer):
        return self.design.step * self.design.growth(layer)

    def _add_network(self, prefix, suffix, width, size):
        """A network that every token uses, whose output has root mean square `size`."""
        keep = self.shape.hidden**-0.5
        energy = 0.356  # of silu(x) y for Gaussian x and y
        self.add_matrix(prefix + f"ffn_gate{suffix}.weight", keep, width, self.shape.hidden)
        self.add_matrix(prefix + f"ffn_up{suffix}.weight", keep, width, self.shape.hidden)
        self.add_matrix(prefix + f"ffn_down{suffix}.weight", size / (width * energy)**0.5, self.shape.hidden, width)

    def _add_experts(self, layer, prefix):
        shape = self.shape
        router = routing.make_router(shape, self.design, layer, self.common, self._rng)
        self.add_floats(prefix + "ffn_gate_inp.weight", router)
        if shape.sigmoid_router:
            self.add_floats(prefix + "exp_probs_b.bias", np.zeros(shape.experts))
        size = self._experts_size(layer)
        if shape.shared_ffn:  # half of the energy
            size *= 0.5**0.5
            self._add_network(prefix, "_shexp", shape.shared_ffn, size / (SIGMOID_SIZE if shape.shared_gate else 1))
            if shape.shared_gate:
                self.add_noise(prefix + "ffn_gate_inp_shexp.weight", shape.hidden, shape.hidden**-0.5)
        keep, pool = shape.hidden**-0.5, self._experts_pool
        down = size / (shape.expert_ffn * self._mixture_energy())**0.5
        gate = self.add_matrix(prefix + "ffn_gate_exps.weight", keep, shape.expert_ffn, shape.hidden, shape.experts, pool=pool)
        up = self.add_matrix(prefix + "ffn_up_exps.weight", keep, shape.expert_ffn, shape.hidden, shape.experts, pool=pool)
        down = self.add_matrix(prefix + "ffn_down_exps.weight", down, shape.hidden, shape.expert_ffn, shape.experts, pool=pool)
        if shape.expert_biases:
            self.add_floats(prefix + "ffn_gate_inp.bias", np.zeros(shape.experts))
            for name, width, deviation in (("gate", shape.expert_ffn, 0.1), ("up", shape.expert_ffn, 0.1),
                                           ("down", shape.hidden, 0.1 * size)):
                self.add_noise(prefix + f"ffn_{name}_exps.bias", (shape.experts, width), deviation)
        self.routers.append(router)
        self._experts.append((gate, up, down))

    def _mixture_energy(self):
        """Mean square of the weighted sum of top_k experts' hidden activations, for Gaussian gates and logits."""
        shape, rng = self.shape, np.random.default_rng(0)
        gates, ups = rng.standard_normal((2, 1 << 16))
        best = np.sort(rng.standard_normal((1024, shape.experts)) * routing.LOGIT_DEVIATION)[:, -shape.top_k:]
        return float(np.mean(activated(shape, gates, ups)**2) * np.mean((mixture(shape, best)**2).sum(axis=1)))

    def metadata(self):
        shape = self.shape
        own = {
            "block_count": shape.layers, "context_length": shape.context, "embedding_length": shape.hidden,
            "feed_forward_length": shape.dense_ffn or shape.expert_ffn,
            "attention.layer_norm_rms_epsilon": shape.rms_epsilon, "rope.freq_base": float(shape.rope_base),
            "expert_count": shape.experts, "expert_used_count": shape.top_k, "vocab_size": shape.vocab,
        } | shape.attention.metadata() | (shape.delta_net.metadata() if shape.delta_net else {}) | dict(shape.metadata)
        if shape.architecture != "llama":
            own["expert_feed_forward_length"] = shape.expert_ffn
        if shape.shared_gate:
            own["expert_shared_feed_forward_length"] = shape.shared_ffn
        elif shape.shared_ffn:
            own["expert_shared_count"] = shape.shared_ffn // shape.expert_ffn
        if shape.dense_layers:
            own["leading_dense_block_count"] = shape.dense_layers
        if shape.sigmoid_router:
            own |= {"expert_gating_func": 2, "expert_weights_norm": True, "expert_weights_scale": shape.router_scale}
        return {
            "general.architecture": shape.architecture, "general.type": "model",
            "general.name": f"{shape.name}, {shape.layers} layers, random weights",
            "general.file_type": self._experts_pool.format.file_type, "general.quantization_version": 2,
            "tokenizer.ggml.model": "none",
        } | {f"{shape.architecture}.{key}": content for key, content in own.items()}

    def write(self, path):
        """Returns the file's size in bytes."""
        return gguf_file.write(path, self.metadata(), self.tensors, lambda tensor: self._content[tensor.name]())

    def _measured_size(self, layer, stream):
        """Root mean square of what layer `layer`'s experts add, estimated from the weights that the file has: a sample of one
        expert's hidden activations for inputs `stream` [tokens, hidden], and of its down projection."""
        shape = self.shape
        if not shape.is_sparse(layer):
            return self._experts_size(layer)
        gate, up, down = self._experts[layer]
        x = routing.rms_norm(stream, self.router_norms[layer], shape.rms_epsilon).astype(np.float32)
        sample = np.arange(0, shape.expert_ffn, max(1, shape.expert_ffn // 128))
        hidden = activated(shape, x @ gate.decode_rows(sample).T, x @ up.decode_rows(sample).T)
        weights = mixture(shape, np.sort(x @ self.routers[layer].T, axis=1)[:, -shape.top_k:])
        deviation = np.std(down.decode_rows(np.arange(0, shape.hidden, max(1, shape.hidden // 64))))
        energy = np.mean(hidden.astype(np.float64)**2) * np.mean((weights**2).sum(axis=1))
        return float(deviation * np.sqrt(shape.expert_ffn * energy)) * (2**0.5 if shape.shared_ffn else 1)

    def simulate(self, tokens):
        """routing.Figures for `tokens` random token ids."""
        rng = np.random.default_rng(1)
        embeddings = self.embeddings.decode_rows(rng.integers(0, self.shape.vocab, tokens))
        # The norm before the experts makes their output the same for a stream of any size.
        additions = [(self._measured_size(layer, embeddings[:64]), self._attention_size(layer))
                     for layer in range(self.shape.layers)]
        common_share = len(self.common) / self.shape.hidden
        return routing.simulate(self.shape, self.routers, self.router_norms, embeddings, additions, common_share, rng)
