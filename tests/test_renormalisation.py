"Gaussian cascades against dense matrices, potentials against their gauge, free energies against a grid."
import numpy as np
import pytest
import torch

from deepstruct.core import generator
from deepstruct.fields import Phi4
from deepstruct.log_concavity import renormalisation as R
from deepstruct.log_concavity.energies import LAPLACIAN, Family, Monomials, Spline, phi4_family, shells
from deepstruct.log_concavity.hessians import detail_band
from deepstruct.log_concavity.maximum_likelihood import Windowed
from deepstruct.wavelets import Octave

D = torch.float64
STEPS = [Octave('haar'), Octave('db2'), Octave('sym4'), R.Shannon()]
names = lambda s: s.name


@pytest.mark.parametrize('n', (2, 4, 6, 12, 64))
def test_shannon_is_orthogonal_real_and_moves_with_shifts(n):
    A = R.shannon_matrix(n)
    assert np.allclose(A @ A.T, np.eye(n), atol=1e-12) and np.isrealobj(A)
    for half in (A[:n // 2], A[n // 2:]): assert np.allclose(np.roll(half[0], 2), half[1 % len(half)])
    assert np.allclose(A[:n // 2].sum(1), 2**.5) and np.allclose(A[n // 2:].sum(1), 0, atol=1e-12)


@pytest.mark.parametrize('dtype', (torch.float32, D))
def test_shannon_has_the_face_of_an_octave(dtype):
    x, s, o = torch.randn(2, 1, 16, 16, generator=generator('face'), dtype=dtype), R.Shannon(), Octave('db2')
    assert [y.shape for y in s.analysis(x)] == [y.shape for y in o.analysis(x)]
    assert s.low(x).dtype == dtype and torch.allclose(s.synthesis(*s.analysis(x)), x, atol=1e-5)
    assert hash(s) != hash(o) and s != o and s == R.Shannon()
    f = phi4_family(8)
    band = detail_band(s, 8)
    x = x[..., :8, :8].double()
    H = torch.stack([torch.einsum('dij,bdij->b', band, g.expand(len(x), -1, -1, -1)) for g in
                     (torch.einsum('bij,dij->bdij', 12 * x[:, 0]**2, band),
                      torch.einsum('bij,dij->bdij', 2 + 0 * x[:, 0], band))], 1)
    assert torch.allclose(f.laplacians(x, s)[:, :2], H)


@pytest.mark.parametrize('step', STEPS, ids=names)
@pytest.mark.parametrize('kept', (0, 1, 3))
def test_conditions_against_dense_covariances(step, kept):
    n, P = 8, 1 / (R.laplacian_power(8, 1.3) + .2)
    unit = torch.eye(n * n, dtype=D).view(-1, 1, n, n)
    S = torch.fft.ifft2(P * torch.fft.fft2(unit[:, 0])).real.flatten(1)
    W = torch.cat(step.analysis(unit), 1).flatten(2) # pixels, channels, places
    low, rest = W[:, kept].T, W[:, [c for c in range(4) if c != kept]].flatten(1).T
    A, B, C = low @ S @ low.T, rest @ S @ low.T, rest @ S @ rest.T
    found = list(R.octave_conditions(P, step, kept))
    assert [f[0] for f in found] == [8, 4, 2]
    assert np.isclose(found[0][1], float(P.max() / P.min()))
    assert np.isclose(found[0][2], float(torch.linalg.cond(C - B @ torch.linalg.solve(A, B.T))))
    assert np.isclose(found[1][1], float(torch.linalg.cond(A)))


def test_white_noise_is_perfectly_conditioned_everywhere():
    for step in STEPS:
        for _, whole, details in R.octave_conditions(torch.full((16, 16), 3., dtype=D), step):
            assert np.isclose(whole, 1) and np.isclose(details, 1)


def test_only_the_order_of_frequency_keeps_details_well_conditioned():
    def worst(L, step, kept):
        K = R.laplacian_power(L, 1.75); K[0, 0] = K[0, 1]
        return max(c for *_, c in R.octave_conditions(1 / K, step, kept))
    for step in STEPS:
        assert worst(64, step, 0) < 8 < 3 * worst(16, step, 3) < worst(64, step, 3)
    K = R.laplacian_power(64, 1.75); K[0, 0] = K[0, 1]
    features = [{(0, 0): 1.}, *(dict.fromkeys(s, 1.) for s in shells(64, 2))]
    assert R.likelihood_condition(1 / K, features) > 500 * R.likelihood_condition(1 / K, features, Octave('haar'))


@pytest.mark.parametrize('step', (None, Octave('haar'), R.Shannon()), ids=('whole', 'haar', 'shannon'))
def test_condition_of_the_likelihood_is_that_of_its_scaled_features(step):
    P = 1 / (R.laplacian_power(8, 1.) + .1)
    a, b = {(0, 0): 1.}, LAPLACIAN
    assert np.isclose(R.likelihood_condition(P, [a, b], step), R.likelihood_condition(
        P, [{k: 7 * v for k, v in a.items()}, {k: -v / 3 for k, v in b.items()}], step))


@pytest.mark.parametrize('step', STEPS, ids=names)
def test_what_is_left_of_the_covariance_given_the_low_pass(step):
    """The mean of covariances is the covariance less that of the means: tr(ASAS)/2 - tr(ACAC)/2, dense."""
    n, P, stencils = 8, 1 / (R.laplacian_power(8, 1.5) + .3), [{(0, 0): 1.}, LAPLACIAN]
    unit = torch.eye(n * n, dtype=D).view(-1, 1, n, n)
    S, *A = (torch.fft.ifft2(m * torch.fft.fft2(unit[:, 0])).real.flatten(1)
             for m in (P, torch.ones(n, n), R.laplacian_power(n, 2.)))
    G = step.low(unit).flatten(1).T
    C = S @ G.T @ torch.linalg.solve(G @ S @ G.T, G @ S)
    F = torch.stack([torch.stack([(a @ S @ b @ S - a @ C @ b @ C).trace() / 2 for b in A]) for a in A])
    scaled = F / (F.diagonal()[:, None] * F.diagonal()).sqrt()
    assert np.isclose(R.likelihood_condition(P, stencils, step), float(torch.linalg.cond(scaled)))


@pytest.mark.parametrize('eta', (.5, 2., 3.))
@pytest.mark.parametrize('wavelet', ('haar', 'db4'))
def test_a_stencil_is_as_wide_as_it_takes(eta, wavelet):
    K = R.between_channels(R.laplacian_power(32, eta), Octave(wavelet))[1:, 1:]
    w = R.stencil_width(K)
    r, norm = R.radius(16), lambda A: torch.linalg.matrix_norm(torch.fft.fft2(A).permute(2, 3, 0, 1), 2).max()
    assert norm(K * (r > w)) <= .01 * norm(K) < norm(K * (r > w - 1))
    top = R.largest_by_distance(K)
    assert np.isclose(top[0], float(K[..., 0, 0].norm())) and len(top) == 9


def test_quadratic_terms_may_stand_anywhere():
    """A parabola in the potential or in the pairs, with nodes or monomials: one potential."""
    t = torch.linspace(-1.5, 1.5, 31, dtype=D)
    nodes = Spline(torch.linspace(0, 2, 5), True)
    for step in STEPS:
        a, b = (Family(8, nodes, None, [{(0, 0): 1.}, LAPLACIAN]) for _ in range(2))
        a.theta.copy_(torch.tensor([1., 2, 3, 2, 1, .5, .2]))
        b.theta.copy_(torch.tensor([1.7, 2.7, 3.7, 2.7, 1.7, -.2, .2]))
        va, vb = (R.renormalised_potential(f, step, t) for f in (a, b))
        assert torch.allclose(va, vb) and abs(float(va[15])) < 1e-12
        assert R.apart_of_parabola(t, torch.stack([va, vb + 2 * t**2])) < 1e-12


def test_renormalised_fields_come_back():
    x = Phi4(.68, 16).simulate(50, generator('back')).fields.double()
    for step in STEPS:
        gamma, phi = R.renormalised(x, step, 3)
        assert [f.shape[-1] for f in phi] == [16, 8, 4, 2] and all(np.isclose(float(f.std()), 1) for f in phi)
        assert torch.allclose(gamma[1] * phi[2], step.low(phi[1]))


def test_scales_apart_keeps_laws_of_details_and_the_coarsest_values():
    x = Phi4(.6, 8).simulate(40, generator('apart')).fields.double()
    for step in (Octave('haar'), R.Shannon()):
        y = R.scales_apart(x, step, generator('mixed'))
        order = lambda z: step.detail(z).flatten(1).sum(1).sort().values
        assert torch.allclose(order(x), order(y)) and torch.allclose(x.mean((1, 2, 3)), y.mean((1, 2, 3)))
        assert float((x - y).abs().max()) > .1


def test_unmatched_against_loops():
    x, n, beta = torch.randn(3, 1, 4, 4, generator=generator('loop'), dtype=D), 4, .7
    at = lambda v, i, j: float(v[i % n, j % n])
    for field, found in zip(x[:, 0], R.unmatched(x, beta)):
        sites = [(i, j) for i in range(n) for j in range(n)]
        E = sum(at(field, *s)**4 - at(field, *s)**2 - beta * at(field, *s) * (at(field, s[0] + 1, s[1])
                + at(field, s[0], s[1] + 1)) for s in sites) / 16
        box = sum(at(field, i, j) * at(field, i + 1, j) * at(field, i, j + 1) * at(field, i + 1, j + 1)
                  for i, j in sites)
        two = sum(at(field, i, j)**2 * (at(field, i + 2, j)**2 + at(field, i, j + 2)**2) for i, j in sites)
        assert np.allclose(found[[0, 1, 3, 4]], [E, box / 16, two / 32, float(field.mean())**4])


def test_integration_of_gaussian_free_energies_is_exact():
    """Without a quartic term F is a quadratic form, a Schur complement."""
    f, step = Family(4, Windowed(9., 2), None, [LAPLACIAN]), Octave('haar')
    f.theta.copy_(torch.tensor([.4, .7]))
    low = torch.randn(6, 1, 2, 2, generator=generator('low'), dtype=D)
    mean = torch.randn(20, 1, 4, 4, generator=generator('mean'), dtype=D)
    F, error = R.thermodynamic_integration(f, step, low, mean, 3, 200, generator=generator('rays'))
    unit = torch.eye(16, dtype=D).view(-1, 1, 4, 4)
    K, W = f.gradient(unit).flatten(1), torch.cat(step.analysis(unit), 1).flatten(1).T
    T = W @ K @ W.T
    schur = T[:4, :4] - T[:4, 4:] @ torch.linalg.solve(T[4:, 4:], T[4:, :4])
    exact = torch.einsum('bi,ij,bj->b', low.flatten(1), schur, low.flatten(1)) / 2
    assert ((F - exact).abs() < 5 * error + 1e-6).all() and (error < exact.abs().max()).all()


def test_trajectories_last_as_long_at_every_side():
    assert [R.leapfrogs_at(L, 4) for L in (8, 32, 128)] == [4, 8, 16]
    x = Phi4(.5, 8).simulate(8, generator('chains'), chains=8).fields
    a, b = (R.direct_slowing(.5, x, 1500, k, generator('run')) for k in (3, 6))
    assert a.steps == 4500 and b.steps == 9000 and a.tau > 0 and b.tau > 0


SMALL, FIELDS = R.windowed_phi4(4, .5), torch.randn(8, 1, 8, 8, generator=generator('small'))


@pytest.mark.parametrize('call, word', [
    *((lambda m=m: R.between_channels(m, Octave('haar')), 'not even') for m in (
        torch.arange(64, dtype=D).view(8, 8), torch.full((8, 8), torch.nan, dtype=D), torch.rand(8, 8, dtype=D),
        torch.linspace(1, 2, 8, dtype=D).expand(8, 8), 1 + torch.eye(8, dtype=D).roll(1, 0))),
    (lambda: R.conditional_slowing(SMALL, Octave('haar'), FIELDS, FIELDS, 20, 2), 'x has side 8'),
    (lambda: R.conditional_slowing(SMALL, Octave('haar'), FIELDS[..., :4, :4], FIELDS, 20, 2), 'mean has side 8'),
    (lambda: R.thermodynamic_integration(SMALL, Octave('haar'), FIELDS[..., :4, :4], FIELDS[..., :4, :4]), 'side 4'),
    (lambda: R.thermodynamic_integration(SMALL, Octave('haar'), FIELDS[..., :2, :2], FIELDS), 'mean has side 8'),
    (lambda: R.thermodynamic_integration(SMALL, Octave('haar'), FIELDS[..., :2, :2] / 0, FIELDS[..., :4, :4]), 'low'),
    (lambda: R.shannon_matrix(5), 'even'), (lambda: R.shannon_matrix(0), 'even'),
    (lambda: [*R.octave_conditions(torch.ones(6, 6, dtype=D), Octave('haar'))], 'power of two'),
    (lambda: [*R.octave_conditions(-torch.ones(8, 8, dtype=D), Octave('haar'))], 'positive'),
    (lambda: [*R.octave_conditions(torch.full((8, 8), torch.inf, dtype=D), Octave('haar'))], 'finite'),
    (lambda: R.renormalised(torch.full((3, 1, 8, 8), 2.), Octave('haar'), 1), 'constant'),
    (lambda: R.renormalised(torch.randn(3, 1, 12, 12), Octave('haar'), 3), '8'),
    (lambda: R.renormalised(torch.full((3, 1, 8, 8), torch.nan), Octave('haar'), 1), 'finite|NaN'),
    (lambda: R.unmatched(torch.randn(3, 1, 6, 6), .5), '4'),
    *((lambda s=s: R.likelihood_condition(torch.ones(8, 8, dtype=D), [{(0, 0): 1.}, s]), 'not symmetric') for s in (
        {(0, 1): 1.}, {(1, 1): 1., (1, -1): 1.}, {(0, 2): 1., (0, -2): 2.}, {(3, 0): 1.},
        dict.fromkeys(shells(12, 1)[0], 1.))),
    (lambda: R.estimate_phi4('score', torch.randn(30, 1, 4, 4), .5, 8, 8), 'method'),
    (lambda: R.renormalised_potential(Family(4, Monomials(4), Monomials(2), []), Octave('haar'), torch.ones(2)),
     'bonds')])
def test_refused(call, word):
    with pytest.raises(ValueError, match=word): call()
