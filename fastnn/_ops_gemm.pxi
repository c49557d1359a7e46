# Matrix products and dense layers: c = act(beta c + a b + bias), y = act(x w' + b) and its gradients.

cdef extern from "args.h":
    ctypedef struct fn_gemm_args:
        void *c
        const void *a
        const void *b
        const void *packed
        const void *bias
        int64_t batch, M, N, K, c_batch, ldc, a_batch, a_m, a_k, b_batch, b_k, b_n, beta, act
    ctypedef struct fn_dense_args:
        void *y
        void *dx
        void *dw
        void *db
        const void *x
        const void *w
        const void *packed
        const void *b
        const void *dy
        int64_t M, N, K, ldx, ldw, ldy, act
    int64_t fn_packed_room(int64_t N, int64_t K) nogil

cdef extern from "fn.h":
    enum: FN_OP_gemm, FN_OP_gemm_pack, FN_OP_dense_fwd, FN_OP_dense_bwd_x, FN_OP_dense_bwd_w


cdef inline double _product_ns(int64_t M, int64_t N, int64_t K) noexcept:
    """Multiply-adds at some eighty a nanosecond, and the reading of both operands."""
    return 100 + <double>M * N * K / 80 + (<double>M * K + <double>K * N + <double>M * N) / 16


cdef int _check_product(str name, TensorBase a, TensorBase b) except -1:
    if a.dtype_ != b.dtype_:
        raise RuntimeError(f"{name}: expected m1 and m2 to have the same dtype, but got: {DTYPE_NAMES[a.dtype_]} != {DTYPE_NAMES[b.dtype_]}")
    if a.dtype_ > FN_F64:
        raise NotImplementedError(f'"{name}" not implemented for {DTYPE_NAMES[a.dtype_]}: matrix products take float32 and float64')
    return 0


cdef int _check_bias(str name, TensorBase bias, TensorBase like, int64_t N) except -1:
    if bias.ndim != 1 or bias.shape_[0] != N:
        raise RuntimeError(f"{name}: bias {shape_of(bias)} must have shape ({N},)")
    if bias.dtype_ != like.dtype_:
        raise RuntimeError(f"{name}: bias is {DTYPE_NAMES[bias.dtype_]}, the operands are {DTYPE_NAMES[like.dtype_]}")
    return 0


# ---- c = a b -----------------------------------------------------------------------------------------------------------

cdef bint _one_stride(TensorBase x, int last, int64_t *n, int64_t *stride) noexcept:
    """Do dimensions 0..last amount to one of n elements with one stride?"""
    cdef int i
    n[0], stride[0] = 1, 0
    for i in range(last, -1, -1):
        if x.shape_[i] != 1:
            if n[0] == 1:
                stride[0] = x.stride_[i]
            elif x.stride_[i] != n[0] * stride[0]:
                return False
            n[0] *= x.shape_[i]
    return True


def gemm(TensorBase a, TensorBase b, TensorBase bias=None, int act=0, TensorBase out=None, bint accumulate=False, bint summed=False):
    """act(a b + bias), or out += a b: matrices (..., M, K) and (..., K, N), leading dimensions broadcast; any strides; summed: over these, c (M, N)."""
    cdef fn_gemm_args g
    cdef TensorBase c, direct
    cdef int64_t n[FN_DIMS]
    cdef int i, k, ndim
    cdef int64_t x, y, batch
    memset(&g, 0, sizeof(g))
    _check_product("matmul", a, b)
    if a.ndim < 2 or b.ndim < 2:
        raise RuntimeError(f"matmul: expected matrices, got {shape_of(a)} and {shape_of(b)}")
    g.M, g.K, g.N = a.shape_[a.ndim - 2], a.shape_[a.ndim - 1], b.shape_[b.ndim - 1]
    if b.shape_[b.ndim - 2] != g.K:
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({g.M}x{g.K} and {b.shape_[b.ndim - 2]}x{g.N}): {shape_of(a)} and {shape_of(b)}")
    ndim = max(a.ndim, b.ndim)
    for i in range(ndim - 2):
        k = i - (ndim - a.ndim)
        x = a.shape_[k] if k >= 0 else 1
        k = i - (ndim - b.ndim)
        y = b.shape_[k] if k >= 0 else 1
        if x != y and x != 1 and y != 1:
            raise RuntimeError(f"matmul: leading dimensions of {shape_of(a)} and {shape_of(b)} cannot be broadcast: {x} and {y} differ")
        n[i] = y if x == 1 else x
    n[ndim - 2], n[ndim - 1] = g.M, g.N
    if ndim > 2:
        lead = tuple([n[i] for i in range(ndim - 2)])
        a, b = expand(a, lead + (g.M, g.K)), expand(b, lead + (g.K, g.N))
    if not _one_stride(a, a.ndim - 3, &g.batch, &g.a_batch):
        a = contiguous(a)
        _one_stride(a, a.ndim - 3, &g.batch, &g.a_batch)
    if not _one_stride(b, b.ndim - 3, &batch, &g.b_batch):
        b = contiguous(b)
        _one_stride(b, b.ndim - 3, &batch, &g.b_batch)
    if bias is not None:
        _check_bias("matmul", bias, a, g.N)
        bias = dense(bias)
    if summed:
        n[0], n[1], ndim = g.M, g.N, 2
        if g.batch == 0:
            g.batch, g.K = 1, 0
    c = empty(a.dtype_, ndim, n) if out is None else out
    if out is not None:
        if out.ndim != ndim or memcmp(out.shape_, n, ndim * sizeof(int64_t)) != 0 or out.dtype_ != a.dtype_:
            raise RuntimeError(f"matmul: out {shape_of(out)} of {DTYPE_NAMES[out.dtype_]} must have shape {tuple([n[i] for i in range(ndim)])} and be "
                               f"{DTYPE_NAMES[a.dtype_]}")
        if not is_dense(out) or out.storage is a.storage or out.storage is b.storage:
            direct = _clone(out) if accumulate else empty(a.dtype_, ndim, n)
            copy_into(out, gemm(a, b, bias, act, contiguous(direct), accumulate, summed))
            return out
    g.c = fresh(c) if out is None else wr(out)
    g.a, g.b, g.ldc, g.c_batch = rd(a), rd(b), g.N, 0 if summed else g.M * g.N
    g.a_m, g.a_k = a.stride_[a.ndim - 2], a.stride_[a.ndim - 1]
    g.b_k, g.b_n = b.stride_[b.ndim - 2], b.stride_[b.ndim - 1]
    if bias is not None:
        g.bias = rd(bias)
    g.beta, g.act = accumulate, act
    if c.numel_:
        call(FN_OP_gemm, a.dtype_, &g, sizeof(g), g.batch * _product_ns(g.M, g.N, g.K))
    return c


# ---- y = act(x w' + b)   dx = dy w   dw = dy' x   db = sum of dy ---------------------------------------------------------

cdef TensorBase _rows_of(TensorBase x, int64_t *rows, int64_t *stride):
    """x as (rows, features) with features side by side, and the stride between rows."""
    cdef int last = x.ndim - 1
    if (x.stride_[last] != 1 and x.shape_[last] > 1) or not _one_stride(x, last - 1, rows, stride):
        x = dense(x)
        _one_stride(x, last - 1, rows, stride)
    return x


cdef class PackedWeight:
    """A weight (N, K) as linear_fwd reads it fastest, for one instruction set; it does not follow later changes of the weight."""
    cdef TensorBase panels
    cdef const fn_table *table
    cdef int64_t N, K


def linear_pack(TensorBase w):
    """w (N, K) packed for linear_fwd(..., packed=): saves its packing at each call where a batch has more rows than a few."""
    cdef fn_gemm_args g
    cdef PackedWeight p = PackedWeight.__new__(PackedWeight)
    cdef int64_t n[1]
    memset(&g, 0, sizeof(g))
    if w.ndim != 2:
        raise RuntimeError(f"linear: weight (out_features, in_features)={shape_of(w)} needs two dimensions")
    _check_product("linear", w, w)
    p.table, p.N, p.K = fn_table_now(), w.shape_[0], w.shape_[1]
    n[0] = fn_packed_room(p.N, p.K)
    p.panels = empty(w.dtype_, 1, n)
    g.c, g.b, g.N, g.K, g.b_k, g.b_n = fresh(p.panels), rd(w), p.N, p.K, w.stride_[1], w.stride_[0]
    call(FN_OP_gemm_pack, w.dtype_, &g, sizeof(g), 0.3 * p.N * p.K)
    return p


def linear_fwd(TensorBase x, TensorBase w, TensorBase b=None, int act=0, PackedWeight packed=None):
    """y (..., N) = act(x (..., K) w' + b), w (N, K), b (N) or None; packed: what linear_pack(w) gave."""
    cdef fn_dense_args d
    cdef TensorBase y
    cdef int64_t n[FN_DIMS]
    memset(&d, 0, sizeof(d))
    if w.ndim != 2 or x.ndim < 1 or x.shape_[x.ndim - 1] != w.shape_[1]:
        if w.ndim == 2 and x.ndim >= 1:
            raise RuntimeError(f"linear: input (..., in_features)={shape_of(x)} has in_features={x.shape_[x.ndim - 1]}, but weight (out_features, in_features)="
                               f"{shape_of(w)} needs {w.shape_[1]}: shapes cannot be multiplied")
        raise RuntimeError(f"linear: input (..., in_features)={shape_of(x)} needs a dimension, weight (out_features, in_features)={shape_of(w)} two")
    _check_product("linear", x, w)
    x, w = _rows_of(x, &d.M, &d.ldx), _rows_of(w, &d.N, &d.ldw)
    d.K, d.ldy, d.act = w.shape_[1], d.N, act
    if b is not None:
        _check_bias("linear", b, x, d.N)
        b = dense(b)
        d.b = rd(b)
    if packed is not None:
        if packed.N != d.N or packed.K != d.K or packed.panels.dtype_ != w.dtype_ or packed.table != fn_table_now():
            raise ValueError(f"linear: packed is a {DTYPE_NAMES[packed.panels.dtype_]} weight {(packed.N, packed.K)} for {packed.table.isa.decode()}, but weight "
                             f"(out_features, in_features)={shape_of(w)} is {DTYPE_NAMES[w.dtype_]} and the instruction set is {fn_table_now().isa.decode()}")
        d.packed = rd(packed.panels)
    memcpy(n, x.shape_, sizeof(n))
    n[x.ndim - 1] = d.N
    y = empty(x.dtype_, x.ndim, n)
    d.y, d.x, d.w = fresh(y), rd(x), rd(w)
    if y.numel_:
        call(FN_OP_dense_fwd, x.dtype_, &d, sizeof(d), _product_ns(d.M, d.N, d.K))
    return y


def linear_bwd_x(TensorBase dy, TensorBase w):
    """dx (..., K) = dy (..., N) w."""
    cdef fn_dense_args d
    cdef TensorBase dx
    cdef int64_t n[FN_DIMS]
    memset(&d, 0, sizeof(d))
    if w.ndim != 2 or dy.ndim < 1 or dy.shape_[dy.ndim - 1] != w.shape_[0]:
        raise RuntimeError(f"linear backward: dy (..., out_features)={shape_of(dy)} does not fit weight (out_features, in_features)={shape_of(w)}")
    _check_product("linear", dy, w)
    dy, w = _rows_of(dy, &d.M, &d.ldy), _rows_of(w, &d.N, &d.ldw)
    d.K = w.shape_[1]
    d.ldx = d.K
    memcpy(n, dy.shape_, sizeof(n))
    n[dy.ndim - 1] = d.K
    dx = empty(dy.dtype_, dy.ndim, n)
    d.dx, d.dy, d.w = fresh(dx), rd(dy), rd(w)
    if dx.numel_:
        call(FN_OP_dense_bwd_x, dy.dtype_, &d, sizeof(d), _product_ns(d.M, d.N, d.K))
    return dx


def linear_bwd_w(TensorBase dy, TensorBase x, bint need_bias=True, bint need_weight=True):
    """(dw (N, K), db (N)) from dy (..., N) and x (..., K); each None if not needed."""
    cdef fn_dense_args d
    cdef TensorBase dw = None, db = None
    cdef int64_t n[2]
    cdef int64_t rows
    memset(&d, 0, sizeof(d))
    if dy.ndim != x.ndim or x.ndim < 1 or memcmp(dy.shape_, x.shape_, (x.ndim - 1) * sizeof(int64_t)) != 0:
        raise RuntimeError(f"linear backward: dy (..., out_features)={shape_of(dy)} and x (..., in_features)={shape_of(x)} differ in their leading dimensions")
    _check_product("linear", dy, x)
    dy, x = _rows_of(dy, &d.M, &d.ldy), _rows_of(x, &rows, &d.ldx)
    d.N, d.K = dy.shape_[dy.ndim - 1], x.shape_[x.ndim - 1]
    d.ldw = d.K
    n[0], n[1] = d.N, d.K
    if need_weight:
        dw = empty(dy.dtype_, 2, n)
        d.dw = fresh(dw)
    if need_bias:
        db = empty(dy.dtype_, 1, n)
        d.db = fresh(db)
    d.dy, d.x = rd(dy), rd(x)
    if d.N and (d.K or need_bias):
        call(FN_OP_dense_bwd_w, dy.dtype_, &d, sizeof(d), _product_ns(d.M, d.N, d.K if need_weight else 1))
    return dw, db
