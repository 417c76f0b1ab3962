"""The Triton kernel behind :mod:`medbench.models.architecture.fused`; importing it needs triton."""

# ruff: noqa: ANN001, ANN201 - Triton gives annotations a meaning of its own
import triton
import triton.language as tl


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def expand_kernel(  # type: ignore[no-untyped-def]
    y_ptr,
    h_ptr,
    b_ptr,
    tokens,
    out_features,
    scaling,
    stride_y,
    stride_h,
    stride_b,
    EXPERTS: tl.constexpr,
    EXPERTS_PADDED: tl.constexpr,
    TOP_K: tl.constexpr,
    RANK: tl.constexpr,
    RANK_PADDED: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """Add one tile [BLOCK_TOKENS, BLOCK_OUT] of ``scaling * sum_i w_i B_i (A_i x)`` to y.

    h holds A x in its first EXPERTS*RANK columns and the router's logits in the next EXPERTS. WIDEN
    multiplies in float32, which changes no product: Triton's interpreter cannot multiply bfloat16.
    """
    token = tl.program_id(0) * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)
    out = tl.program_id(1) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    expert = tl.arange(0, EXPERTS_PADDED)
    column = tl.arange(0, RANK_PADDED)
    is_token = token < tokens
    is_out = out < out_features
    # Rows times strides outgrow 32 bits at a few hundred thousand tokens.
    h_row = h_ptr + token.to(tl.int64)[:, None] * stride_h
    y_tile = y_ptr + token.to(tl.int64)[:, None] * stride_y + out[None, :]
    in_tile = is_token[:, None] & is_out[None, :]

    logits = tl.load(
        h_row + EXPERTS * RANK + expert[None, :],
        mask=is_token[:, None] & (expert[None, :] < EXPERTS),
        other=float("-inf"),
    ).to(tl.float32)
    logits = tl.where(is_token[:, None], logits, 0.0)
    logits = tl.where(expert[None, :] < EXPERTS, logits, float("-inf"))
    best = tl.max(logits, axis=1)
    rest = logits
    chosen = expert[None, :] < tl.zeros([BLOCK_TOKENS, 1], tl.int32)
    for _ in tl.static_range(TOP_K):
        index = tl.argmax(rest, axis=1)
        hit = expert[None, :] == index[:, None]
        chosen = chosen | hit
        rest = tl.where(hit, float("-inf"), rest)
    weight = tl.where(chosen, tl.exp(logits - best[:, None]), 0.0)
    gate = weight * (scaling / tl.sum(weight, axis=1))[:, None]

    total = tl.load(y_tile, mask=in_tile, other=0.0).to(tl.float32)
    for i in tl.static_range(EXPERTS):
        gate_i = tl.sum(tl.where(expert[None, :] == i, gate, 0.0), axis=1)
        u = tl.load(
            h_row + i * RANK + column[None, :], mask=is_token[:, None] & (column[None, :] < RANK), other=0.0
        )
        b = tl.load(
            b_ptr + out.to(tl.int64)[None, :] * stride_b + i * RANK + column[:, None],
            mask=is_out[None, :] & (column[:, None] < RANK),
            other=0.0,
        )
        gated = (u.to(tl.float32) * gate_i[:, None]).to(u.dtype)
        if WIDEN:
            gated, b = gated.to(tl.float32), b.to(tl.float32)
        total += tl.dot(gated, b, input_precision="ieee")
    tl.store(y_tile, total.to(y_ptr.dtype.element_ty), mask=in_tile)
