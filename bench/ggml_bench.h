#pragma once
// llama.cpp's CPU kernels (ggml's) in the same program: products of the same shapes in every
// quantised type that both know, through ggml's public interface.
//
//     ggml           weights as they lie in the file
//     ggml_repacked  in the first of the backend's extra buffer types that takes them, as llama.cpp
//                    keeps them unless told otherwise
//
// Decoding is mul_mat_id of layers of 128 experts each, of which every row takes 8, the same ones
// as its neighbours: what llama.cpp computes experts with, repacked or not. A graph goes through
// all layers, as a token does, so that starting one costs next to nothing. Prefill is mul_mat of
// one matrix, for which there are better kernels than mul_mat_id has. Either quantises its
// activations itself, which Sluice's benchmarks leave out; it is one row for eight matrices.

#include "bench/kernel_benchmarks.h"

namespace sluice {

/// Before it is timed, each is held against Sluice's product of the same bytes and activations: a
/// difference that quantising activations does not explain is an error.
void register_ggml(KernelBenchmarks& benchmarks);

}  // namespace sluice
