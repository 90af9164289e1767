"""The size of llama.cpp's compute buffers: what a graph holds at its widest point, on each device and on the host.

There is no formula in llama.cpp, its allocator finds the sizes. These are fitted to what b11434 reports for full-size
models of thirty kinds; `python -m tests.bench.plan_grid` compares them (within 64 MiB or 10 %). For CUDA and HIP, where
a GPU computes the host's part of prompts, they are fitted to what it reports on an H200 (tests/data/cuda_grid.jsonl).
Where there is an engine to ask, its figures take their place.
"""

from dataclasses import dataclass
from functools import cached_property

from r1tui.gguf import Header
from r1tui.gguf.kv import BLOCKWISE, COMPRESSED, INDEXED, padded
from r1tui.plan.cache import is_legacy_deepseek

INDEXER_VALUES = 146_000
"""What choosing the tokens to look at takes for each token of a batch."""


@dataclass(frozen=True)
class Part:
    """The share of one device, or of the host, in the computation."""

    layers: bool
    """True if it has repeating layers."""
    first: bool
    """True if it has the first layer, which takes the embeddings."""
    alone: bool
    """True if it has all of them."""
    output: bool
    """True if it has the output layer."""
    fed: bool = False
    """True if experts of its layers are computed on the host."""
    own_experts: int = 0
    """How many of its layers it computes the experts of; 2 for more."""
    fed_last: bool = False
    """True if those of the last layer are."""
    fed_anywhere: bool = False
    """True if experts of any layer are."""
    choosing: int = 0
    """Number of its layers that choose blocks of tokens and have their experts with them."""
    fused: bool = False
    """True if its backend weights and adds up the experts' results in one step, and keeps them until then."""


@dataclass(frozen=True)
class Widths:
    """Bytes of one batch, for a model, a batch and a context."""

    header: Header
    ctx_size: int
    ubatch_size: int
    flash_attention: bool
    kv_from_host: int = 0
    """One layer's whole cache, where the devices take it from the host for each batch (--no-kv-offload)."""
    halved: int = 0
    """One layer's cache in half precision, where flash attention makes that of f32 values."""
    half_keys: bool = False
    """True if the cache's keys are in half precision."""
    window: int = 0
    """The tokens that the layers keep which keep a window of them."""
    attends: bool = True
    """True if the first layer looks at all tokens: the host is done with the mask then."""
    tensors: frozenset[str] = frozenset()
    """The names of the layers' tensors, without the layers' numbers."""

    @property
    def _indexed(self) -> bool:
        return self.header.architecture in INDEXED

    @property
    def _choosing(self) -> bool:
        return self.header.architecture == BLOCKWISE and self.flash_attention

    @property
    def _compressed(self) -> bool:
        return self.header.architecture == COMPRESSED

    def _rows(self, values: int) -> int:
        return self.ubatch_size * values * 4

    @cached_property
    def row(self) -> int:
        """One activation of the model's width."""
        return self._rows(self.header.n_embedding)

    @cached_property
    def mask(self) -> int:
        """The attention mask, in half precision; compressed keys need half of it."""
        return padded(self.ctx_size) * self.ubatch_size * (1 if self._compressed else 2)

    @cached_property
    def logits(self) -> int:
        """A score for each word of the vocabulary."""
        return self._rows(self.header.vocab_size)

    @cached_property
    def _experts_width(self) -> int:
        width = self.header.number("expert_feed_forward_length") or self.header.number("feed_forward_length")
        return self.header.n_experts_used * width

    @cached_property
    def expert_rows(self) -> int:
        """Activations of the experts in use: their width three times and the model's once, 208 MiB for R1.

        The model's takes the place of two of their widths that are done with, where it is no wider; without a gate
        there is one.
        """
        width = self._rows(self._experts_width)
        if self.header.architecture == "llama4":  # its inputs are weighted, not its results
            return 3 * width + self._results
        if not self.tensors & {"ffn_gate_exps", "ffn_gate_up_exps"}:
            return width + self._results
        return 3 * width + (self._results if self._results > 2 * width else 0)

    @cached_property
    def _results(self) -> int:
        """The results of the experts in use."""
        return self._rows(self.header.n_experts_used * self.header.n_embedding)

    @property
    def _ends_with_experts(self) -> bool:
        """True if a layer's last step is to add up its experts' results: no shared expert, and no bias (gpt-oss)."""
        return bool(self.expert_rows) and self.header.architecture != "gpt-oss" and not self._has_shared_expert

    @property
    def _has_shared_expert(self) -> bool:
        return "ffn_up_shexp" in self.tensors

    @cached_property
    def _feed_forward(self) -> int:
        dense = self.tensors & {"ffn_up", "ffn_down"}
        return 3 * self._rows(self.header.number("feed_forward_length")) if dense else 0

    @cached_property
    def _legacy_heads(self) -> int:
        """Queries, keys, values and results of all heads."""
        return self._rows(2 * self.header.n_heads * (self.header.key_length + self.header.value_length))

    @cached_property
    def _joined_keys(self) -> int:
        """Compressed keys in half precision, which are joined with those of the window: 11/4 of them."""
        return padded(self.ctx_size) // 4 * self.header.key_length * 2 * 11 // 4 if self.half_keys else 0

    @cached_property
    def _window_mask(self) -> int:
        """The mask of the layers that keep a window only, in half precision."""
        kept = padded(min(self.ctx_size, self.window + self.ubatch_size)) if self.window else 0
        return kept * self.ubatch_size * 2

    def _layer(self, kv: int, *, alone: bool = True, apart: bool = False, fed: bool = False) -> int:
        """The widest point of a repeating layer; `kv` is the cache that it takes from elsewhere.

        `apart`: others are on other devices and on the host. `fed`: experts are computed on the host, and only their
        results come back.
        """
        scores = padded(self.ctx_size) * self.ubatch_size * (4 * self.header.n_heads + 4)
        legacy = is_legacy_deepseek(self.header)
        attention = self.mask if self.flash_attention else scores
        attention += self.halved
        if self._compressed:
            return 32 * self.row + self.mask + self._joined_keys
        if self.header.mla:
            heads = self._rows(2 * self.header.kv_lora_rank * self.header.n_heads)  # queries and results, compressed
            indexer = (
                self.row + 5 * self.mask if apart else self._rows(INDEXER_VALUES) // (1 if alone else 2) + 3 * self.mask
            )
            taken = kv + 2 * self.mask if kv and self.flash_attention else 0
            return heads + 61 * self.row // 7 + attention + taken + (indexer if self._indexed else 0)
        if legacy and kv:
            return 11 * self.row + kv + attention
        if legacy and self.flash_attention:
            heads = max(8 * self.row, 6 * self.row + self.mask) + self._legacy_heads + self.halved
            return max(heads, 3 * self.row + self._feed_forward + self.mask)
        if legacy:
            return 202 * self.row // 14 + scores
        masks = (self.mask if self.flash_attention else 2 * self.mask) + self._window_mask
        experts = self._results if fed else self.expert_rows
        feed_forward = 3 * self.row + max(self._feed_forward, experts) + masks + kv + self.halved
        if self._choosing:  # masks for each of four heads, twice in single precision and once in half, and five more
            return max(feed_forward, 10 * self.row + 21 * self.mask + kv)
        if self.flash_attention:
            return feed_forward
        heads = self._rows(max(self.header.n_kv_heads) * self.header.key_length)
        return max(feed_forward, 4 * self.row + 2 * heads + scores + kv)

    @property
    def _copied_rows(self) -> tuple[int, int]:
        """Copies of inputs in a pipeline, in rows: on the first device, on the others."""
        if self._indexed:
            return -1, 4
        if self._choosing:
            return 20, 34
        if "ssm_x" in self.tensors:  # Mamba's first kind
            return 20, 23
        if not is_legacy_deepseek(self.header):
            return (3, 27) if self._compressed else (14, 8)
        return (27, 21) if self._legacy_without_flash else (13, 9)

    @cached_property
    def _legacy_without_flash(self) -> bool:
        return is_legacy_deepseek(self.header) and not self.flash_attention

    def device(self, part: Part, *, pipelined: bool, apart: bool, fetched: int) -> int:
        """One device's buffer.

        `pipelined`: several devices work on several batches at once, each with copies of its inputs. `fetched` is the
        largest tensor that the device takes from the host for a batch, 0 for one that never does (RPC). `apart`: see
        `_layer`.
        """
        needs = [fetched + (self.expert_rows or self._feed_forward)] if fetched else []
        copies = (6 if self._indexed else 3) if self.flash_attention else 6
        alone = part.alone or (part.first and (pipelined or part.fed))
        last = self.mask >= 3 * self._rows(self._experts_width)  # its last layer's experts take the mask's place
        fed = part.fed and part.own_experts <= last
        layer, bare = (self._layer(kv, alone=alone, apart=apart, fed=fed) for kv in (self.kv_from_host, 0))
        if part.layers:
            rows = 1 if part.first else -4 if self._compressed else 0 if self.header.n_experts else -1
            if pipelined:
                rows = self._copied_rows[0 if part.first else 1]
            needs.append(layer + rows * self.row + (copies * self.mask if pipelined else 0))
            if self._choosing and not part.first:  # a view of the mask for each layer, and copies of it
                needs[-1] += part.choosing * 2 * self.mask * (4 if pipelined else 1)
            comes_back = part.fed and self.header.mla and not self._indexed
            if comes_back and (self.kv_from_host or not part.first):  # the experts' results: 62 MiB
                needs.append(bare + self.row + self._rows(3 * self._experts_width) // 2)
        if part.output:
            rows, masks = (2 if part.layers else 1), 0
            if pipelined:
                first = 37 if self._compressed else 12 if self.header.architecture == "llama4" else 9
                rows, masks = (first, copies + 1) if part.layers else (5, 0)
            elif self._compressed:
                rows = 1 if part.fed_anywhere and part.own_experts > 1 else 5  # the streams of its hyper-connections
            elif part.fed and part.first and not self.attends:
                rows = 5
            elif part.layers and part.first:
                rows, masks = 4, 1
            elif part.fed_last:
                rows = self.header.n_experts_used + 3 if self._has_shared_expert else 1
            if part.fused and self._ends_with_experts:  # their results lie below
                rows += self.header.n_experts_used + 1
            needs.append(self.logits + rows * self.row + masks * (self.mask + self._window_mask))
        return max(needs, default=0)

    def sharing_device(self, part: Part, *, fetched: int, kv: int, mixed: bool) -> int:
        """The buffer of the first GPU of CUDA or HIP, which computes the host's layers and experts too for prompts.

        `fetched` is the largest tensor and `kv` one layer's cache that it copies from the host for it; `mixed`: the
        host has both whole layers and experts of others. The allocator puts a tensor into the smallest hole that holds
        it: the copy of a tensor leaves up to half of its size unused, a twelfth of the layer where scores are most of
        it. Experts find no hole among those of whole layers where attention is wider than they are.
        """
        kv *= 2 if self.header.mla else 1  # once as keys, once as values
        layer = self._layer(0) + self.row
        beside = fetched + 4 * self.row + self.mask + self._window_mask
        if self.expert_rows:
            beside += self._rows(self._experts_width) + self._results + kv
        else:
            beside += 2 * self._feed_forward // 3
        if self._indexed:
            beside += self._rows(INDEXER_VALUES)
        if not self.flash_attention or self._indexed:
            layer += kv or layer // 12
        else:
            layer += kv + min(layer // 4, fetched // 2) + (fetched if mixed and layer > beside else 0)
        return max(self.device(part, pipelined=False, apart=False, fetched=0), layer, beside)

    def _beside_mask(self, mask: int) -> int:
        """The mask, and the activations of experts that do not find room in its place when it is done with."""
        width = max(self._rows(self._experts_width), 1)
        results = max(self.expert_rows - 3 * width, 0)
        inside = min((mask - 1) // width, 3)
        fits = inside == 3 and max(mask - 3 * width, 2 * width) >= results
        return mask + (3 - inside) * width + (0 if fits else results)

    def host(self, part: Part, *, pipelined: bool, several: bool, relieved: bool) -> int:
        """The host's buffer; its part is `fed` when it computes experts of layers that are on one of the devices.

        `relieved`: a GPU computes its layers and experts for prompts, and it has the inputs only: embeddings, masks,
        and without flash attention the place of each value in the cache, and the keys for a cache of its own.
        """
        masks = self.mask if self.flash_attention and not self._indexed else 2 * self.mask
        inputs = (2 if self._compressed else 4) * self.row
        if self.kv_from_host and is_legacy_deepseek(self.header) and self.flash_attention:
            inputs = 8 * self.row
        if not self.flash_attention and not self.header.mla:
            keys = self.header.key_length if self.kv_from_host or part.layers else 0
            inputs += self._rows(max(self.header.n_kv_heads) * (2 * self.header.value_length + keys))
        masks += self._window_mask
        needs = [inputs + masks + (self.row + 2 * self.mask if self._choosing else 0)]
        if pipelined:
            needs = [(28 if self._legacy_without_flash else 5 if self._compressed else 10) * self.row + 4 * masks]
        if relieved:
            return needs[0]
        if part.layers:
            needs.append(self._layer(0, alone=part.alone) + 2 * self.row)
        if part.output:
            needs.append(self.logits + 5 * self.row + self.mask)
        if part.fed:
            rows = 6 if (several or self.kv_from_host) and self._legacy_without_flash else 2
            reused = self.attends and not several and self.flash_attention
            beside = self._beside_mask(masks) if reused else self.expert_rows + (masks if several else self.mask)
            needs.append(rows * self.row + beside)
        return max(needs)
