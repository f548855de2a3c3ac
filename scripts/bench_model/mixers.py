"""What mixes a layer's positions: grouped-query attention, latent attention, gated delta nets. Each knows its sizes, adds its
tensors to a BenchModel and says what the file says of them."""

import dataclasses
import math

import numpy as np

SIGMOID_SIZE = 0.54  # root mean square of sigmoid(x) and silu(x) for Gaussian x
SILU_SIZE = 0.60


@dataclasses.dataclass(frozen=True)
class GroupedAttention:
    heads: int
    kv_heads: int
    head_dim: int
    rotary_dim: int = 0  # 0: all of a head
    qk_norm: bool = False
    output_gate: bool = False
    biases: bool = False
    sinks: bool = False
    window: int = 0  # of every second layer

    @property
    def columns(self):
        return (self.heads * self.head_dim,)

    def metadata(self):
        own = {
            "attention.head_count": self.heads, "attention.head_count_kv": self.kv_heads,
            "attention.key_length": self.head_dim, "attention.value_length": self.head_dim,
            "rope.dimension_count": self.rotary_dim or self.head_dim,
        }
        if self.window:
            own["attention.sliding_window"] = self.window
        return own

    def add(self, model, prefix, hidden, size):
        width, kv_width, keep = self.heads * self.head_dim, self.kv_heads * self.head_dim, hidden**-0.5
        model.add_matrix(prefix + "attn_q.weight", keep, width * (2 if self.output_gate else 1), hidden)
        model.add_matrix(prefix + "attn_k.weight", keep, kv_width, hidden)
        model.add_matrix(prefix + "attn_v.weight", keep, kv_width, hidden)
        if self.qk_norm:
            model.add_norm(prefix + "attn_q_norm.weight", self.head_dim)
            model.add_norm(prefix + "attn_k_norm.weight", self.head_dim)
        if self.biases:
            for name, count in (("q", width), ("k", kv_width), ("v", kv_width), ("output", hidden)):
                model.add_noise(prefix + f"attn_{name}.bias", count, 0.1 * (size if name == "output" else 1))
        if self.sinks:
            model.add_noise(prefix + "attn_sinks.weight", self.heads, 1.0)
        spread = SIGMOID_SIZE if self.output_gate else 1
        model.add_matrix(prefix + "attn_output.weight", size / spread * width**-0.5, hidden, width)


@dataclasses.dataclass(frozen=True)
class LatentAttention:
    heads: int
    q_rank: int
    kv_rank: int
    plain_dim: int
    rotary_dim: int
    value_dim: int

    @property
    def columns(self):
        return (self.q_rank, self.kv_rank, self.plain_dim, self.heads * self.value_dim)

    def metadata(self):
        return {
            "attention.head_count": self.heads, "attention.head_count_kv": 1,
            "attention.key_length": self.kv_rank + self.rotary_dim, "attention.value_length": self.kv_rank,
            "attention.key_length_mla": self.plain_dim + self.rotary_dim, "attention.value_length_mla": self.value_dim,
            "attention.q_lora_rank": self.q_rank, "attention.kv_lora_rank": self.kv_rank,
            "rope.dimension_count": self.rotary_dim,
        }

    def add(self, model, prefix, hidden, size):
        keep, width = hidden**-0.5, self.heads * self.value_dim
        model.add_matrix(prefix + "attn_q_a.weight", keep, self.q_rank, hidden)
        model.add_norm(prefix + "attn_q_a_norm.weight", self.q_rank)
        model.add_matrix(prefix + "attn_q_b.weight", self.q_rank**-0.5,
                         self.heads * (self.plain_dim + self.rotary_dim), self.q_rank)
        model.add_matrix(prefix + "attn_kv_a_mqa.weight", keep, self.kv_rank + self.rotary_dim, hidden)
        model.add_norm(prefix + "attn_kv_a_norm.weight", self.kv_rank)
        # Turned, as the file has it: from a head's query into the latent space.
        model.add_matrix(prefix + "attn_k_b.weight", self.kv_rank**-0.5, self.kv_rank, self.plain_dim, self.heads)
        model.add_matrix(prefix + "attn_v_b.weight", self.kv_rank**-0.5, self.value_dim, self.kv_rank, self.heads)
        model.add_matrix(prefix + "attn_output.weight", size * width**-0.5, hidden, width)


@dataclasses.dataclass(frozen=True)
class GatedDeltaNet:
    key_heads: int
    value_heads: int
    head_dim: int
    kernel: int

    @property
    def columns(self):
        return (self.value_heads * self.head_dim,)

    def metadata(self):
        return {
            "ssm.conv_kernel": self.kernel, "ssm.state_size": self.head_dim, "ssm.group_count": self.key_heads,
            "ssm.time_step_rank": self.value_heads, "ssm.inner_size": self.value_heads * self.head_dim,
        }

    def add(self, model, prefix, hidden, size):
        values, keep = self.value_heads * self.head_dim, hidden**-0.5
        mixed = 2 * self.key_heads * self.head_dim + values
        model.add_matrix(prefix + "attn_qkv.weight", keep, mixed, hidden)
        model.add_matrix(prefix + "attn_gate.weight", keep, values, hidden)
        model.add_matrix(prefix + "ssm_alpha.weight", keep, self.value_heads, hidden)
        model.add_matrix(prefix + "ssm_beta.weight", keep, self.value_heads, hidden)
        model.add_noise(prefix + "ssm_conv1d.weight", (mixed, self.kernel), self.kernel**-0.5)
        # A state that forgets half of what it holds in some ten to hundred positions.
        model.add_floats(prefix + "ssm_a", -np.geomspace(0.01, 0.1, self.value_heads) * math.log(2))
        model.add_noise(prefix + "ssm_dt.bias", self.value_heads, 0.1)
        model.add_norm(prefix + "ssm_norm.weight", self.head_dim)
        model.add_matrix(prefix + "ssm_out.weight", size / SILU_SIZE * values**-0.5, hidden, values)
