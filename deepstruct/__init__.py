"""The executable companion to nine papers on the mathematics of deep convolutional networks."""
__version__ = "0.1.0"

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

_DOORS = dict.fromkeys( # what is opened at its first use: name -> module
    """phi4 gaussian_field lensing turbulence read_fields read_images denoiser synthesize super_resolve inpaint fisher
    neural_collapse align train error load claims reproduce examine""".split(), 'facade')
_DOORS |= {'diagnose': 'log_concavity.your_fields', 'LogConcaveModel': 'log_concavity.model',
           'WSGM': 'wavelet_diffusion.wsgm', 'Scattering2D': 'facade', 'LearnedScattering': 'networks',
           'RainbowModel': 'rainbow.model'}
_BOTH = {'lensing', 'turbulence', 'examine'} # a door and a module of one name: the module opens the door when called
__all__ = sorted(_DOORS)


class _Both(ModuleType):
    def __call__(self, *args, **kwargs):
        return getattr(import_module('deepstruct.facade'), self.__name__.rpartition('.')[2])(*args, **kwargs)


class _Package(ModuleType):
    def __setattr__(self, name, value): # the import of a submodule comes through here
        if name in _BOTH and isinstance(value, ModuleType): value.__class__ = _Both
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name):
    if name in _BOTH: return import_module(f'{__name__}.{name}')
    if name not in _DOORS: raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = globals()[name] = getattr(import_module(f'{__name__}.{_DOORS[name]}'), name)
    return value


def __dir__(): return [*__all__, '__version__']


if TYPE_CHECKING:
    from .facade import (Scattering2D, align, claims, denoiser, error, examine, fisher, gaussian_field, inpaint, lensing,
                         load, neural_collapse, phi4, read_fields, read_images, reproduce, super_resolve, synthesize,
                         train, turbulence)
    from .log_concavity.model import LogConcaveModel
    from .log_concavity.your_fields import diagnose
    from .networks import LearnedScattering
    from .rainbow.model import RainbowModel
    from .wavelet_diffusion.wsgm import WSGM
