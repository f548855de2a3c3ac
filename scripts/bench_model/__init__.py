"""Writes benchmark models: real shapes, random weights, routing that behaves like real models' (make_bench_model)."""
