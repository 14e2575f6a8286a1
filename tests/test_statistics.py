"Class moments and what is computed from them, against numpy, scikit-learn and closed forms."
import math

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import nn

from deepstruct import statistics as S
from deepstruct.core import generator

def data(n=400, d=5, C=4, equal=True):
    g = generator('data', n, d, C)
    y = torch.arange(n) % C if equal else torch.randint(C, (n,), generator=g)
    return (torch.randn(n, d, generator=g, dtype=torch.float64) @ torch.randn(d, d, generator=g, dtype=torch.float64)
            + torch.randn(C, d, generator=g, dtype=torch.float64)[y], y)

def stats(x, y, C=4, size=33, blocks=10):
    s = S.ClassStatistics(C, x.shape[1], blocks)
    for a, b in zip(x.split(size), y.split(size)): s.update(a, b)
    return s

@pytest.mark.parametrize('size', (1, 33, 1000))
@pytest.mark.parametrize('equal', (True, False))
def test_moments(size, equal):
    x, y = data(equal=equal)
    m = stats(x, y, size=size).moments()
    mu = np.stack([x[y == c].numpy().mean(0) for c in range(4)])
    W = np.mean([np.cov(x[y == c].numpy().T, bias=True) for c in range(4)], 0)
    B = np.cov(mu.T, bias=True)
    assert np.allclose(m.mean, mu) and np.allclose(m.within(), W) and np.allclose(m.between(), B)
    assert math.isclose(S.fisher(m), np.trace(np.linalg.solve(W, B)) / 4, rel_tol=1e-9)
    assert math.isclose(S.separation(m), np.trace(B) / np.trace(B + W), rel_tol=1e-9)
    gaps = [((mu[a] - mu[b])**2).sum() for a in range(4) for b in range(a)]
    assert math.isclose(S.concentration(m), np.trace(W) / np.mean(gaps), rel_tol=1e-9)
    assert math.isclose(S.nc1(m), np.trace(W @ np.linalg.pinv(B)) / 4, rel_tol=1e-6)

def test_large_offsets_do_not_cancel():
    x, y = data()
    assert math.isclose(S.fisher(stats(x + 1e6, y).moments()), S.fisher(stats(x, y).moments()), rel_tol=1e-6)

def test_fisher_by_scikit_learn():
    x, y = data()
    z = LinearDiscriminantAnalysis(solver='svd').fit(x.numpy(), y.numpy()).transform(x.numpy())
    means = np.stack([z[y.numpy() == c].mean(0) for c in range(4)])
    assert math.isclose(S.fisher(stats(x, y).moments()), (means**2).sum() / 16, rel_tol=1e-9)

def test_more_features_never_lower_fisher_and_projection_agrees():
    x, y = data()
    values = [S.fisher(stats(x[:, :k], y).moments()) for k in range(1, 6)]
    assert all(a <= b + 1e-12 for a, b in zip(values, values[1:]))
    s, V = stats(x, y), torch.randn(5, 2, generator=generator('V'), dtype=torch.float64)
    assert math.isclose(S.fisher(s.project(V).moments()), S.fisher(stats(x @ V, y).moments()), rel_tol=1e-9)
    total = np.cov(x.numpy().T, bias=True)
    P = S.principal(s.moments(), 3)
    assert (torch.allclose(P.T @ P, torch.eye(3, dtype=torch.float64), atol=1e-10)
            and math.isclose(float((P.T @ torch.as_tensor(total) @ P).trace()), np.linalg.eigvalsh(total)[-3:].sum(),
                             rel_tol=1e-6))

def test_jackknife_of_a_mean_is_the_standard_error():
    x = torch.randn(1000, 1, generator=generator('jack'), dtype=torch.float64)
    s = S.ClassStatistics(2, 1, 100); s.update(x, torch.arange(1000) // 5 % 2)
    value, error = s.estimate(lambda m: float(m.mean.mean()))
    assert math.isclose(value, float(x.mean()), abs_tol=.01) and abs(error / (float(x.std()) / 1000**.5) - 1) < .25

def test_floor():
    g = generator('floor')
    values = []
    for _ in range(200):
        s = S.ClassStatistics(3, 8); s.update(torch.randn(60, 8, generator=g), torch.arange(60) % 3)
        values.append(S.fisher(s.moments()))
    assert abs(np.mean(values) - S.fisher_floor(s.moments())) < 4 * np.std(values) / 200**.5

def test_linear_probe():
    x, y = data()
    want = LinearDiscriminantAnalysis(solver='lsqr', priors=[.25] * 4).fit(x.numpy(), y.numpy()).predict(x.numpy())
    assert (S.linear_probe(stats(x, y).moments(), 0.)(x).numpy() == want).mean() > .995

def test_layers_by_hooks():
    g = generator('hooks')
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 36, 2))
    x, y = torch.randn(40, 1, 8, 8, generator=g), torch.arange(40) % 2
    out = S.layer_statistics(net, ['1', '3'], zip(x.split(7), y.split(7)), 2)
    z = net[:2](x).mean((2, 3)).detach().double()
    assert torch.allclose(out['1'].moments().mean, torch.stack([z[y == c].mean(0) for c in (0, 1)]), atol=1e-6)
    assert (not net[1]._forward_hooks
            and S.layer_statistics(net, ['1'], [(x, y)], 2, S.flattened)['1'].moments().features == 108)
    with pytest.raises(ValueError, match="no layer '7'"): S.layer_statistics(net, ['7'], [(x, y)], 2)
    assert S.averaged(torch.ones(2, 3, 4, 4, dtype=torch.complex64)).shape == (2, 6)

def test_refused():
    x, y = data(20, 15)
    for call, word in ((lambda: S.ClassStatistics(1, 3), 'two or more'),
                       (lambda: S.ClassStatistics(2, 3, 1), 'two or more'), (lambda: stats(x, y + 1), 'from 0 to 3'),
                       (lambda: stats(x * math.inf, y), 'NaN or infinite'),
                       (lambda: S.fisher(stats(x, y).moments()), 'floor is infinite'),
                       (lambda: stats(x[:3], y[:3]).moments(), 'no sample')):
        with pytest.raises(ValueError, match=word): call()
    assert S.fisher_floor(stats(x, y).moments()) == math.inf and S.fisher(stats(x, y).moments(), .1) > 0
