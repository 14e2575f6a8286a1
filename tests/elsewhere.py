"""A second device for machines without one: tensors that say `meta`, hold their values and refuse to meet others."""
import dataclasses, weakref
from contextlib import ExitStack, contextmanager, nullcontext
from unittest import mock

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
MIXING = {aten.copy_.default, aten._to_copy.default, aten.fill_.Tensor} # what moves between devices
INDEXING = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default}
STRICT = {aten.cat.default, aten.stack.default} # not even numbers of the CPU


class Away(torch.Tensor):
    """A tensor on the other device; its values lie in `real_`."""
    @staticmethod
    def __new__(cls, real):
        real = real.resolve_conj().resolve_neg() # no lazy signs
        made = torch.Tensor._make_wrapper_subclass(cls, real.shape, strides=real.stride(), dtype=real.dtype,
                                                   device='meta', requires_grad=real.requires_grad)
        made.real_ = real.detach()
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None): return run(func, args, kwargs or {})

    is_meta = False # it has values
    def untyped_storage(self): return self.real_.untyped_storage() # whose it is
    def tolist(self): return self.real_.tolist()
    def __reduce_ex__(self, protocol): return self.real_.__reduce_ex__(protocol) # saved as what it holds


Plain, FAR = torch.Generator, weakref.WeakValueDictionary()


class _Any(type(Plain)):
    def __instancecheck__(cls, x): return type.__instancecheck__(Plain, x)
    def __call__(cls, device='cpu'):
        if torch.device(device).type != 'meta': return Plain(device)
        made = super().__call__()
        FAR[made._cdata] = made # operations see another object of the same stream
        return made


class Far(Plain, metaclass=_Any):
    """In the place of `torch.Generator`: those of the other device draw the CPU's stream."""
    device = torch.device('meta')


def each(f, x): # what the arguments of an operation are made of
    return type(x)([each(f, v) for v in x]) if isinstance(x, (list, tuple)) else f(x)


def mixed(func, args, leaves, there):
    """Why a machine with two devices refuses, or None."""
    here = [v for v in leaves if not isinstance(v, Away) and (v.ndim or func in STRICT)]
    if not there or func in MIXING: return None
    if func in INDEXING: # an index may lie on the CPU, what is indexed and what is written may not
        here = [v for v in (args[0], *args[2:3]) if isinstance(v, torch.Tensor) and not isinstance(v, Away) and v.ndim]
    return f'{func} of tensors on two devices: {[tuple(v.shape) for v in here]} on the CPU' if here else None


def run(func, args, kwargs):
    """The operation on the values, with the rules of a machine that has two devices."""
    leaves, to = [], kwargs.get('device')
    def real(v):
        if not isinstance(v, torch.Tensor): return v
        leaves.append(v)
        return v.real_ if isinstance(v, Away) else v
    plain, named = each(real, args), {k: each(real, v) for k, v in kwargs.items()}
    there = any(isinstance(v, Away) for v in leaves)
    if why := mixed(func, args, leaves, there): raise RuntimeError(why)
    if any(v.device.type == 'meta' and not isinstance(v, Away) for v in leaves):
        raise NotImplementedError(f'{func}: a tensor of this device lost its values')
    to, generator = None if to is None else torch.device(to).type, kwargs.get('generator')
    far = to == 'meta' or to is None and there
    if generator is not None and far != (generator._cdata in FAR):
        raise RuntimeError(f'{func}: a generator of one device cannot draw on another')
    out = func(*plain, **named | ({} if to is None else {'device': 'cpu'}))
    if func in MIXING and to is None: far = isinstance(leaves[0], Away)
    if not far: return out
    own = {id(v.real_): v for v in leaves if isinstance(v, Away)} # what was changed in place is itself
    if torch.Tag.inplace_view in func.tags: # what the tensor says of its shape
        with no_dispatch(): func(*args, **kwargs)
    return each(lambda v: own[id(v)] if id(v) in own else Away(v) if isinstance(v, torch.Tensor) else v, out)


class _Made(TorchFunctionMode): # numbers become a tensor before the operations below see it
    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__): # lists as indices too
            made = lambda i: torch.tensor(i) if isinstance(i, (list, range)) else i
            at = tuple(map(made, args[1])) if isinstance(args[1], tuple) else made(args[1])
            return func(args[0], at, *args[2:])
        if func is torch.Tensor.new_tensor:
            func, kwargs, args = torch.tensor, dict(dtype=args[0].dtype, device=args[0].device) | kwargs, args[1:]
        if func not in (torch.tensor, torch.as_tensor) or torch.device(kwargs.get('device') or 'cpu').type != 'meta':
            return func(*args, **kwargs)
        return func(*args, **kwargs | {'device': None}).to('meta')


class _Run(TorchDispatchMode): # what is made with a device
    def __torch_dispatch__(self, func, types, args=(), kwargs=None): return run(func, args, kwargs or {})


def _only_there(name, value): # a function of torch that refuses 'meta'
    plain = getattr(torch, name)
    return mock.patch.object(torch, name, lambda *a, **k: value(*a) if a and a[0] == 'meta' else plain(*a, **k))


@contextmanager
def elsewhere():
    """What is made with `device='meta'` is made on the other device, generators too; mixed precision is not there."""
    with ExitStack() as s:
        s.enter_context(mock.patch.object(torch, 'Generator', Far))
        for name, value in (('is_autocast_enabled', lambda *_: False), ('get_autocast_dtype', lambda *_: torch.float32),
                            ('autocast', lambda *_: nullcontext())): s.enter_context(_only_there(name, value))
        swap = torch.__future__.set_swap_module_params_on_conversion # an optimizer keeps the parameters of a module
        s.callback(swap, torch.__future__.get_swap_module_params_on_conversion()); swap(True)
        s.enter_context(_Made()); s.enter_context(_Run())
        yield


def away(x):
    """Tensors, and those of a module in place, on the other device."""
    if isinstance(x, nn.Module):
        for m in x.modules():
            for k, p in m._parameters.items():
                if p is not None: m._parameters[k] = nn.Parameter(away(p.detach()), p.requires_grad)
            for k, b in m._buffers.items():
                if b is not None: m._buffers[k] = away(b)
        return x
    return Away(x) if isinstance(x, torch.Tensor) and not isinstance(x, Away) else x


def back(x):
    """The values of what lies there."""
    return x.real_ if isinstance(x, Away) else x


def leaves(x):
    """All values in it: of containers, dataclasses and modules too."""
    if isinstance(x, nn.Module): x = dict(x.state_dict())
    elif dataclasses.is_dataclass(x): x = {f.name: getattr(x, f.name) for f in dataclasses.fields(x)}
    if isinstance(x, (dict, list, tuple)): return [v for p in (x.values() if isinstance(x, dict) else x)
                                                   for v in leaves(p)]
    return [x]


def tensors(x):
    """All tensors in it."""
    return [v for v in leaves(x) if isinstance(v, torch.Tensor)]
