#!/usr/bin/env python3
"""Makes an oracle (see README.md): a tiny random checkpoint and what Transformers computes with it.

usage: make_oracle.py NAME FOLDER

Needs torch, transformers, safetensors and gguf.
"""

import json
import pathlib
import sys

import gguf
import numpy
import torch
from safetensors.torch import load_file, save_file
from transformers import Dots1Config, Dots1ForCausalLM, Glm4MoeConfig, Glm4MoeForCausalLM

SEED = 8
TOKENS = 48
VOCABULARY = 320
EAGER = dict(dtype=torch.float32, attn_implementation="eager", experts_implementation="eager")


class Dots1:
    """dots.llm1: as many key as query heads, since llama.cpp loads nothing else."""

    architecture = gguf.MODEL_ARCH.DOTS1
    # The config.json that was published says some things otherwise than Transformers does today, or says more.
    config = dict(
        architectures=["Dots1ForCausalLM"], model_type="dots1", torch_dtype="bfloat16", vocab_size=VOCABULARY, hidden_size=32,
        intermediate_size=64, moe_intermediate_size=16, num_hidden_layers=3, first_k_dense_replace=1, num_attention_heads=4,
        num_key_value_heads=4, attention_bias=False, sliding_window=None, max_window_layers=62, rms_norm_eps=1e-5,
        hidden_act="silu", rope_theta=500000.0, rope_scaling=None, max_position_embeddings=512, n_routed_experts=16,
        num_experts_per_tok=4, n_shared_experts=2, n_group=4, topk_group=2, scoring_func="sigmoid", norm_topk_prob=True,
        routed_scaling_factor=2.5, tie_word_embeddings=False, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    bias_name = ("e_score_correction_bias", "e_score_correction.bias")  # what gguf's table has is a module's name

    @classmethod
    def model(cls):
        return Dots1ForCausalLM._from_config(Dots1Config(**cls.config), **EAGER)

    @staticmethod
    def published(tensors):
        return tensors

    @classmethod
    def add_keys(cls, writer):
        writer.add_expert_count(cls.config["n_routed_experts"])
        writer.add_expert_shared_count(cls.config["n_shared_experts"])


class BailingMoeV2:
    """Ling 2.0. Transformers has no class of its own for it; GLM-4.5's computes the same under other names."""

    architecture = gguf.MODEL_ARCH.BAILINGMOE2
    config = dict(
        architectures=["BailingMoeV2ForCausalLM"], model_type="bailing_moe", torch_dtype="bfloat16", vocab_size=VOCABULARY,
        hidden_size=32, intermediate_size=64, moe_intermediate_size=16, moe_shared_expert_intermediate_size=16,
        num_hidden_layers=3, first_k_dense_replace=1, num_attention_heads=4, num_key_value_heads=2, head_dim=8, use_bias=False,
        use_qkv_bias=False, use_rmsnorm=True, use_qk_norm=True, rms_norm_eps=1e-6, hidden_act="silu", rope_theta=600000.0,
        rope_scaling=None, partial_rotary_factor=0.5, max_position_embeddings=512, num_experts=16, num_experts_per_tok=4,
        num_shared_experts=1, n_group=4, topk_group=2, score_function="sigmoid", moe_router_enable_expert_bias=True,
        norm_topk_prob=True, routed_scaling_factor=2.5, num_nextn_predict_layers=0, tie_word_embeddings=False, pad_token_id=2,
        eos_token_id=2)
    bias_name = (".expert_bias", ".expert_bias.bias")

    @classmethod
    def model(cls):
        renamed = {"num_experts": "n_routed_experts", "num_shared_experts": "n_shared_experts"}
        config = {renamed.get(key, key): value for key, value in cls.config.items() if key not in ("architectures", "model_type")}
        return Glm4MoeForCausalLM._from_config(Glm4MoeConfig(**config), **EAGER)

    @staticmethod
    def published(tensors):
        names = {"model.embed_tokens": "model.word_embeddings", "self_attn.o_proj": "attention.dense",
                 "self_attn.q_norm": "attention.query_layernorm", "self_attn.k_norm": "attention.key_layernorm",
                 "e_score_correction_bias": "expert_bias"}
        result = {}
        for name, tensor in tensors.items():
            if name.endswith("q_proj.weight"):
                parts = [tensors[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
                result[name.replace("self_attn.q_proj", "attention.query_key_value")] = torch.cat(parts)
            elif not name.endswith(("k_proj.weight", "v_proj.weight")):
                for old, new in names.items():
                    name = name.replace(old, new)
                result[name] = tensor
        return result

    @classmethod
    def add_keys(cls, writer):
        writer.add_expert_count(cls.config["num_experts"])
        writer.add_expert_shared_count(cls.config["num_shared_experts"])
        writer.add_expert_shared_feed_forward_length(cls.config["moe_shared_expert_intermediate_size"])
        writer.add_key_length(cls.config["head_dim"])
        writer.add_value_length(cls.config["head_dim"])
        writer.add_rope_dimension_count(int(cls.config["head_dim"] * cls.config["partial_rotary_factor"]))
        writer.add_nextn_predict_layers(cls.config["num_nextn_predict_layers"])


ORACLES = {"dots1": Dots1, "bailing_moe": BailingMoeV2}


def draw_weights(model):
    """Such that every part shows in the logits: the library's own start has all norms 1 and all biases 0."""
    generator = torch.Generator().manual_seed(SEED)
    state = model.state_dict()
    for name in sorted(state):
        values = torch.randn(state[name].shape, generator=generator)
        if name.endswith("norm.weight"):
            values = 1 + 0.3 * values
        elif name.endswith("e_score_correction_bias"):
            values = 0.3 * values
        elif name.endswith("mlp.gate.weight"):
            values = 1.5 * values / values.shape[-1] ** 0.5
        elif name != "model.embed_tokens.weight":
            values = values / values.shape[-1] ** 0.5
        state[name].copy_(values.to(torch.bfloat16))


def routers(model):
    return [layer.mlp.gate for layer in model.model.layers if hasattr(layer.mlp, "gate")]


def compute(model, ids):
    """Logits [tokens, vocabulary] and chosen experts [sparse layers, tokens, k]."""
    chosen = []
    hooks = [gate.register_forward_hook(lambda module, inputs, outputs: chosen.append(outputs[2])) for gate in routers(model)]
    with torch.no_grad():
        logits = model(ids[None]).logits[0]
    for hook in hooks:
        hook.remove()
    return logits, torch.stack(chosen).to(torch.int32)


def check(oracle, ids, logits, experts):
    """Mistakes show, and rounding does not."""
    def set_gates(name, value):
        return lambda model: [setattr(gate, name, value) for gate in routers(model)]

    def set_weights(ending, value):
        return lambda model: [values.fill_(value) for name, values in model.state_dict().items() if name.endswith(ending)]

    mistakes = {
        "no bias": set_weights("e_score_correction_bias", 0), "no norm of q": set_weights("q_norm.weight", 1),
        "no norm of k": set_weights("k_norm.weight", 1), "no shared experts": set_weights("shared_experts.down_proj.weight", 0),
        "no scale": set_gates("routed_scaling_factor", 1.0), "weights do not sum to 1": set_gates("norm_topk_prob", False),
        "no groups": set_gates("topk_group", oracle.config["n_group"])}
    for name, change in mistakes.items():
        model = oracle.model()
        draw_weights(model)
        change(model)
        worst = (compute(model, ids)[0] - logits).abs().max().item()
        print(f"{name}: {worst:.3g}")
        assert worst > 0.05, name

    model = oracle.model().double()
    draw_weights(model)
    exact, exact_experts = compute(model, ids)
    print(f"float64: {(exact - logits).abs().max().item():.3g}")
    assert torch.equal(exact_experts.sort()[0], experts.sort()[0])


def write_gguf(oracle, folder):
    """The names and keys that llama.cpp's converter gives; matrices stay bfloat16."""
    config = oracle.config
    layers, dense_layers = config["num_hidden_layers"], config["first_k_dense_replace"]
    writer = gguf.GGUFWriter(folder / "model.gguf", gguf.MODEL_ARCH_NAMES[oracle.architecture])
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(folder.name)
    writer.add_block_count(layers)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_expert_group_count(config["n_group"])
    writer.add_expert_group_used_count(config["topk_group"])
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    writer.add_leading_dense_block_count(dense_layers)
    writer.add_expert_weights_scale(config["routed_scaling_factor"])
    writer.add_expert_weights_norm(config["norm_topk_prob"])
    writer.add_vocab_size(config["vocab_size"])
    oracle.add_keys(writer)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_tokenizer_model("none")

    tensors = load_file(folder / "model.safetensors")
    for layer in range(dense_layers, layers):
        prefix = f"model.layers.{layer}.mlp.experts."
        for matrix in ("gate_proj", "up_proj", "down_proj"):
            names = [name for name in tensors if name.startswith(prefix) and name.endswith(matrix + ".weight")]
            names.sort(key=lambda name: int(name.removeprefix(prefix).split(".")[0]))
            tensors[f"{prefix}{matrix}.weight"] = torch.stack([tensors.pop(name) for name in names])
    names = gguf.get_tensor_name_map(oracle.architecture, layers)
    for name, tensor in tensors.items():
        new_name = names.get_name(name.replace(*oracle.bias_name), try_suffixes=(".weight", ".bias"))
        plain = tensor.ndim == 1 or new_name.endswith("ffn_gate_inp.weight")
        kind = gguf.GGMLQuantizationType.F32 if plain else gguf.GGMLQuantizationType.BF16
        writer.add_tensor(new_name, gguf.quants.quantize(tensor.float().numpy(), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    oracle, folder = ORACLES[sys.argv[1]], pathlib.Path(sys.argv[2])
    model = oracle.model()
    draw_weights(model)
    ids = torch.from_numpy(numpy.random.default_rng(SEED).integers(3, VOCABULARY, TOKENS))
    logits, experts = compute(model, ids)
    check(oracle, ids, logits, experts)

    # The library gives each expert its tensors, as published checkpoints do.
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    save_file(oracle.published(load_file(folder / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(oracle.config, indent=1) + "\n")
    save_file({"input_ids": ids.to(torch.int32), "logits": logits, "experts": experts}, folder / "golden.safetensors")
    write_gguf(oracle, folder)


if __name__ == "__main__":
    main()
