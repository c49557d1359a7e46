# The tape. A node belongs to the tensors it made and dies with them; it saves storages, never the tensors, so there are no cycles.

import heapq

cdef int64_t _sequence = 0


def is_grad_enabled():
    """Does this thread record gradients?"""
    return not fn_tls_no_grad


def set_grad_mode(bint on):
    """Switch this thread's gradient mode; returns the old one."""
    global fn_tls_no_grad
    old = not fn_tls_no_grad
    fn_tls_no_grad = not on
    return old


cdef class Node:
    """One step of a graph: backward(node, *dy) gives the gradients of its inputs."""
    cdef readonly object backward
    cdef tuple edges                     # per input: (Node, output index), a leaf tensor, or None
    cdef readonly tuple needs            # per input: is its gradient wanted?
    cdef tuple saved_, versions
    cdef readonly object meta
    cdef readonly int64_t sequence       # rises with creation: inputs always have lower ones
    cdef readonly int outputs
    cdef int out_ndim
    cdef int64_t out_shape[FN_DIMS]      # of a single output
    cdef dict retained                   # output index -> weak reference to a tensor that wants its .grad
    cdef bint released

    @property
    def saved(self):
        """What backward needs, checked against changes in place since."""
        cdef TensorBase t
        cdef int i
        if self.released:
            raise RuntimeError("Trying to backward through the graph a second time (or directly access saved tensors after they have already "
                               "been freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). "
                               "Specify retain_graph=True if you need to backward through the graph a second time.")
        for i in range(len(self.saved_)):
            if isinstance(self.saved_[i], TensorBase):
                t = self.saved_[i]
                if t.storage.version != self.versions[i]:
                    raise RuntimeError("one of the variables needed for gradient computation has been modified by an inplace operation: a tensor of "
                                       f"shape {shape_of(t)} needed by {self.name()} is at version {t.storage.version}; expected version "
                                       f"{self.versions[i]} instead")
        return self.saved_

    def name(self):
        return "".join(part.capitalize() for part in self.backward.__name__.strip("_").split("_"))

    def __repr__(self):
        return f"<{self.name()}>"

    @property
    def next_functions(self):
        return tuple([(e[0], e[1]) if isinstance(e, tuple) else (e, 0) for e in self.edges])


cdef inline object edge_of(TensorBase t):
    cdef Node node = node_of(t)
    if node is not None:
        return (node, t.node_index)
    if t.requires_grad_:
        if fn_tls_recorder != NULL:
            (<Recorder>fn_tls_recorder).note_leaf(t)
        return t
    return None


cdef Node new_node(backward, tuple edges, tuple saved, meta, int outputs):
    global _sequence
    cdef Node node = Node.__new__(Node)
    cdef list kept = [], versions = []
    _sequence += 1
    node.sequence = _sequence
    node.backward, node.edges, node.meta, node.outputs = backward, edges, meta, outputs
    node.needs = tuple([e is not None for e in edges])
    for s in saved:
        if isinstance(s, TensorBase):
            kept.append(detach(<TensorBase>s))
            versions.append((<TensorBase>s).storage.version)
        else:
            kept.append(s)
            versions.append(None)
    node.saved_, node.versions = tuple(kept), tuple(versions)
    node.out_ndim = -1
    return node


cdef Node node_of(TensorBase t):
    """t's node; a view whose base was rewritten in place gets a new one: its part of the base."""
    cdef TensorBase b = t.base
    if b is not None and t.history != b.history:
        t.history = b.history
        t.node = new_node(_as_strided_backward, (edge_of(b),), (), (_geometry(b), _geometry(t)), 1)
        t.node_index = 0
    return t.node


def needs_grad(*inputs):
    """Will attach() make a node for these inputs?"""
    return _any_needs(inputs)


cdef bint _any_needs(tuple inputs):
    cdef TensorBase t
    if fn_tls_no_grad:
        return False
    for x in inputs:
        if isinstance(x, TensorBase):
            t = x
            if t.requires_grad_ or node_of(t) is not None:
                return True
    return False


def attach(y, backward, tuple inputs, tuple saved=(), meta=None):
    """y (a tensor or a tuple of them), made from inputs, gets a node where one is needed. Returns y."""
    cdef Node node
    cdef TensorBase t
    cdef int i
    if not _any_needs(inputs):
        return y
    node = new_node(backward, tuple([edge_of(<TensorBase>x) if isinstance(x, TensorBase) else None for x in inputs]), saved, meta,
                    len(y) if isinstance(y, tuple) else 1)
    if isinstance(y, tuple):
        for i, o in enumerate(y):
            t = o
            if t.dtype_ <= FN_F64:
                t.node, t.node_index = node, i
    else:
        t = y
        t.node, t.node_index = node, 0
        node.out_ndim = t.ndim
        memcpy(node.out_shape, t.shape_, t.ndim * sizeof(int64_t))
    return y


def set_requires_grad(TensorBase t, value):
    cdef bint on = bool(value)
    if node_of(t) is not None:
        if not on:
            raise RuntimeError("you can only change requires_grad flags of leaf variables. If you want to use a computed variable in a subgraph "
                               "that doesn't require differentiation use var_no_grad = var.detach().")
        return
    if on and t.dtype_ > FN_F64:
        raise RuntimeError(f"only Tensors of floating point dtype can require gradients, got {DTYPES[t.dtype_].name}")
    if t.requires_grad_ != on:
        t.requires_grad_ = on
        touch()


cdef int set_grad(TensorBase t, value) except -1:
    if fn_tls_recorder != NULL:
        (<Recorder>fn_tls_recorder).note_grad(t)
    if t.grad_ is not value:
        t.grad_ = value
        touch()
    return 0


def cut(TensorBase t):
    """t without its history, a leaf."""
    t.node, t.requires_grad_ = None, False
    return t


def retain_grad(TensorBase t):
    """Keep .grad of a tensor that is not a leaf."""
    import weakref
    cdef Node node = node_of(t)
    if node is None:
        if not t.requires_grad_:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        return
    if node.retained is None:
        node.retained = {}
    node.retained[t.node_index] = weakref.ref(t)
    t.retains = True


# ---- in place: x takes the value and the history of y ------------------------------------------------------------------

cdef tuple _geometry(TensorBase t):
    return (tuple([t.shape_[i] for i in range(t.ndim)]), tuple([t.stride_[i] for i in range(t.ndim)]), t.offset)


def check_inplace(TensorBase x):
    """In grad mode x is about to be rewritten with a gradient."""
    cdef TensorBase b
    if x.requires_grad_ and node_of(x) is None:
        raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
    if x.base is not None:
        b = x.base
        if b.requires_grad_ and node_of(b) is None:
            raise RuntimeError("a view of a leaf Variable that requires grad is being used in an in-place operation.")


def source_of(TensorBase x):
    """A copy of x's values with x's history: what an in-place operation reads."""
    cdef TensorBase s = _clone(x)
    cdef Node node = node_of(x)
    s.node, s.node_index = node, x.node_index
    return s


def rebase(TensorBase x, TensorBase y):
    """x[...] = y where y has a graph: x's history becomes y's; of a view, its base's history takes y in as a part."""
    cdef TensorBase b = x.base
    cdef Node node
    copy_into(x, y)
    if b is None:
        x.node, x.node_index = node_of(y), y.node_index
        x.history += 1
    else:
        node = new_node(_slice_scatter_backward, (edge_of(b), edge_of(y)), (), (_geometry(b), _geometry(x)), 1)
        b.node, b.node_index = node, 0
        b.history += 1
    return x


cdef TensorBase _over(geometry, int dtype, TensorBase like):
    """Zeros over the memory a base spans, as a flat tensor, with the offset its first element had."""
    shape, stride, _ = geometry
    cdef int64_t span = 1
    for n, s in zip(shape, stride):
        if n == 0:
            span = 0
            break
        span += (n - 1) * s
    cdef TensorBase flat = empty(dtype, 1, &span)
    fill_into(flat, 0)
    return flat


cdef TensorBase _view_of(TensorBase flat, geometry, int64_t base_offset):
    shape, stride, offset = geometry
    return as_strided(flat, shape, stride, offset - base_offset)


def _as_strided_backward(node, dy):
    """y = base.as_strided(view): the gradient lies at the view's place in zeros."""
    base, view = node.meta
    shape, stride, offset = view
    broadcast = tuple([i for i, (n, s) in enumerate(zip(shape, stride)) if s == 0 and n > 1])
    if broadcast:
        dy = sum_(dy, broadcast, True)
        shape = tuple([1 if i in broadcast else n for i, n in enumerate(shape)])
    flat = _over(base, (<TensorBase>dy).dtype_, dy)
    copy_into(_view_of(flat, (shape, stride, offset), base[2]), dy)
    return (_view_of(flat, base, base[2]),)


def _slice_scatter_backward(node, dy):
    """base' = base with the view replaced by y: dbase is dy with zeros in the view, dy_view the view of dy."""
    base, view = node.meta
    flat = _over(base, (<TensorBase>dy).dtype_, dy)
    copy_into(_view_of(flat, base, base[2]), dy)
    part = _view_of(flat, view, base[2])
    dview = contiguous(part) if node.needs[1] else None
    if dview is part:
        dview = _clone(part)
    fill_into(part, 0)
    return (_view_of(flat, base, base[2]) if node.needs[0] else None, dview)


cdef TensorBase _clone(TensorBase x):
    cdef TensorBase y = empty_in_order(x, x.dtype_)
    copy_into(y, x)
    return y


def clone(TensorBase x):
    """A fresh copy without history."""
    return _clone(x)


# ---- the backward pass -------------------------------------------------------------------------------------------------

cdef class _Pass:
    cdef dict buffers                    # Node -> list of gradients, one per output
    cdef dict leaves                     # id(leaf) -> [leaf, gradient]
    cdef list heap

    cdef int give(self, edge, TensorBase g) except -1:
        cdef Node node
        cdef list slots
        cdef int i
        cdef TensorBase leaf
        if isinstance(edge, tuple):
            node, i = edge
            if node.out_ndim >= 0 and (g.ndim != node.out_ndim or memcmp(g.shape_, node.out_shape, g.ndim * sizeof(int64_t)) != 0):
                raise RuntimeError(f"a gradient of shape {shape_of(g)} reaches {node.name()}, whose output has shape "
                                   f"{tuple([node.out_shape[k] for k in range(node.out_ndim)])}")
            slots = self.buffers.get(node)
            if slots is None:
                slots = [None] * node.outputs
                self.buffers[node] = slots
                heapq.heappush(self.heap, (-node.sequence, node))
        else:
            leaf = edge
            i = 1
            slots = self.leaves.get(id(leaf))
            if not same_shape(leaf, g):
                raise RuntimeError(f"a gradient of shape {shape_of(g)} reaches a leaf of shape {shape_of(leaf)}")
            if slots is None:
                slots = [leaf, None]
                self.leaves[id(leaf)] = slots
        slots[i] = g if slots[i] is None else add(slots[i], g)
        return 0


def run_backward(roots, grads, bint retain_graph, inputs=None):
    """Send grads down from roots. With inputs, return their gradients and touch no .grad; else add to the leaves' .grad."""
    global fn_tls_no_grad
    cdef _Pass p = _Pass.__new__(_Pass)
    cdef Node node
    cdef TensorBase t
    cdef list dys, wanted = []
    cdef object g, results, target
    cdef bint quiet = fn_tls_no_grad
    cdef dict captured = {}
    p.buffers, p.leaves, p.heap = {}, {}, []
    fn_tls_no_grad = 1
    try:
        for t, g in zip(roots, grads):
            p.give(edge_of(t), g)
        if inputs is not None:
            for t in inputs:
                target = edge_of(t)
                wanted.append(target)
                if isinstance(target, tuple):
                    captured[target] = None
        while p.heap:
            node = heapq.heappop(p.heap)[1]
            dys = p.buffers.pop(node)
            if node.retained is not None:
                for i, ref in node.retained.items():
                    if ref() is not None and dys[i] is not None:
                        set_grad(ref(), dys[i])
            if captured:
                for i in range(node.outputs):
                    if (node, i) in captured:
                        captured[(node, i)] = dys[i]
            results = node.backward(node, *dys)
            dys = None
            if not retain_graph and len(node.saved_):
                node.saved_, node.versions, node.released = (), (), True
            if not isinstance(results, tuple):
                results = (results,)
            if len(results) != len(node.edges):
                raise RuntimeError(f"{node.name()} returned {len(results)} gradients for {len(node.edges)} inputs")
            for target, g in zip(node.edges, results):
                if target is not None and g is not None:
                    p.give(target, g)
            results = g = None
        if inputs is not None:
            return [captured.get(e) if isinstance(e, tuple) else p.leaves.get(id(e), (None, None))[1] for e in wanted]
        for slots in list(p.leaves.values()):
            _accumulate(slots)
    finally:
        fn_tls_no_grad = quiet


cdef int _accumulate(list slots) except -1:
    """leaf.grad += g; a leaf without gradient takes g itself if nothing else holds it, else a copy."""
    cdef TensorBase leaf = slots[0], g = slots[1], old
    slots[1] = None
    if fn_tls_recorder != NULL:
        (<Recorder>fn_tls_recorder).note_grad(leaf)
    if g.dtype_ != leaf.dtype_:
        g = cast(g, DTYPES[leaf.dtype_])
    if g.base is not None and (<PyObject *>g.base).ob_refcnt == 1 and storage_refs(g) == 2:
        g.base, g.history = None, 0                          # a view of what nobody else holds
    if leaf.grad_ is not None:
        old = leaf.grad_
        add(old, g, out=old)
    elif Py_REFCNT(g) == 1 and storage_refs(g) == 1 and g.base is None and g.storage.pooled and g.offset == 0 and (
            is_dense(g) or (fills(g) and memcmp(g.stride_, leaf.stride_, g.ndim * sizeof(int64_t)) == 0)):
        g.storage.stands_in = False
        set_grad(leaf, g)
    else:
        old = empty_as(leaf, leaf.dtype_)
        copy_into(old, g)
        set_grad(leaf, old)
    return 0
