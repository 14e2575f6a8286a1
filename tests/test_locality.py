"The best estimator from a window, against dense covariance matrices built by applying the transforms to unit vectors."
import numpy as np
import pytest
import torch

from deepstruct.wavelet_diffusion import locality as L
from deepstruct.wavelet_diffusion.gaussian import mode_power
from deepstruct.wavelet_diffusion.wsgm import analysis

n = 8
def dense(P): # (n^2, n^2) covariance of a stationary field
    R = np.fft.ifft2(P).real
    i = np.stack(np.meshgrid(range(n), range(n), indexing='ij'), -1).reshape(-1, 2)
    d = (i[:, None] - i[None]) % n
    return R[d[..., 0], d[..., 1]]

def best(S, see, want, noise): # mean square error of `want` given the rows `see`
    A = S[np.ix_(see, see)] + np.diag(noise)
    return S[want, want] - S[want, see] @ np.linalg.solve(A, S[see, want])

@pytest.mark.parametrize('eta', (1.75, 4))
@pytest.mark.parametrize('w', (1, 3, 4))
def test_flat(eta, w):
    P, at = mode_power(eta, n), np.arange(w) - w // 2
    see = [(a % n) * n + b % n for a in at for b in at]
    assert np.isclose(L.flat_error(P, w, .6), best(dense(P), see, 0, np.full(len(see), .36)), rtol=1e-8)

@pytest.mark.parametrize('wavelet', ('haar', 'db2'))
@pytest.mark.parametrize('w', (1, 3))
def test_details(wavelet, w):
    P = mode_power(3, n)
    x = torch.eye(n * n, dtype=torch.float64).view(-1, 1, n, n)
    W = torch.cat(analysis(x, wavelet), 1).reshape(n * n, -1).T.numpy() # coefficients (band, u) by pixels
    S, m = W @ dense(P) @ W.T, n // 2
    at = np.arange(w) - w // 2
    see = [c * m * m + (a % m) * m + b % m for a in at for b in at for c in range(4)]
    noise = [0 if k < m * m else .25 for k in see]
    errors = [best(S + 1e-13 * np.eye(len(S)), see, c * m * m, noise) for c in (1, 2, 3)]
    assert np.isclose(L.details_error(P, w, .5, wavelet), np.mean(errors), rtol=1e-6)

def test_white_fields_have_no_neighbours():
    P = np.ones((16, 16))
    assert np.isclose(L.flat_error(P, 7, .5), .25 / 1.25) and np.isclose(L.details_error(P, 5, .5, 'db2'), .2)

def test_low_pass_spectrum_adds_up():
    C = L.band_spectra(mode_power(2, 32), 'db4')
    assert np.isclose(np.trace(C, axis1=2, axis2=3).real.mean(), 4)

def test_loss_is_never_negative_and_falls():
    P = mode_power(3, 32)
    for given in (False, True):
        loss = [L.loss_in_db(P, w, .5, given) for w in (1, 3, 5, 9, 15)]
        assert all(a >= b >= -1e-6 for a, b in zip(loss, loss[1:]))

def test_refused():
    for call, word in ((lambda: L.flat_error(np.ones((8, 8)), 9, 1.), '1 to 8'), (lambda: L.flat_error(np.ones((8, 8)),
        3, np.nan), 'finite'), (lambda: L.band_spectra(np.ones((7, 7))), 'divisible'),
                       (lambda: L.loss_in_db(np.ones((8, 8)), 3, 1., False, 'db4'), 'no effect on the whole field')):
        with pytest.raises(ValueError, match=word): call()
