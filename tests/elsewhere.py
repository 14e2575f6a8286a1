"""A second device for machines without one: tensors that say `meta`, hold their values and refuse to meet others."""
from contextlib import contextmanager

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten
MIXING = {aten.copy_.default, aten._to_copy.default} # what moves between devices
INDEXING = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default}


class Away(torch.Tensor):
    """A tensor on the other device; its values lie in `real`."""
    @staticmethod
    def __new__(cls, real):
        made = torch.Tensor._make_wrapper_subclass(cls, real.shape, strides=real.stride(), dtype=real.dtype,
                                                   device='meta', requires_grad=real.requires_grad)
        made.real_ = real.detach()
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None): return run(func, args, kwargs or {})


def run(func, args, kwargs):
    """The operation on the values, with the rules of a machine that has two devices."""
    leaves, to = [v for v in tree_leaves((args, kwargs)) if isinstance(v, torch.Tensor)], kwargs.get('device')
    there = any(isinstance(v, Away) for v in leaves)
    here = [v for v in leaves if not isinstance(v, Away) and v.ndim]
    if there and here and func not in MIXING | INDEXING:
        raise RuntimeError(f'{func} of tensors on two devices: {[tuple(v.shape) for v in here]} is on the CPU')
    if func in INDEXING and here and not isinstance(leaves[0], Away) and there:
        raise RuntimeError(f'{func}: an index on the other device')
    to = None if to is None else torch.device(to).type
    generator = kwargs.get('generator')
    if (to == 'meta' or to is None and there) and generator is not None and generator.device.type == 'cpu':
        raise RuntimeError(f'{func}: a generator on the CPU cannot draw on another device')
    real = lambda v: v.real_ if isinstance(v, Away) else v
    args, plain = tree_map(real, args), {k: 'cpu' if k == 'device' and v is not None else real(v)
                                         for k, v in tree_map(real, kwargs).items()}
    out = func(*args, **plain)
    if func is aten.copy_.default: there = isinstance(leaves[0], Away)
    if to: there = to == 'meta'
    if not there: return out
    own = {id(v.real_): v for v in leaves if isinstance(v, Away)} # what was changed in place is itself
    return tree_map(lambda v: own[id(v)] if id(v) in own else Away(v) if isinstance(v, torch.Tensor) else v, out)


class _Made(TorchFunctionMode): # numbers become a tensor before the operations below see it
    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func not in (torch.tensor, torch.as_tensor) or torch.device(kwargs.get('device') or 'cpu').type != 'meta':
            return func(*args, **kwargs)
        return func(*args, **kwargs | {'device': None}).to('meta')


class _Run(TorchDispatchMode): # what is made with a device
    def __torch_dispatch__(self, func, types, args=(), kwargs=None): return run(func, args, kwargs or {})


@contextmanager
def elsewhere():
    """What is made with `device='meta'` is made on the other device."""
    with _Made(), _Run(): yield


def away(x):
    """Tensors, and those of a module in place, on the other device."""
    if isinstance(x, nn.Module):
        for m in x.modules():
            for k, p in m._parameters.items():
                if p is not None: m._parameters[k] = nn.Parameter(Away(p.detach()), p.requires_grad)
            for k, b in m._buffers.items():
                if b is not None: m._buffers[k] = Away(b)
        return x
    return Away(x) if isinstance(x, torch.Tensor) else x


def back(x):
    """The values of what lies there."""
    return x.real_ if isinstance(x, Away) else x


def tensors(x):
    """All tensors in it."""
    if isinstance(x, torch.Tensor): return [x]
    parts = x.values() if isinstance(x, dict) else x if isinstance(x, (list, tuple)) else ()
    return [t for v in parts for t in tensors(v)]
