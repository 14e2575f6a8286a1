"""What a tensor may be beside finite floating-point numbers in a row: a right answer, or an error that says what came.
Each tensor of each case of test_devices in turn is given in another form. `DEEPSTRUCT_FUZZ=N` draws N more, of all
forms and cases, and tells what neither answered nor refused: many functions below the doors still do not."""
import itertools
import os
import random
from collections import Counter

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
SLOW = ('lensing', 'turbulence', 'model', 'free_energy', 'bridges', 'diagnose', 'ensembles', 'renormalisation', 'wsgm',
        'likelihood', 'langevin', 'direct', 'heavy_tails', 'error_bounds residuals', 'rainbow', 'training', 'networks',
        'denoisers', 'synthesis', 'weights', 'unet', 'hessians', 'Scattering', 'FrameNetwork')
NAMES = [k for k, (_, why, _) in CASES.items() if not why]
FULL = int(os.environ.get('DEEPSTRUCT_FUZZ') or 0)
GRADIENTS = 'normal_equations', 'fit_scalar', 'border_jump' # known: of values that ask for gradients numpy is asked


@pytest.mark.parametrize('name', [k for k in NAMES if FULL or not any(s in k for s in SLOW)],
                         ids=lambda k: ' '.join(k.split()[:2]))
def test_equal_values_give_an_equal_answer(name):
    want, n = counted(name)
    for k, form in itertools.product(range(n), SAME):
        try: told = apart(ran(CASES[name][0], Turned(k, SAME[form])), want)
        except RuntimeError as e:
            if form == 'requires_grad' and any(n in name for n in GRADIENTS): continue
            told = str(e)
        assert not told, f'tensor {k} {form}: {told}'


# --- the doors: another form gives a right answer, or is refused by name
class Net(torch.nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        self.d = torch.nn.Linear(16, 5)
        with torch.no_grad(): self.d.weight.copy_(normal(5, 16, seed=seed) / 4)
    def forward(self, x): return self.d(x.flatten(1)).relu()


def shrink(y, low=None, sigma=None): return y / (1 + y.square().mean((1, 2, 3), keepdim=True))


MASK = torch.ones(8, 8).tril() > 0
CASCADE = dict(nodes=4, width=1, polish_steps=0)
DOORS = { # of (t, g): t gives what may be another
    'read_fields': lambda t, g: ds.read_fields(t(images(8))),
    'gaussian_field': lambda t, g: ds.gaussian_field(t(torch.ones(8, 8)), 3, 8, seed=0),
    'diagnose': lambda t, g: ds.diagnose(t(images(64, 8)), ('haar',), (True,), 1, 3, coarsest=8).recommend,
    'LogConcaveModel.fit': lambda t, g: ds.LogConcaveModel(**CASCADE).fit(t(images(40, 4)), g()).energy(images(3, 4)),
    'WSGM.fit': lambda t, g: ds.WSGM(side=8, depth=1, width=4, mults=(1,)).fit(
        t(images(8)), steps=1, batch=4, seed=0).sample(2, 2, seed=0),
    'Scattering2D': lambda t, g: ds.Scattering2D(2, 8, 4)(t(images(3))),
    'LearnedScattering': lambda t, g: ds.LearnedScattering(1, 8, (4,), classes=3, seed=0).eval()(t(images(4))),
    'fisher': lambda t, g: ds.fisher(Net(), (t(images(30, 4)), labels(30)), ['d']),
    'neural_collapse': lambda t, g: ds.neural_collapse(Net(), [(t(images(30, 4)), labels(30, 5))], layer='d'),
    'align': lambda t, g: ds.align(Net(), Net(1), [(t(images(30, 4)), labels(30))]).error(),
    'error': lambda t, g: ds.error(Net(), [(t(images(30, 4)), labels(30))]),
    'super_resolve': lambda t, g: ds.super_resolve(t(images(2).sigmoid()), [shrink], seed=0, end=.03, h=.3).samples,
    'inpaint': lambda t, g: ds.inpaint(t(images(2).sigmoid()), MASK, shrink, 1, seed=0, end=.3, h=.3).samples}
FORMS = SAME | OTHER


def judged(f, form, want):
    """'' where it is a right answer or refused by name; else what came."""
    try: got = ran(f, Turned(0, FORMS[form]))
    except TOLD as e: return '' if len(str(e)) < 600 and '\n' not in str(e) else f'a long {type(e).__name__}'
    except Exception as e: return f'{type(e).__name__}: {str(e).splitlines()[0][:90] if str(e) else ""}'
    if form in SAME or form == 'numpy': return apart(got, want) or ''
    if form == 'complex' and any(not np.iscomplexobj(a) for a in numbers(got)): return 'its imaginary part is lost'
    return '' if finite(got) or form in ('NaN', 'infinite') else 'NaN in silence'


KNOWN = { # (door, form): what comes still, each in a class that recorded results depend on
    ('LogConcaveModel.fit', 'huge'): 'NaN in silence', ('LogConcaveModel.fit', 'tiny'): 'NaN in silence',
    ('WSGM.fit', 'requires_grad'): 'RuntimeError', ('LearnedScattering', 'no sample'): 'RuntimeError',
    ('LearnedScattering', 'huge'): 'NaN in silence', ('LearnedScattering', 'half'): 'RuntimeError'}


@pytest.mark.parametrize('door', DOORS)
def test_doors_answer_or_refuse(door):
    want = ran(DOORS[door], Turned())
    told = {form: said for form in FORMS if (said := judged(DOORS[door], form, want))}
    known = {form: said for (d, form), said in KNOWN.items() if d == door}
    assert {f: s for f, s in told.items() if not s.startswith(known.get(f, '?'))} == {}


@pytest.mark.skipif(not FULL, reason='DEEPSTRUCT_FUZZ=N draws N cases')
def test_campaign():
    r, tried, found = random.Random(0), {}, Counter()
    for _ in range(FULL):
        name, form = r.choice(NAMES), r.choice([*FORMS])
        if name not in tried: tried[name] = counted(name)
        want, n = tried[name]
        if not n: continue
        k = r.randrange(n)
        try: got, said = ran(CASES[name][0], Turned(k, FORMS[form])), ''
        except TOLD: continue
        except Exception as e: said = type(e).__name__
        if not said and form in SAME: said = apart(got, want) or ''
        if not said and form not in ('NaN', 'infinite') and not finite(got) and finite(want): said = 'NaN in silence'
        if said: found[f'{name[:60]}, tensor {k}, {form}: {said}'] += 1
    assert not found, f'{sum(found.values())} of {FULL}:\n' + '\n'.join(sorted(found))
