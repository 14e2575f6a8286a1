"""What a tensor may be beside finite floating-point numbers in a row: a right answer, or an error that says what came.
Each tensor of each case of test_devices in turn is given in another form. `DEEPSTRUCT_FUZZ=N` runs N further cases of
forms that most functions may refuse, counts what came, and fails where an answer is wrong in silence."""
import collections
import itertools
import os
import random
import warnings

import numpy as np
import pytest
import torch
from elsewhere import leaves
from test_devices import CASES, images, labels, normal

import deepstruct as ds

pytestmark = pytest.mark.filterwarnings('ignore')


def fractured(x): # equal values, other strides
    return x.transpose(0, -1).contiguous().transpose(0, -1) if x.ndim > 1 else x.repeat_interleave(2)[::2]


def entry(v): # one of its values is another
    def put(x):
        y = x.clone()
        if y.numel(): y.view(-1)[y.numel() // 3] = v
        return y
    return put


SAME = {'transposed': fractured, 'requires_grad': lambda x: x.detach().clone().requires_grad_()}
OTHER = {'no sample': lambda x: x[:0], 'one sample': lambda x: x[:1], 'no pixel': lambda x: x[..., :0],
         'one pixel': lambda x: x[..., :1], 'NaN': entry(torch.nan), 'infinite': entry(torch.inf),
         'huge': lambda x: x * 1e30, 'tiny': lambda x: x * 1e-40, 'int64': lambda x: (3 * x).long(),
         'bool': lambda x: x > 0, 'half': torch.Tensor.half, 'complex': lambda x: x + 1j * x,
         'numpy': lambda x: x.numpy().astype(np.float64), 'constant': lambda x: x * 0 + 1, 'flat': torch.Tensor.flatten}
TOLD = ValueError, TypeError


class Turned:
    """Gives the k-th tensor in another form."""
    def __init__(self, k=-1, form=None): self.k, self.form, self.seen = k, form, 0

    def __call__(self, x):
        if not isinstance(x, torch.Tensor): return x
        self.seen += 1
        return self.form(x) if self.seen - 1 == self.k and x.is_floating_point() else x


def ran(f, turned):
    torch.manual_seed(0)
    return leaves(f(turned, lambda: torch.Generator().manual_seed(0)))


def numbers(values): # those that are, as float64 arrays
    out = []
    for v in values:
        if isinstance(v, torch.Tensor): v = v.detach().resolve_conj().resolve_neg().cpu().numpy()
        if isinstance(v, (bool, int, float, complex, np.ndarray, np.generic)): out.append(np.asarray(v))
    return out


def apart(got, want): # the first pair that differs by more than rounding
    got, want = numbers(got), numbers(want)
    if len(got) != len(want): return f'{len(got)} values for {len(want)}'
    for i, (a, b) in enumerate(zip(got, want)):
        if a.shape != b.shape: return f'value {i} has shape {a.shape}, not {b.shape}'
        if a.dtype.kind in 'fciub' and a.size:
            top = max(1e-30, np.abs(b[np.isfinite(b)]).max(initial=0))
            if not np.allclose(a, b, rtol=1e-3, atol=1e-4 * top, equal_nan=True): return f'value {i} is another'


def finite(values): return all(np.isfinite(a).all() for a in numbers(values) if a.dtype.kind in 'fc')


def counted(name): # how many tensors a case asks for, and its answer
    t = Turned()
    return ran(CASES[name][0], t), t.seen


# --- equal values: an equal answer
NAMES = [k for k, (_, why, _) in CASES.items() if not why]
LISTED = {} # case -> form -> why it is not equal


@pytest.mark.parametrize('name', NAMES, ids=lambda k: ' '.join(k.split()[:2]))
def test_equal_values_give_an_equal_answer(name):
    want, n = counted(name)
    fuller = os.environ.get('DEEPSTRUCT_FUZZ')
    for k, form in itertools.product(range(n), SAME):
        if not fuller and k and (k + len(name)) % 3: continue
        told = apart(ran(CASES[name][0], Turned(k, SAME[form])), want)
        assert not told, f'tensor {k} {form}: {told}'
