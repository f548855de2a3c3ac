"""The shapes of real mixture-of-experts models."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Shape:
    name: str
    architecture: str  # GGUF's name for it
    layers: int
    hidden: int
    vocab: int
    heads: int
    kv_heads: int
    head_dim: int
    experts: int
    top_k: int
    expert_ffn: int  # width of one expert
    rope_base: float
    rms_epsilon: float
    context: int
    qk_norm: bool
    # Share of a token's experts that the token before it chose too, in the same layer, that `skewed` routing aims at.
    # From real traces of decoding: Qwen3-30B-A3B 0.38, gpt-oss-20b 0.44 (means over layers).
    overlap: float


SHAPES = {shape.name: shape for shape in (
    Shape("qwen3-30b", "qwen3moe", layers=48, hidden=2048, vocab=151936, heads=32, kv_heads=4, head_dim=128, experts=128,
          top_k=8, expert_ffn=768, rope_base=1e6, rms_epsilon=1e-6, context=40960, qk_norm=True, overlap=0.38),
    Shape("mixtral", "llama", layers=32, hidden=4096, vocab=32000, heads=32, kv_heads=8, head_dim=128, experts=8,
          top_k=2, expert_ffn=14336, rope_base=1e6, rms_epsilon=1e-5, context=32768, qk_norm=False, overlap=0.34),
    # The sizes of gpt-oss-20b in another architecture: its biases, attention sinks and clamped SwiGLU are left out.
    Shape("gpt-oss", "qwen3moe", layers=24, hidden=2880, vocab=201088, heads=64, kv_heads=8, head_dim=64, experts=32,
          top_k=4, expert_ffn=2880, rope_base=150000, rms_epsilon=1e-5, context=131072, qk_norm=True, overlap=0.44),
    Shape("small", "qwen3moe", layers=4, hidden=512, vocab=1024, heads=8, kv_heads=2, head_dim=64, experts=16,
          top_k=4, expert_ffn=256, rope_base=1e6, rms_epsilon=1e-6, context=4096, qk_norm=True, overlap=0.44),
)}
