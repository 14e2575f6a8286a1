"Free energies against Schur complements and quadrature; the joint energy against the Gaussian truth."
import copy

import pytest
import torch

from deepstruct.core import generator
from deepstruct.fields import Phi4, gaussian_field
from deepstruct.log_concavity import free_energy as F
from deepstruct.log_concavity.energies import (LAPLACIAN, Family, Monomials, Spline, apply, phi4_family,
                                               quantile_nodes, shells)
from deepstruct.log_concavity.model import LogConcaveModel
from deepstruct.wavelets import Octave

D = torch.float64


def precision(n, mass=.5, stiff=1.):
    f = Family(n, None, None, [{(0, 0): 1.}, LAPLACIAN])
    f.theta.copy_(torch.tensor([mass, stiff]))
    return f


@pytest.fixture(scope='module')
def gauss(): return gaussian_field(lambda a, b: 1 / (.5 + 4 - 2 * a.cos() - 2 * b.cos()), 4000, 8, generator('free'), D)


@pytest.mark.parametrize('name', ('haar', 'db3'))
def test_free_energy_of_a_gaussian_is_a_schur_complement(gauss, name):
    step, K = Octave(name), precision(8)
    eye = torch.eye(64, dtype=D).view(-1, 1, 8, 8)
    A = torch.cat([p.flatten(1) for p in step.analysis(eye)], 1).T # rows: low, detail
    M = A @ apply(K.kernel(), eye).flatten(1) @ A.T
    # of x_1; F is what it leaves of G K G^T
    S = M[:16, :16] - M[:16, 16:] @ torch.linalg.solve(M[16:, 16:], M[16:, :16])
    free = Family(4, None, None, [dict.fromkeys(s, 1.) for s in [[(0, 0)], *shells(4, 2)]])
    eq = F.free_energy(K, step, gauss, free)
    theta, cov = eq.jackknife()
    # the conditional energy holds G K G^T, and F takes its excess over S
    want = torch.stack([S[0].view(4, 4)[s[0]] for s in [[(0, 0)], *shells(4, 2)]])
    full = torch.stack([M[0, :16].view(4, 4)[s[0]] for s in [[(0, 0)], *shells(4, 2)]])
    assert min((((theta - t).abs() / cov.diagonal().sqrt()).max() for t in (want, full - want))) < 4.5
    assert ((theta - want).abs() / cov.diagonal().sqrt()).max() < 4.5


def test_log_z_by_quadrature_and_the_sign():
    x = Phi4(.5, 2).simulate(40_000, generator('ring')).fields.double()
    s, haar = Octave('haar').low(x), Octave('haar')
    f = Family(1, Spline(quantile_nodes(s, 8)))
    F.free_energy(phi4_family(2, .5), haar, x, f)
    u, t = torch.linspace(0, float(s.abs().quantile(.99)), 9, dtype=D), torch.linspace(-4, 4, 33, dtype=D)
    d = haar.embed_detail(torch.cartesian_prod(t, t, t).view(-1, 3, 1, 1))
    truth = -torch.stack([torch.logsumexp(-Phi4(.5, 2).energy(d + haar.embed_low(v.view(1, 1, 1, 1))), 0) for v in u])
    got, truth = f.site.evaluate(u, 0, f.theta), truth - truth[0]
    span = truth.max() - truth.min()
    assert (got - got[0] - truth).abs().max() < .015 * span < .5 * span < (-(got - got[0]) - truth).abs().max()


def test_joint_energy_of_a_learned_gaussian(gauss):
    model = LogConcaveModel('haar', polish_steps=0, nodes=3, bond_below=0).fit(gauss[:3000])
    joint = F.joint_energy(model, gauss[:3000])
    x = gauss[3000:3010].clone().requires_grad_()
    g, = torch.autograd.grad(joint.energy(x).sum(), x)
    assert torch.allclose(g, joint.gradient(x.detach()), atol=1e-8)
    theta, _ = joint.project(precision(8), gauss[3000:])
    assert ((theta - torch.tensor([.5, 1.])).abs() < .05).all()
    wrong = copy.deepcopy(joint)
    for f in wrong.free: f.theta *= -1
    theta, _ = wrong.project(precision(8), gauss[3000:])
    assert ((theta - torch.tensor([.5, 1.])).abs() > .05).any()


@pytest.mark.parametrize('call, words', [
    (lambda x: F.free_energy(precision(8), Octave('haar'), x, precision(8)),
     'side'), (lambda x: F.free_energy(precision(8), Octave('haar'), x / 0, precision(4)), 'NaN|finite'),
    (lambda x: F.gradient_regression(precision(8), x, x[:, :, :4]), 'shape'),
                                         (lambda x: F.joint_energy(LogConcaveModel('haar'), x), 'not fitted'),
    (lambda x: F.JointEnergy(Octave('haar'), [precision(8)], [precision(8)], None), 'expected L'),
    (lambda x: F.free_energy(phi4_family(2, .5), Octave('haar'), x[..., :2, :2].contiguous(),
                             Family(1, Monomials(2), None, [{(0, 0): 1.}]), ridge=0.), 'singular')])
def test_bad_input(gauss, call, words):
    with pytest.raises(ValueError, match=words): call(gauss[:100])
