"""Intervals over images and seeds, log-odds, separation by all positions, settings inside their grids."""
import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from deepstruct.phase_collapse import classification as C
from deepstruct.phase_collapse.scattering import Scattering
from deepstruct.statistics import ClassMoments, fisher


def test_intervals_cover_seeds_and_images():
    """Crossed: each image has its own difficulty, each network its own mean error."""
    g, hits, narrow = torch.Generator().manual_seed(0), 0, 0
    for _ in range(200):
        hard = torch.rand(1, 500, generator=g) * .4
        a, b = (torch.rand(6, 500, generator=g) < hard + shift + .04 * torch.randn(6, 1, generator=g)
                for shift in (.25, .2))
        d, w = C.paired(a, b)
        per_image = 100 * (a.double().mean(0) - b.double().mean(0))
        hits += abs(d - 5) < w
        narrow += abs(d - 5) < 1.96 * float(per_image.std()) / 500**.5
    assert 180 <= hits <= 200 and narrow < 170


def test_one_seed_is_judged_over_images():
    a, b = torch.arange(400)[None] % 4 == 0, torch.arange(400)[None] % 5 == 0
    d, w = C.paired(a, b)
    x = 100 * (a[0].double() - b[0].double())
    assert abs(d - 5) < 1e-12 and abs(w - 1.96 * float(x.std()) / 20) < 1e-12
    assert C.paired(a.repeat(3, 1), b)[1] == pytest.approx(w)


def test_log_odds():
    e = torch.arange(1000)[None] < 225
    assert C.log_odds(e, .077) == pytest.approx(math.log(.225 / .775) - math.log(.077 / .923))
    assert C.log_odds(.3, .3) == 0 and C.log_odds(.1, .2) == -C.log_odds(.2, .1)
    for bad in (0, 1, 1.2):
        with pytest.raises(ValueError, match='between 0 and 1'): C.log_odds(bad, .1)


def test_fisher_of_all_positions():
    g = torch.Generator().manual_seed(1)
    means, mix = 2 * torch.randn(4, 30, generator=g), torch.randn(30, 30, generator=g)
    def draw(n): y = torch.arange(n) % 4; return (means[y] + torch.randn(n, 30, generator=g)) @ mix, y
    (x, y), (z, w) = draw(800), draw(1200)
    before = torch.random.get_rng_state()
    value, error, floor = C.fisher_everywhere((x, y), (z, w), 4, 8)
    assert torch.equal(before, torch.random.get_rng_state())
    p = PCA(8, svd_solver='full').fit(x.double().numpy())
    m = ClassMoments(4, 8); m.update(torch.from_numpy(p.transform(z.double().numpy())), w)
    assert value == pytest.approx(fisher(m), rel=1e-3) and 0 < error < value and floor < .05
    assert C.fisher_everywhere((x, y), (z, w), 4, 8) == (value, error, floor)
    a, _, low = C.fisher_everywhere((x, y), (z, w[torch.randperm(1200, generator=g)]), 4, 8)
    assert a < 2.5 * low
    with pytest.raises(ValueError, match='40 or more'): C.fisher_everywhere((x, y), (z, w), 4, 40)


class Asked: # in place of a network: what its job says
    def __init__(self, job): self.job, self.seconds = job, 0


@pytest.mark.parametrize('grid, further, found', [((.01, .1), 0, .1), ((.01, .1), 1, 1.), ((.01, .1), 3, 1.),
                                                  ((10., 100.), 2, 1.), ((.1, 1., 10.), 3, 1.), ((.3,), 2, .3)])
def test_a_grid_goes_on_where_its_best_is_at_an_end(monkeypatch, grid, further, found):
    monkeypatch.setattr(C, 'all_trained', lambda jobs, threads: {k: Asked(j) for k, j in jobs.items()})
    monkeypatch.setattr(C, 'error', lambda net, valid: abs(math.log(net.job.recipe.lr)))
    best, tried = C.search({'a': C.classifier('resnet', {})}, (), [{'lr': grid}], 1, further)
    assert best['a'].recipe.lr == pytest.approx(found)
    assert len(tried['a']) <= len(grid) + further


def test_thresholds_of_the_network_go_on_too(monkeypatch):
    monkeypatch.setattr(C, 'all_trained', lambda jobs, threads: {k: Asked(j) for k, j in jobs.items()})
    monkeypatch.setattr(C, 'error', lambda net, valid: abs(math.log(net.job.sizes['threshold'] / .4)))
    start = {'soft': C.classifier('scattering', dict(threshold=.05))}
    best, tried = C.search(start, (), [{'lr': (.01,)}, {'sizes.threshold': (.05, .1)}], 1, 2)
    assert best['soft'].sizes['threshold'] == .4 and list(tried['soft'])[-1] == 'lr 0.01, threshold 0.4'


def test_what_is_missed_in_which_precision():
    kinds = []
    class Net(torch.nn.Module):
        def forward(self, x):
            y = x.flatten(1) @ torch.eye(4)
            kinds.append(y.dtype)
            return y.float()
    x, y = torch.eye(4).view(4, 1, 2, 2), torch.tensor([0, 1, 2, 0])
    for precision, dtype in (('32-true', torch.float32), ('bf16-mixed', torch.bfloat16)):
        kinds.clear()
        assert C.missed(Net(), (x, y), precision).tolist() == [False, False, False, True] and set(kinds) == {dtype}


def test_coefficients_for_the_head():
    x = torch.rand(5, 2, 16, 16, generator=torch.Generator().manual_seed(2))
    got = C.scattering_coefficients(x, 2, batch=2)
    assert got.shape == (5, 2 * 81, 4, 4) and np.allclose(got, Scattering(2, 16)(x).flatten(1, 2), atol=1e-6)
