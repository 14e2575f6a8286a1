"""The executable companion to nine papers on the mathematics of deep convolutional networks."""
__version__ = "0.1.0"

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

_ROOMS = {'facade': 'phi4 gaussian_field lensing turbulence fisher load claims reproduce',
          'files': 'read_fields read_images', 'training': 'error',
          'log_concavity.diagnose': 'diagnose', 'log_concavity.model': 'LogConcaveModel',
          'wavelet_diffusion.wsgm': 'WSGM', 'wavelet_diffusion.denoisers': 'denoise denoiser',
          'wavelet_diffusion.log_density': 'LogDensity',
          'wavelet_diffusion.synthesis': 'draw_images super_resolve inpaint',
          'phase_collapse.scattering': 'Scattering', 'networks': 'LearnedScattering',
          'classifiers': 'train neural_collapse', 'rainbow.alignment': 'align', 'rainbow.model': 'RainbowModel',
          'rainbow.neurons': 'independence',
          'examine': 'examine'}
_SHORT = {'draw_images': 'synthesize', 'Scattering': 'Scattering2D'} # what some are called from here
_DOORS = {_SHORT.get(n, n): (module, n) for module, names in _ROOMS.items() for n in names.split()}
_BOTH = {'lensing', 'turbulence', 'examine'} # a door and a module of one name: the module opens the door when called
__all__ = sorted(_DOORS)


class _Both(ModuleType):
    def __call__(self, *args, **kwargs):
        module, own = _DOORS[self.__name__.rpartition('.')[2]]
        return getattr(import_module(f'deepstruct.{module}'), own)(*args, **kwargs)


class _Package(ModuleType):
    def __setattr__(self, name, value): # the import of a submodule comes through here
        if name in _BOTH and isinstance(value, ModuleType): value.__class__ = _Both
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name):
    if name in _BOTH: return import_module(f'{__name__}.{name}')
    if name not in _DOORS: raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    module, own = _DOORS[name]
    value = globals()[name] = getattr(import_module(f'{__name__}.{module}'), own)
    return value


def __dir__(): return [*__all__, '__version__']


if TYPE_CHECKING:
    from .classifiers import neural_collapse, train
    from .examine import examine
    from .facade import claims, fisher, gaussian_field, lensing, load, phi4, reproduce, turbulence
    from .files import read_fields, read_images
    from .log_concavity.diagnose import diagnose
    from .log_concavity.model import LogConcaveModel
    from .networks import LearnedScattering
    from .phase_collapse.scattering import Scattering as Scattering2D
    from .rainbow.alignment import align
    from .rainbow.model import RainbowModel
    from .rainbow.neurons import independence
    from .training import error
    from .wavelet_diffusion.denoisers import denoise, denoiser
    from .wavelet_diffusion.log_density import LogDensity
    from .wavelet_diffusion.synthesis import draw_images as synthesize, inpaint, super_resolve
    from .wavelet_diffusion.wsgm import WSGM
