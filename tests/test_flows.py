"""Flows for comparison: a density that integrates to one, draws that have it, and what is refused."""
import math
import sys

import pytest
import torch

from deepstruct.core import generator
from deepstruct.log_concavity.flows import learn_flow
from deepstruct.log_concavity.weights import both_sizes

D = torch.float64


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, 'zuko.flows', None)
    monkeypatch.setitem(sys.modules, 'zuko', None)
    with pytest.raises(ImportError, match='pip install zuko'): learn_flow(torch.randn(30, 1, 2, 2), 1.)


@pytest.mark.parametrize('x, seconds, words', [
    (torch.randn(30, 1, 5, 5), 1., '5'), (torch.randn(30, 1, 4, 4), 0., 'seconds is 0'),
    (torch.randn(30, 1, 4, 4), -1., 'seconds is -1'), (torch.randn(30, 3, 4, 4), 1., 'channel'),
    (torch.randn(9, 1, 4, 4), 1., '20')])
def test_bad_input(x, seconds, words):
    with pytest.raises(ValueError, match=words): learn_flow(x, seconds)


def test_density_and_draws():
    """Correlated Gaussian fields of a known law: mean weights are 1 on both sides, whatever was learned."""
    pytest.importorskip('zuko')
    cov = 9 * (.5 * torch.eye(4, dtype=D) + .5)
    law = torch.distributions.MultivariateNormal(torch.zeros(4, dtype=D), cov)
    draw = lambda n, word: (torch.randn(n, 4, generator=generator('flow', word), dtype=D)
                            @ torch.linalg.cholesky(cov).T).view(n, 1, 2, 2)
    before = torch.random.get_rng_state()
    q = learn_flow(draw(2000, 'train').float(), 2., transforms=2, width=32)
    made, held = q.sample(6000, 3), draw(6000, 'held')
    assert torch.equal(before, torch.random.get_rng_state()) and torch.equal(made, q.sample(6000, 3))
    off = lambda x: q.energy(x) + law.log_prob(x.double().flatten(1))
    assert abs(float(off(made).exp().mean()) - 1) < .1 and abs(float((-off(held)).exp().mean()) - 1) < .1
    # the last states are better than the first, and near the law
    entropy = 2 * math.log(2 * math.pi * math.e) + float(torch.logdet(cov)) / 2
    assert min(q.history) < q.history[0] and min(q.history) > entropy - .15
    assert both_sizes(off(made), off(held))['smaller'] > .3
    some = draw(50, 'order').float()
    assert torch.equal(q.flat(some)[:, q.order.argsort()], some.flatten(1) / q.scale)
