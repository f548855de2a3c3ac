"""The shapes of real mixture-of-experts models."""

import dataclasses

from bench_model.mixers import GatedDeltaNet, GroupedAttention, LatentAttention


@dataclasses.dataclass(frozen=True)
class Shape:
    name: str
    architecture: str  # GGUF's name for it
    layers: int
    hidden: int
    vocab: int
    attention: GroupedAttention | LatentAttention
    experts: int
    top_k: int
    expert_ffn: int  # width of one expert
    rope_base: float
    rms_epsilon: float
    context: int
    # Share of a token's experts that the token before it chose too, in the same layer, that `skewed` routing aims at.
    # From real traces of decoding: Qwen3-30B-A3B 0.38, gpt-oss-20b 0.44 (means over layers).
    overlap: float
    delta_net: GatedDeltaNet | None = None  # in the place of attention, but for every fourth layer
    shared_ffn: int = 0  # width of the expert that every token uses
    shared_gate: bool = False
    dense_layers: int = 0  # the first ones, without experts …
    dense_ffn: int = 0  # … but of this width
    sigmoid_router: bool = False  # with a bias for the choice
    router_scale: float = 1.0
    expert_biases: bool = False  # and the clamped SwiGLU that goes with them
    post_attention_norm: bool = False  # how the norm before the experts is called
    metadata: tuple = ()  # what else its file says

    def mixer(self, layer):
        return self.delta_net if self.delta_net and (layer + 1) % 4 else self.attention

    def is_sparse(self, layer):
        return layer >= self.dense_layers

    def row_widths(self):
        """Columns of all quantised matrices."""
        widths = {self.hidden, self.expert_ffn, *self.attention.columns}
        widths.update(self.delta_net.columns if self.delta_net else ())
        return widths | {width for width in (self.shared_ffn, self.dense_ffn if self.dense_layers else 0) if width}


SHAPES = {shape.name: shape for shape in (
    Shape("qwen3-30b", "qwen3moe", layers=48, hidden=2048, vocab=151936,
          attention=GroupedAttention(heads=32, kv_heads=4, head_dim=128, qk_norm=True), experts=128, top_k=8, expert_ffn=768,
          rope_base=1e6, rms_epsilon=1e-6, context=40960, overlap=0.38),
    Shape("mixtral", "llama", layers=32, hidden=4096, vocab=32000,
          attention=GroupedAttention(heads=32, kv_heads=8, head_dim=128), experts=8, top_k=2, expert_ffn=14336,
          rope_base=1e6, rms_epsilon=1e-5, context=32768, overlap=0.34),
    Shape("gpt-oss", "gpt-oss", layers=24, hidden=2880, vocab=201088,
          attention=GroupedAttention(heads=64, kv_heads=8, head_dim=64, biases=True, sinks=True, window=128),
          experts=32, top_k=4, expert_ffn=2880, rope_base=150000, rms_epsilon=1e-5, context=131072, overlap=0.44,
          expert_biases=True, post_attention_norm=True,
          metadata=(("rope.scaling.type", "yarn"), ("rope.scaling.factor", 32.0), ("rope.scaling.original_context_length", 4096))),
    Shape("qwen3.5-35b", "qwen35moe", layers=40, hidden=2048, vocab=248320,
          attention=GroupedAttention(heads=16, kv_heads=2, head_dim=256, rotary_dim=64, qk_norm=True, output_gate=True),
          delta_net=GatedDeltaNet(key_heads=16, value_heads=32, head_dim=128, kernel=4), experts=256, top_k=8, expert_ffn=512,
          shared_ffn=512, shared_gate=True, rope_base=1e7, rms_epsilon=1e-6, context=262144, overlap=0.38,
          post_attention_norm=True, metadata=(("full_attention_interval", 4), ("rope.dimension_sections", [11, 11, 10, 0]))),
    Shape("glm-4.7-flash", "deepseek2", layers=47, hidden=2048, vocab=154880,
          attention=LatentAttention(heads=20, q_rank=768, kv_rank=512, plain_dim=192, rotary_dim=64, value_dim=256),
          experts=64, top_k=4, expert_ffn=1536, shared_ffn=1536, dense_layers=1, dense_ffn=10240, sigmoid_router=True,
          router_scale=1.8, rope_base=1e6, rms_epsilon=1e-5, context=202752, overlap=0.38),
    Shape("small", "qwen3moe", layers=4, hidden=512, vocab=1024,
          attention=GroupedAttention(heads=8, kv_heads=2, head_dim=64, qk_norm=True), experts=16, top_k=4, expert_ffn=256,
          rope_base=1e6, rms_epsilon=1e-6, context=4096, overlap=0.44),
)}
