"""How a benchmark model's routers behave, by design and by measurement.

Every embedding starts with the same `common` elements. A router's weights on these give each expert a fixed advantage (its
popularity), its other weights are random and see the token. The share of the logits' variance that popularity makes, rho,
decides how many experts consecutive tokens share: 0 is uniform routing. Layers add to the residual stream what is small
beside it: `step`, the root mean square of a layer's addition over that of the stream, decides how well the next layer's
router already works on this layer's input.
"""

import collections
import dataclasses

import numpy as np

LOGIT_DEVIATION = 1.5
# Real layers differ: overlap in Qwen3-30B-A3B lies between 0.07 and 0.67.
RHO_SPREAD = 0.1
CAPACITIES = (0.25, 0.5, 0.75)
TRIAL_TOKENS = 512
TRIAL_LAYERS = 8


def chosen(logits, top_k):
    """Boolean [..., experts]: the top_k largest."""
    picked = np.zeros(logits.shape, bool)
    np.put_along_axis(picked, np.argpartition(-logits, top_k - 1, axis=-1)[..., :top_k], True, axis=-1)
    return picked


def agreement(left, right, top_k):
    return float((left & right).sum() / (top_k * left[..., 0].size))


def bisect(function, target, low, high):
    """x in [low, high] where the monotonous function meets the target, or the nearer end."""
    rising = function(high) > function(low)
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if (function(middle) < target) == rising else (low, middle)
    return (low + high) / 2


@dataclasses.dataclass(frozen=True)
class Design:
    rho: float
    step: float

    @staticmethod
    def find(shape, overlap, foresight, rng):
        """The design under which consecutive tokens share `overlap` of their experts (None: what chance gives), and the
        next layer's router is right about `foresight` of them one layer early; from Gaussian logits."""
        size = (TRIAL_LAYERS, TRIAL_TOKENS, shape.experts)
        popularity = rng.standard_normal((TRIAL_LAYERS, 1, shape.experts))
        token, change = rng.standard_normal(size), rng.standard_normal(size)

        def logits(rho, seen):
            return np.sqrt(rho) * popularity + np.sqrt(1 - rho) * seen

        def trial_overlap(rho):
            picked = chosen(logits(rho, token), shape.top_k)
            return agreement(picked[:, 1:], picked[:, :-1], shape.top_k)

        rho = 0.0 if overlap is None else bisect(trial_overlap, overlap, 0.0, 0.99)
        picked = chosen(logits(rho, token), shape.top_k)

        def trial_foresight(step):
            later = (token + step * change) / np.sqrt(1 + step * step)
            return agreement(picked, chosen(logits(rho, later), shape.top_k), shape.top_k)

        return Design(rho, bisect(trial_foresight, foresight, 0.0, 2.0))

    def growth(self, layer):
        """Root mean square of the residual stream before layer `layer`, over that of the embeddings."""
        return (1 + self.step**2)**(layer / 2)


def make_router(shape, design, layer, common, rng):
    """float32 [experts, hidden]. `common`: what every embedding starts with, [common elements] float32."""
    count = len(common)
    rho = np.clip(design.rho + RHO_SPREAD * rng.standard_normal(), 0, 0.95) if count else 0.0
    router = np.zeros((shape.experts, shape.hidden), np.float32)
    token = rng.standard_normal((shape.experts, shape.hidden - count))
    router[:, count:] = token * (LOGIT_DEVIATION * np.sqrt((1 - rho) / (shape.hidden - count)))
    if count:
        popularity = LOGIT_DEVIATION * np.sqrt(rho) * rng.standard_normal(shape.experts)
        router[:, :count] = np.outer(popularity, common / np.dot(common, common)) * design.growth(layer)
    return router


def rms_norm(x, weight, epsilon):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + epsilon) * weight


@dataclasses.dataclass(frozen=True)
class Figures:
    overlap: float  # share of a token's experts that the token before it used too, in the same layer
    foresight: float  # share of a layer's experts that its router names already on the layer's input before
    lru_hits: dict  # capacity as a share of all experts -> hit rate
    stream: tuple  # root mean square of the residual stream before the first and after the last layer


def simulate(shape, routers, norms, embeddings, additions, common_share, rng):
    """Sends `embeddings` [tokens, hidden] through the routers, None where a layer has none. Layer l's experts and attention are replaced by random
    vectors of root mean square additions[l] = (experts, attention to a single token); attention to more tokens averages what
    differs between them and keeps what they share, `common_share` of their energy."""
    tokens = len(embeddings)
    stream = embeddings.astype(np.float64)
    before = float(np.sqrt(np.mean(stream**2)))
    picked, early = [], []
    # Attention with random queries and keys weighs as exp(N(0, 1)): it averages about position / e tokens.
    averaged = np.maximum(1, (np.arange(tokens) + 1) / np.e)[:, None]
    for layer, router in enumerate(routers):
        experts, attention = additions[layer]
        if router is not None and picked:
            early.append(chosen(rms_norm(stream_at_router, norms[layer], shape.rms_epsilon) @ router.T, shape.top_k))
        shared, own = rng.standard_normal((1, shape.hidden)), rng.standard_normal(stream.shape)
        stream += attention * (np.sqrt(common_share) * shared + np.sqrt((1 - common_share) / averaged) * own)
        stream_at_router = stream.copy()
        if router is not None:
            picked.append(chosen(rms_norm(stream, norms[layer], shape.rms_epsilon) @ router.T, shape.top_k))
        stream += experts * rng.standard_normal(stream.shape)
    after = float(np.sqrt(np.mean(stream**2)))
    picked = np.stack(picked)
    foresight = agreement(picked[1:], np.stack(early), shape.top_k) if early else float("nan")
    hits = {capacity: lru_hit_rate(picked, capacity) for capacity in CAPACITIES}
    return Figures(agreement(picked[:, 1:], picked[:, :-1], shape.top_k), foresight, hits, (before, after))


def lru_hit_rate(picked, capacity):
    """One LRU over all layers' experts, decoding token after token; the first quarter of the tokens only warms it."""
    layers, tokens, experts = picked.shape
    slots = int(capacity * layers * experts)
    cache, hits, requests = collections.OrderedDict(), 0, 0
    for token in range(tokens):
        for layer in range(layers):
            for expert in np.flatnonzero(picked[layer, token]).tolist():
                key = (layer, expert)
                hit = key in cache
                if hit:
                    cache.move_to_end(key)
                else:
                    cache[key] = True
                    if len(cache) > slots:
                        cache.popitem(last=False)
                if 4 * token >= tokens:
                    hits, requests = hits + hit, requests + 1
    return hits / requests
