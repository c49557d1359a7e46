# A weight's step where its gradient is made: dense_bwd_w, and what an optimizer's op does with dw and db at the end of the step, become one
# op, dense_step. The gradient is then used while it lies in the cache, and is not written at all if nobody sees it after the step (a step
# that ends with zero_grad). So the weight changes earlier in the list than it was written, which nobody may notice: between the two places
# no operation names the storage of the weight, of its state or of its count.

cdef extern from "fn.h":
    enum: FN_OP_dense_step

cdef extern from "args.h":
    ctypedef struct fn_dense_step_args:
        fn_dense_args d
        int64_t optimizer
        fn_seg w, b

_POINTERS["dense_step"] = _POINTERS["dense"]             # its args begin with those

cdef enum: _MOST_ROWS = 1023, _MOST_BYTES = 1 << 20      # of the batch, whose rows lie in the cache while dw is made row by row

cdef struct _memory:
    uint64_t begin, end


cdef int _add_storage(_memory *spans, int n, list storages, const void *address) except -1:
    """n + 1 with the storage from outside that an address lies in; n for null; 0 if it lies in none."""
    cdef Storage s
    cdef uint64_t at = <uint64_t>address
    if address == NULL:
        return n
    for s in storages:
        if <uint64_t><uintptr_t>s.ptr <= at < <uint64_t><uintptr_t>s.ptr + <uint64_t>s.nbytes:
            spans[n].begin = <uint64_t><uintptr_t>s.ptr
            spans[n].end = spans[n].begin + <uint64_t>s.nbytes
            return n + 1
    return 0


cdef bint _named(Tape t, int64_t start, int64_t stop, _memory *spans, int n) except -1:
    """May an operation in start .. stop-1 read or write there? Every operand's address lies in its storage."""
    cdef Op o
    cdef uint64_t *w
    cdef int64_t i
    cdef size_t k
    cdef int m
    for i in range(start, stop):
        o = t.ops[i]
        if o is None or o.op == FN_OP_optim_tick:
            continue
        w = o.words()
        for k in range(len(o.args) // 8):
            for m in range(n):
                if spans[m].begin <= w[k] < spans[m].end:
                    return True
    return False


cdef int64_t _maker(Tape t, int64_t j, fn_seg *seg, bint bias) except -2:
    """The place of the dense_bwd_w that makes a segment's gradient, dw or db, for the optimizer at place j alone, or -1."""
    cdef Op o
    cdef fn_dense_args *d
    cdef list uses
    if not _begins(<uint64_t>seg.g):
        return -1
    uses = [i for i in t.uses[_block(<uint64_t>seg.g)] if (<Op>t.ops[i]).op != FN_OP_optim_tick]
    o = t.ops[uses[0]]
    if uses != [uses[0], j] or o.op != FN_OP_dense_bwd_w or o.dtype != (<Op>t.ops[j]).dtype:
        return -1
    d = <fn_dense_args *>o.words()
    if d.M > _MOST_ROWS or d.M * d.K * itemsize[o.dtype] > _MOST_BYTES or d.ldw != d.K:
        return -1
    return uses[0] if (d.db if bias else d.dw) == seg.g and seg.n == d.N * (1 if bias else d.K) else -1


cdef int _step_with(Tape t, int64_t i, int op, fn_seg *seg, double work) except -1:
    """Let dense_bwd_w at place i step the segment."""
    cdef Op o = t.ops[i]
    cdef fn_dense_step_args *a
    cdef bint seen = _block(<uint64_t>seg.g) in t.seen
    t.leave(i)
    if o.op == FN_OP_dense_bwd_w:
        o.op = FN_OP_dense_step
        o.args.extend(bytes(sizeof(fn_dense_step_args) - len(o.args)))
    o.work += work
    a = <fn_dense_step_args *>o.words()
    a.optimizer = op
    if a.d.dw == seg.g:
        a.w = seg[0]
        a.w.g = NULL
        if not seen:
            a.d.dw = NULL
    else:
        a.b = seg[0]
        a.b.g = NULL
        if not seen:
            a.d.db = NULL
    o.renamed()
    t.enter(i, o)
    if a.w.p != NULL and a.d.dx == NULL:
        _with_dx(t, i)
    return 0


cdef int _with_dx(Tape t, int64_t i) except -1:
    """Let dense_step at place i, of a single row, make dx as well if that is done right before it: w is then read once."""
    cdef Op o = t.ops[i], x
    cdef fn_dense_step_args *a = <fn_dense_step_args *>o.words()
    cdef fn_dense_args *d
    cdef int64_t k = i - 1
    while k >= 0 and t.ops[k] is None:
        k -= 1
    x = t.ops[k] if k >= 0 else o
    d = <fn_dense_args *>x.words()
    if x.op != FN_OP_dense_bwd_x or x.dtype != o.dtype or a.d.M != 1 or d.M != 1 or d.dy != a.d.dy or d.w != a.w.p or d.packed != NULL or \
            d.N != a.d.N or d.K != a.d.K or d.ldw != d.K:
        return 0
    t.drop(k)
    t.leave(i)
    a.d.dx, a.d.w = d.dx, d.w
    o.work += x.work
    o.renamed()
    t.enter(i, o)
    return 0


cdef int _step_at_once(Tape t, Op o, list storages) except -1:
    cdef int64_t j = t.ops.index(o), k = j - 1, i, first = j, kept = 0
    cdef fn_optim_args *a = <fn_optim_args *>o.words()
    cdef fn_seg *segs = <fn_seg *>(a + 1)
    cdef _memory spans[5]
    cdef Op tick = None
    cdef int n
    cdef double work
    cdef list taken = []                 # (segment, place), weights first: a bias goes with its weight
    while k >= 0 and t.ops[k] is None:
        k -= 1
    if k >= 0 and (<Op>t.ops[k]).op == FN_OP_optim_tick and (<Op>t.ops[k]).args == o.args:
        tick = t.ops[k]
    for bias, s in [(b, s) for b in range(2) for s in range(a.nseg)]:
        i = _maker(t, j, &segs[<int>s], bias)
        if i < 0 or (segs[<int>s].step != NULL and tick is None) or (bias and i not in [place for _, place in taken]):
            continue
        n = 0
        for address in (<uintptr_t>segs[<int>s].p, <uintptr_t>segs[<int>s].s0, <uintptr_t>segs[<int>s].s1, <uintptr_t>segs[<int>s].s2,
                        <uintptr_t>segs[<int>s].step):
            n = _add_storage(spans, n, storages, <const void *><uintptr_t>address)
            if address and n == 0:
                break
        if n and not _named(t, i, j, spans, n):
            taken.append((s, i))
            first = min(first, i)
    if tick is not None:                 # which goes before the first: nobody else may know the counts
        for s in range(a.nseg):
            if not _add_storage(spans, 0, storages, segs[s].step) or _named(t, first, j, spans, 1):
                return 0
    if not taken:
        return 0
    for s, i in taken:
        work = o.work * segs[<int>s].n / a.total
        _step_with(t, i, o.op, &segs[<int>s], work)
    t.leave(j)
    gone = {s for s, _ in taken}
    work = o.work / a.total
    for s in range(a.nseg):
        if s in gone:
            a.total -= segs[s].n
        else:
            segs[kept] = segs[s]
            kept += 1
    a.nseg = kept
    o.work = work * a.total
    del o.args[sizeof(fn_optim_args) + kept * sizeof(fn_seg):]
    o.at = _names_in(o)
    t.ops[j] = o if kept else None
    if tick is not None:
        k = t.ops.index(tick)
        segs = <fn_seg *>(<fn_optim_args *>tick.words() + 1)
        for s in range((<fn_optim_args *>tick.words()).nseg):
            segs[s].g = NULL             # a tick does not read gradients
        tick.at = _names_in(tick)
        t.ops[k] = None
        t.ops.insert(first, tick)
    t.index()
    return 0


cdef list _names_in(Op o):
    """The words of an optimizer's args that hold names: gradients."""
    cdef fn_seg *segs = <fn_seg *>(<fn_optim_args *>o.words() + 1)
    cdef uint64_t *w = o.words()
    return [<uint64_t *>&segs[s].g - w for s in range((<fn_optim_args *>w).nseg) if <uint64_t>segs[s].g & _NAMED]
