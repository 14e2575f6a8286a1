"""What a key sees and what it leaves out: kinds of edit, kinds of data, and what is refused by name.

A row is one source with «old|new» in it: the key of its `stage` under both readings must differ, or must not.
Cells are given to linecache, as IPython does.
"""
import collections
import dataclasses
import enum
import functools
import itertools
import json
import linecache
import re
import sys
import types

import numpy as np
import pytest
import torch

from deepstruct.book import keys as K

COUNT = itertools.count()


def reading(source, which):
    """The source under the old reading (0) or the new one (1)."""
    return re.sub(r'«([^|»]*)\|([^»]*)»', lambda m: m[which + 1], source)


def cell(source, space=None, name='__main__'):
    """The names that a cell of a notebook leaves."""
    file, space = f'<ipython-input-{next(COUNT)}>', {'__name__': name} if space is None else space
    linecache.cache[file] = len(source), None, source.splitlines(True), file
    exec(compile(source, file, 'exec'), space)
    return space


def module(folder, source, name=None):
    """A module of one's own, imported from a file."""
    name = name or f'own_{next(COUNT)}'
    (folder / f'{name}.py').write_text(source)
    sys.modules.pop(name, None)
    sys.path.insert(0, str(folder))
    try: return __import__(name)
    finally: sys.path.remove(str(folder))


def live(source, **arguments):
    """The key of the stage of a page."""
    space = cell(source)
    return K.key(space['stage'], arguments or {'x': 1})


def static(folder, **sources):
    """The hash of what `stage` of module m of a package of these modules reaches; nothing is imported."""
    folder.mkdir(parents=True)
    for name, source in sources.items():
        path = folder.joinpath(*name.split('__')).with_suffix('.py')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        (path.parent / '__init__.py').touch()
    return K.summed(*K.reached(K.Reach(folder), {('deepstruct.m', ('stage',))}))


# --- edits that must be seen: on a page (live), in a module (static), or in both
BOTH = {
    'the code': 'def stage(x): return x «+|-» 1',
    'a constant of the code': 'def stage(x): return x + «1|2»',
    'an integer for a float': 'def stage(x): return x * «1|1.»',
    'a number': 'N = «1|2»\ndef stage(x): return x * N',
    'a number, by its type': 'N = «1|True»\ndef stage(x): return [x, N]',
    'a string': 'N = "«a|b»"\ndef stage(x): return N * x',
    'bytes': 'N = b"«a|b»"\ndef stage(x): return N * x',
    'a tuple': 'N = (1, «2|3»)\ndef stage(x): return N[x]',
    'a list for a tuple': 'N = «[1, 2]|(1, 2)»\ndef stage(x): return N',
    'a dict': 'N = dict(a=1, b=«2|3»)\ndef stage(x): return N["b"]',
    'a set': 'N = {1, «2|3»}\ndef stage(x): return x in N',
    'an array': 'import numpy as np\nN = np.array([1., «2.|3.»])\ndef stage(x): return N * x',
    'an array, by its type': 'import numpy as np\nN = np.zeros(2, «"f4"|"f8"»)\ndef stage(x): return N * x',
    'a tensor': 'import torch\nN = torch.tensor([1., «2.|3.»])\ndef stage(x): return N * x',
    'a range': 'N = range(«3|4»)\ndef stage(x): return sum(N)',
    'a long pattern': 'import re\nN = re.compile("a" * 300 + "«b|c»")\ndef stage(x): return N.findall(x)',
    'the flags of a pattern': 'import re\nN = re.compile("a", «0|re.I»)\ndef stage(x): return N.findall(x)',
    'a helper': 'def h(x): return x + «1|2»\ndef stage(x): return h(x)',
    'a helper of a helper': 'def g(x): return x + «1|2»\ndef h(x): return g(x)\ndef stage(x): return h(x)',
    'a helper in a comprehension': 'def h(x): return x + «1|2»\ndef stage(x): return [h(y) for y in range(x)]',
    'a helper in a nested function': 'def h(x): return x + «1|2»\ndef stage(x):\n def inner(y): return h(y)\n return inner(x)',
    'a helper in a lambda': 'def h(x): return x + «1|2»\ndef stage(x): return (lambda y: h(y))(x)',
    'a helper in a default': 'def h(x): return x + «1|2»\ndef stage(x, f=h): return f(x)',
    'a helper under another name': 'def h(x): return x + «1|2»\ng = h\ndef stage(x): return g(x)',
    'which helper': 'def g(x): return 1\ndef h(x): return 2\nf = «g|h»\ndef stage(x): return f(x)',
    'a recursion': 'def h(n): return «1|2» if n < 1 else stage(n - 1)\ndef stage(x): return h(x)',
    'a lambda': 'h = lambda x: x + «1|2»\ndef stage(x): return h(x)',
    'the second lambda of a line': 'f, g = lambda x: x + 1, lambda x: x «+|-» 2\ndef stage(x): return g(x)',
    'a lambda in a lambda': 'f = lambda x: (lambda y: y «+|-» x)\ndef stage(x): return f(x)(x)',
    'a lambda in a dict': 'N = {"a": lambda x: x + «1|2»}\ndef stage(x): return N["a"](x)',
    'a function in a list': 'def h(x): return x + «1|2»\nN = [h]\ndef stage(x): return N[0](x)',
    'a function in nested tables': 'def h(x): return x + «1|2»\nN = {"a": [(h, 1)]}\ndef stage(x): return N["a"][0][0](x)',
    'a default argument': 'def stage(x, k=«1|2»): return x * k',
    'a default of a helper': 'def h(x, k=«1|2»): return x * k\ndef stage(x): return h(x)',
    'a keyword default': 'def h(x, *, k=«1|2»): return x * k\ndef stage(x): return h(x)',
    'the argument of a partial': 'import functools\ndef h(k, x): return x * k\nf = functools.partial(h, «1|2»)\n'
                                 'def stage(x): return f(x)',
    'a keyword of a partial': 'import functools\ndef h(x, k): return x * k\nf = functools.partial(h, k=«1|2»)\n'
                              'def stage(x): return f(x)',
    'the function of a partial': 'import functools\ndef h(k, x): return x * k + «1|2»\nf = functools.partial(h, 1)\n'
                                 'def stage(x): return f(x)',
    'a closure': 'def make(k):\n def f(x): return x * k\n return f\nf = make(«1|2»)\ndef stage(x): return f(x)',
    'the code of a closure': 'def make(k):\n def f(x): return x * k + «1|2»\n return f\nf = make(1)\ndef stage(x): return f(x)',
    'a decorator': 'import functools\ndef deco(f):\n @functools.wraps(f)\n def g(x): return f(x) + «1|2»\n return g\n'
                   '@deco\ndef h(x): return x\ndef stage(x): return h(x)',
    'a decorator without wraps': 'def deco(f):\n def g(x): return f(x) + «1|2»\n return g\n'
                                 '@deco\ndef h(x): return x\ndef stage(x): return h(x)',
    'what is decorated': 'def deco(f):\n def g(x): return f(x)\n return g\n@deco\ndef h(x): return x + «1|2»\n'
                         'def stage(x): return h(x)',
    'what a decorator is given': 'import functools\ndef times(k):\n def deco(f):\n  @functools.wraps(f)\n  def g(x): return f(x) * k\n'
                                 '  return g\n return deco\n@times(«2|3»)\ndef h(x): return x\ndef stage(x): return h(x)',
    'a decorator by a call': 'import functools\ndef times(k):\n def deco(f):\n  @functools.wraps(f)\n  def g(x): return f(x) * k\n'
                             '  return g\n return deco\ndef h(x): return x\nf = times(«2|3»)(h)\ndef stage(x): return f(x)',
    'a decorator by a call, of what has one':
        'import functools\ndef times(k):\n def deco(f):\n  @functools.wraps(f)\n  def g(x): return f(x) * k\n  return g\n return deco\n'
        '@times(1)\ndef h(x): return x\nf = times(«2|3»)(h)\ndef stage(x): return f(x)',
    'what is decorated away': 'def deco(f): return abs\n@«deco|int»\ndef h(x): return x\ndef stage(x): return h(x)',
    'under lru_cache': 'import functools\n@functools.lru_cache\ndef h(x): return x + «1|2»\ndef stage(x): return h(x)',
    'a method': 'class A:\n def f(self, x): return x + «1|2»\na = A()\ndef stage(x): return a.f(x)',
    'a bound method': 'class A:\n def f(self, x): return x + «1|2»\nf = A().f\ndef stage(x): return f(x)',
    'what a method is bound to': 'class A:\n def __init__(self, k): self.k = k\n def f(self, x): return x + self.k\n'
                                 'f = A(«1|2»).f\ndef stage(x): return f(x)',
    'an attribute of an instance': 'class A:\n def __init__(self, k): self.k = k\na = A(«1|2»)\ndef stage(x): return a.k',
    'a class made inside': 'class A:\n def f(self, x): return x + «1|2»\ndef stage(x): return A().f(x)',
    'a property': 'class A:\n @property\n def f(self): return «1|2»\ndef stage(x): return A().f',
    'a static method': 'class A:\n @staticmethod\n def f(x): return «1|2»\ndef stage(x): return A.f(x)',
    'a class method': 'class A:\n @classmethod\n def f(cls, x): return «1|2»\ndef stage(x): return A.f(x)',
    '__new__': 'class A:\n def __new__(cls): return «1|2»\ndef stage(x): return A()',
    '__init_subclass__': 'class A:\n def __init_subclass__(cls): cls.k = «1|2»\nclass B(A): pass\ndef stage(x): return B.k',
    '__call__': 'class A:\n def __call__(self, x): return «1|2»\na = A()\ndef stage(x): return a(x)',
    '__getattr__': 'class A:\n def __getattr__(self, k): return «1|2»\na = A()\ndef stage(x): return a.anything',
    'a cached property': 'import functools\nclass A:\n @functools.cached_property\n def f(self): return «1|2»\n'
                         'def stage(x): return A().f',
    'a base class': 'class A:\n def f(self): return «1|2»\nclass B(A): pass\ndef stage(x): return B().f()',
    'which base class': 'class A: k = 1\nclass B: k = 2\nclass C(«A|B»): pass\ndef stage(x): return C.k',
    'the order of base classes': 'class A: k = 1\nclass B: k = 2\nclass C(«A, B|B, A»): pass\ndef stage(x): return C.k',
    'a metaclass': 'class M(type):\n def f(cls): return «1|2»\nclass A(metaclass=M): pass\ndef stage(x): return A.f()',
    'a class attribute': 'class A: k = «1|2»\ndef stage(x): return A.k',
    'a class attribute assigned after': 'class A: k = 1\nA.k = «1|2»\ndef stage(x): return A.k',
    'a method assigned after': 'class A: pass\ndef f(self): return «1|2»\nA.f = f\ndef stage(x): return A().f()',
    'a method set after': 'class A: pass\nfor k in ["f"]: setattr(A, k, lambda self: «1|2»)\ndef stage(x): return A().f()',
    'slots': 'class A:\n __slots__ = ("k",)\n def __init__(self, k): self.k = k\na = A(«1|2»)\ndef stage(x): return a.k',
    'hidden slots': 'class A:\n __slots__ = ("__k",)\n def __init__(self, k): self.__k = k\n def f(self): return self.__k\n'
                    'a = A(«1|2»)\ndef stage(x): return a.f()',
    'a default of a dataclass': 'from dataclasses import dataclass\n@dataclass\nclass A:\n k: int = «1|2»\ndef stage(x): return A().k',
    'a function as default of a dataclass': 'from dataclasses import dataclass\n@dataclass\nclass A:\n k: object = lambda x: x + «1|2»\n'
                                            'def stage(x): return A().k',
    'a factory of a dataclass': 'from dataclasses import dataclass, field\n@dataclass\nclass A:\n k: list = '
                                'field(default_factory=lambda: [«1|2»])\ndef stage(x): return A().k',
    'a flag of a dataclass': 'from dataclasses import dataclass\n@dataclass(order=«True|False»)\nclass A: k: int = 1\n'
                             'def stage(x): return A() < A()',
    'a flag of a field': 'from dataclasses import dataclass, field\n@dataclass\nclass A: k: int = field(compare=«True|False»)\n'
                         'def stage(x): return A(1) == A(2)',
    'a field with init': 'from dataclasses import dataclass, field\n@dataclass\nclass A: k: int = field(default=1, init=«True|False»)\n'
                         'def stage(x): return A()',
    'a field more': 'from dataclasses import dataclass\n@dataclass\nclass A:\n k: int = 1«|; l: int = 2»\ndef stage(x): return A()',
    'the order of fields': 'from dataclasses import dataclass\n@dataclass\nclass A:\n «k: int; l: int|l: int; k: int»\n'
                           'def stage(x): return A(1, 2)',
    'no field but a class variable': 'import typing\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n'
                                     ' k: «int|typing.ClassVar[int]» = 1\n l: int = 2\ndef stage(x): return A(3)',
    '__post_init__': 'from dataclasses import dataclass\n@dataclass\nclass A:\n k: int = 1\n def __post_init__(self): self.k = «1|2»\n'
                     'def stage(x): return A().k',
    'an instance of a dataclass': 'from dataclasses import dataclass\n@dataclass\nclass A: k: int\na = A(«1|2»)\ndef stage(x): return a',
    'a preset, by an attribute': 'from dataclasses import dataclass\n@dataclass(frozen=True)\nclass A: k: int\na = A(«1|2»)\n'
                                 'def stage(x): return a.k',
    'a preset in a dict': 'from dataclasses import dataclass\n@dataclass(frozen=True)\nclass A: k: int\nP = {"s": A(«1|2»)}\n'
                          'def stage(x): return P["s"].k',
    'a method of a preset': 'from dataclasses import dataclass\n@dataclass(frozen=True)\nclass A:\n k: int\n def f(self): return «1|2»\n'
                            'a = A(1)\ndef stage(x): return a.f()',
    'an enum': 'import enum\nclass E(enum.Enum):\n A = «1|2»\ndef stage(x): return E.A.value',
    'a member of an enum': 'import enum\nclass E(enum.Enum):\n A = «1|2»\ne = E.A\ndef stage(x): return e.value',
    'a method of an enum': 'import enum\nclass E(enum.Enum):\n A = 1\n def f(self): return «1|2»\ne = E.A\ndef stage(x): return e.f()',
    'a named tuple': 'from collections import namedtuple\nP = namedtuple("P", "a b")\np = P(1, «2|3»)\ndef stage(x): return p.b',
    'the fields of a named tuple': 'from collections import namedtuple\nP = namedtuple("P", "«a b|b a»")\np = P(1, 2)\n'
                                   'def stage(x): return p.b',
    'a named tuple with defaults': 'from typing import NamedTuple\nclass P(NamedTuple):\n a: int\n b: int = «1|2»\n'
                                   'def stage(x): return P(1)',
    'an integer of one\'s own': 'class I(int): pass\nN = I(«1|2»)\ndef stage(x): return N',
    'a string of one\'s own': 'class S(str): pass\nN = S("«a|b»")\ndef stage(x): return N',
    'a list of one\'s own': 'class L(list): pass\nN = L([1, «2|3»])\ndef stage(x): return N',
    'an attribute of a dict of one\'s own': 'class D(dict): pass\nN = D(a=1)\nN.k = «1|2»\ndef stage(x): return N.k',
    'the limit of a deque': 'from collections import deque\nN = deque([1], «1|2»)\ndef stage(x): return N',
    'the factory of a defaultdict': 'from collections import defaultdict\nN = defaultdict(«int|list»)\ndef stage(x): return N[x]',
    'built by append': 'N = [1]\nN.append(«2|3»)\ndef stage(x): return N',
    'built by update': 'N = {}\nN.update(a=«2|3»)\ndef stage(x): return N',
    'built by subscripts': 'N = {}\nN["a"] = «2|3»\ndef stage(x): return N',
    'built by a loop': 'N = {}\nfor k in range(3): N[k] = k * «2|3»\ndef stage(x): return N',
    'built by +=': 'N = 1\nN += «2|3»\ndef stage(x): return N',
    'built by a function': 'def fill(t): t.append(«2|3»)\nN = []\nfill(N)\ndef stage(x): return N',
    'built by setdefault': 'N = {}\n_ = N.setdefault("a", «2|3»)\ndef stage(x): return N',
    'deleted': 'N = {"a": 1, "b": 2}\ndel N["«a|b»"]\ndef stage(x): return N',
    'bound under a condition': 'A = True\nif A: N = «1|2»\nelse: N = 3\ndef stage(x): return N',
    'bound by with': 'import contextlib\nwith contextlib.nullcontext(«1|2») as N: pass\ndef stage(x): return N',
    'bound by a walrus': 'M = (N := «1|2») + 1\ndef stage(x): return N',
    'bound by unpacking': 'A, (*B, N) = 1, (2, 3, «4|5»)\ndef stage(x): return N',
    'bound by match': 'match (1, «2|3»):\n case (_, N): pass\ndef stage(x): return N',
    'a case of match': 'def stage(x):\n match x:\n  case «1|2»: return 1\n return 2',
    'a name in a case': 'class A: k = «1|2»\ndef stage(x):\n match x:\n  case A.k: return 1\n return 2',
    'a class in a case': 'class A:\n __match_args__ = ("«k|l»",)\n k = 1; l = 2\ndef stage(x):\n match x:\n  case A(1): return 1\n return 2',
    'async': 'async def h(x): return x + «1|2»\nasync def stage(x): return await h(x)',
    'async for': 'async def h(x): yield x + «1|2»\nasync def stage(x): return [y async for y in h(x)]',
    'a generator': 'def h(x): yield x + «1|2»\ndef stage(x): return list(h(x))',
    'an except clause': 'def stage(x):\n try: return 1 / x\n except «ZeroDivisionError|TypeError»: return 0',
    'the type of an error': 'def h(x): raise «ValueError|TypeError»("no")\ndef stage(x):\n try: h(x)\n except ValueError: return 1',
    'a text of an error that becomes a value': 'def h(x): raise ValueError("«a|b»")\ndef stage(x):\n try: h(x)\n'
                                               ' except ValueError as e: return str(e)',
    'the same by a tuple of types': 'ERRORS = (ValueError, TypeError)\ndef h(x): raise ValueError("«a|b»")\ndef stage(x):\n try: h(x)\n'
                                    ' except ERRORS as e: return str(e)',
    'the text of an assertion that becomes a value': 'def h(x): assert not x, "«a|b»"\ndef stage(x):\n try: h(x)\n'
                                                     ' except AssertionError as e: return str(e)',
    'which error a function picks': 'def pick(k): return [ValueError, TypeError][k]()\ndef stage(x):\n try: raise pick(«0|1»)\n'
                                    ' except ValueError: return 1\n except TypeError: return 2',
    'a condition of an assertion': 'def stage(x):\n try: assert x > «1|2»\n except AssertionError: return 0\n return x',
    'what print computes': 'import random\ndef stage(x):\n print(random.«random|gauss»())\n return random.random()',
    'what print writes to a file': 'import io\ndef stage(x):\n f = io.StringIO()\n print("«a|b»", file=f)\n return f.getvalue()',
    'a function called warn': 'def warn(k): return k\ndef stage(x): return warn(«1|2»)',
    'the signature': 'def h(a, b): return a - b\ndef stage(x): return h(«a|b»=x, «b|a»=1)',
    'a global declared inside': 'K = «1|2»\ndef stage(x):\n K = x\n def inner():\n  global K\n  return K\n return inner()',
    'a default named as a global': 'K = «1|2»\ndef stage(x, f=lambda K: K): return K',
    'a class body': 'K = «1|2»\ndef stage(x):\n class A: k = K\n return A.k',
    'torch.nn.Module': 'from torch import nn\nclass N(nn.Module):\n def forward(self, x): return x + «1|2»\ndef stage(x): return N()(x)',
    'torch.autograd.Function': 'import torch\nclass F(torch.autograd.Function):\n @staticmethod\n def forward(ctx, x): return x\n'
                               ' @staticmethod\n def backward(ctx, g): return g * «1|2»\ndef stage(x): return F.apply(x)',
    'no_grad': 'import torch\n@torch.no_grad()\ndef h(x): return x + «1|2»\ndef stage(x): return h(x)',
    'numba': 'import numba\n@numba.njit\ndef h(x): return x + «1|2»\ndef stage(x): return h(x)',
    'an option of numba': 'import numba\n@numba.njit(fastmath=«True|False»)\ndef h(x): return x + 1.\ndef stage(x): return h(x)',
    'what numba calls': 'import numba\n@numba.njit\ndef g(x): return x + «1|2»\n@numba.njit\ndef h(x): return g(x)\n'
                        'def stage(x): return h(x)',
    'numba.vectorize': 'import numba\n@numba.vectorize\ndef h(x): return x + «1|2»\ndef stage(x): return h(x)',
    'singledispatch': 'import functools\n@functools.singledispatch\ndef h(x): return 0\n@h.register\ndef _(x: int): return «1|2»\n'
                      'def stage(x): return h(x)',
    'the type of a registration': 'import functools\n@functools.singledispatch\ndef h(x): return 0\n@h.register\n'
                                  'def _(x: «int|float»): return 1\ndef stage(x): return h(x)',
    'a registry filled by a decorator': 'T = {}\ndef put(k):\n def deco(f):\n  T[k] = f\n  return f\n return deco\n'
                                        '@put("a")\ndef f(x): return «1|2»\ndef stage(x): return T["a"](x)',
    'a context manager': 'import contextlib\n@contextlib.contextmanager\ndef c(k): yield k + «1|2»\ndef stage(x):\n with c(x) as y: return y',
    'a descriptor': 'class D:\n def __get__(self, o, c): return «1|2»\nclass A: k = D()\ndef stage(x): return A().k',
    'a cyclic list': 'N = [1, «2|3»]\nN.append(N)\ndef stage(x): return N[0]',
    'rebound after a use': 'K = 1\n«L = K|K = 2»\n«K = 2|L = K»\ndef stage(x): return L',
    'swapped names of a module': 'from math import «sin as p, cos as q|cos as p, sin as q»\ndef stage(x): return p(x) - q(x) / 2',
    'the module of a name': 'from «math|cmath» import sqrt\ndef stage(x): return sqrt(x)',
    'a local import': 'def stage(x):\n from «math|cmath» import sqrt\n return sqrt(x)',
    'try around an import': 'try: from math import nosuch as h\nexcept ImportError:\n def h(x): return «1|2»\ndef stage(x): return h(x)',
    'a method bound to a table': 'T = {"a": «1|2»}\nget = T.get\ndef stage(x): return get("a")',
    'a ufunc made from a function': 'import numpy as np\ndef h(x): return x + «1|2»\nu = np.vectorize(h)\ndef stage(x): return h(u)',
}
# values that only a running page has
LIVE = {
    'weights of a network': 'import torch\nnet = torch.nn.Linear(1, 1)\ntorch.nn.init.constant_(net.weight, «1|2»)\n'
                            'torch.nn.init.zeros_(net.bias)\ndef stage(x): return net(x)',
    'the mode of a network': 'import torch\nnet = torch.nn.Dropout()\nnet.train(«True|False»)\ndef stage(x): return net(x)',
    'a hook of a network': 'import torch\nnet = torch.nn.Identity()\nnet.register_forward_hook(lambda m, a, y: y + «1|2»)\n'
                           'def stage(x): return net(x)',
    'a buffer': 'import torch\nnet = torch.nn.Module()\nnet.register_buffer("k", torch.full((1,), «1.|2.»))\ndef stage(x): return net.k',
    'what a script computed': 'import math\nN = sum(math.sqrt(k) for k in range(«3|4»))\ndef stage(x): return N',
    'a loop variable': 'for n in range(«3|4»): pass\ndef stage(x): return n',
    'a bound builtin': 'N = [1, «2|3»].count\ndef stage(x): return N(x)',
    'a library object': 'from deepstruct import fields\nf = fields.«ising|Phi4»\ndef stage(x): return f',
    'modules of the library, swapped': 'from deepstruct import «fields as p, wavelets as q|wavelets as p, fields as q»\n'
                                       'def stage(x): return p.check_fields(x), q.check_fields(x)',
    'a wrapper round a library function':
        'import functools\nfrom deepstruct.training import rate\ndef times(k):\n def deco(f):\n  @functools.wraps(f)\n'
        '  def g(*a): return k * f(*a)\n  return g\n return deco\nh = times(«2|3»)(rate)\ndef stage(x): return h(x, 9, 1)',
    'the byte code of a function without source': 'exec(compile("def h(x): return x + «1|2»", "<nowhere>", "exec"))\ndef stage(x): return h(x)',
    'default values filled in': 'def h(x, t=[]):\n t.append(x)\n return t\n«|h(1)»\ndef stage(x): return h(x)',
}
# edits that change nothing
STAYS = {
    'a docstring': 'def h(x):\n "«a|b»"\n return x\ndef stage(x): return h(x)',
    'a docstring more': 'def h(x):\n «|"says"»\n return x\ndef stage(x): return h(x)',
    'a docstring of a class': 'class A:\n "«a|b»"\n k = 1\ndef stage(x): return A.k',
    'a comment': 'def h(x): return x # «a|b»\ndef stage(x): return h(x)',
    'layout': 'def h(x):«| \n\n »return (x +«|\n\n» 1)\ndef stage(x): return h(x)',
    'quotes and digits': 'def h(x): return «"a"|\'a\'», «1000|1_000», «.5|0.50»\ndef stage(x): return h(x)',
    'an annotation': 'def h(x«|: int»)«| -> int»: return x\ndef stage(x): return h(x)',
    'an annotation of a field': 'from dataclasses import dataclass\n@dataclass\nclass A: k: «int|float» = 1\ndef stage(x): return A()',
    'an annotation of a variable': 'N: «int|float» = 1\ndef stage(x): return N',
    'an annotated variable inside': 'def h(x):\n y«|: int» = 1\n return x + y\ndef stage(x): return h(x)',
    'the text of an error': 'def h(x):\n if x < 0: raise ValueError(f"«a|b» {x}")\n return x\ndef stage(x): return h(x)',
    'the text of an error that is caught': 'def h(x): raise ValueError("«a|b»")\ndef stage(x):\n try: h(x)\n except ValueError: return 1',
    'the text of an error that is raised again': 'def h(x): raise ValueError("«a|b»")\ndef stage(x):\n try: h(x)\n'
                                                 ' except ValueError as e: raise TypeError(f"so {e}") from e',
    'the text of another error than is read': 'class E(Exception): pass\ndef h(x): raise ValueError("«a|b»")\ndef stage(x):\n try: h(x)\n'
                                              ' except E as e: return str(e)',
    'the text of an assertion': 'def stage(x):\n assert x, "«a|b»"\n return x',
    'the text of a warning': 'import warnings\ndef stage(x):\n warnings.warn("«a|b»")\n return x',
    'the text of print': 'def stage(x):\n print("«a|b»", f"«c|d» {x}")\n return x',
    'a function that is not called': 'def other(x): return «1|2»\ndef stage(x): return x',
    'a number that is not read': 'OTHER = «1|2»\ndef stage(x): return x',
    'a local of a global\'s name': 'K = «1|2»\ndef stage(x):\n K = x\n return K',
    'a loop variable of a global\'s name': 'K = «1|2»\ndef stage(x): return [K for K in range(x)]',
    'an argument of a global\'s name': 'K = «1|2»\ndef stage(K): return K',
    'a keyword of a global\'s name': 'K = «1|2»\ndef stage(x): return dict(K=x)',
    'an attribute of a global\'s name': 'class A: K = 3\nK = «1|2»\ndef stage(x): return A.K',
    'a caught error of a global\'s name': 'K = «1|2»\ndef stage(x):\n try: return x\n except ValueError as K: raise K',
    'another field of a preset': 'from dataclasses import dataclass\n@dataclass(frozen=True)\nclass A:\n k: int; l: int\n'
                                 'a = A(1, «1|2»)\ndef stage(x): return a.k',
    'the order of definitions': '«def g(x): return 1|def h(x): return 2»\n«def h(x): return 2|def g(x): return 1»\n'
                                'def stage(x): return g(x) + h(x)',
    'the order of a set': 'N = {«1, 2, 3|3, 2, 1»}\ndef stage(x): return N',
    'a filled memory': 'import functools\n@functools.lru_cache\ndef h(x): return x\n«|h(1)»\ndef stage(x): return h(x)',
    'a filled memory of a decorator': 'import functools\ndef memo(f):\n kept = {}\n @functools.wraps(f)\n def g(x):\n'
                                      '  if x not in kept: kept[x] = f(x)\n  return kept[x]\n return g\n'
                                      '@memo\ndef h(x): return x\n«|h(1)»\ndef stage(x): return h(x)',
    'a filled cached property': 'import functools\nclass A:\n @functools.cached_property\n def f(self): return 1\na = A()\n«|a.f»\n'
                                'def stage(x): return a.f',
    'a compiled kernel': 'import numba\n@numba.njit\ndef h(x): return x + 1\n«|h(1)»\ndef stage(x): return h(x)',
    'type checking': 'from typing import TYPE_CHECKING\nif TYPE_CHECKING: from os import «path|name»\ndef stage(x): return x',
    '__all__': '__all__ = ["stage"«|, "other"»]\ndef other(x): return 1\ndef stage(x): return x',
    'an import that is not used': 'import math«|, json»\ndef stage(x): return math.sqrt(x)',
    'pass': 'def stage(x):\n «|pass»\n return x',
    'a global made equal': 'import numpy as np\nN = «np.arange(3)|np.array([0, 1, 2])»\ndef stage(x): return N',
}
STATIC_SEES_MORE = {'the order of a set', 'a filled memory', 'a filled memory of a decorator', 'a filled cached property',
                    'a compiled kernel', 'another field of a preset', 'a global made equal'} # counted by source


@pytest.mark.parametrize('name', [*BOTH, *LIVE])
def test_an_edit_of_a_page_is_seen(name):
    old, new = (live(reading((BOTH | LIVE)[name], i)) for i in (0, 1))
    assert old != new and old == live(reading((BOTH | LIVE)[name], 0))


@pytest.mark.parametrize('name', BOTH)
def test_an_edit_of_a_module_is_seen(name, tmp_path):
    old, new = (static(tmp_path / str(i), m=reading(BOTH[name], i)) for i in (0, 1))
    assert old != new


@pytest.mark.parametrize('name', STAYS)
def test_what_changes_nothing_is_not_counted(name, tmp_path):
    assert live(reading(STAYS[name], 0)) == live(reading(STAYS[name], 1))
    if name not in STATIC_SEES_MORE:
        assert len({static(tmp_path / str(i), m=reading(STAYS[name], i)) for i in (0, 1)}) == 1
