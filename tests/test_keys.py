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
from pathlib import Path

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
        path = folder / f'{name.replace("__", "/").replace("/init", "/__init__")}.py'
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / '__init__.py').touch()
        path.write_text(source)
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
    'a helper in a nested function': 'def h(x): return x + «1|2»\ndef stage(x):\n def inner(y): return h(y)\n'
                                     ' return inner(x)',
    'a helper in a lambda': 'def h(x): return x + «1|2»\ndef stage(x): return (lambda y: h(y))(x)',
    'a helper in a default': 'def h(x): return x + «1|2»\ndef stage(x, f=h): return f(x)',
    'a helper under another name': 'def h(x): return x + «1|2»\ng = h\ndef stage(x): return g(x)',
    'which helper': 'def g(x): return 1\ndef h(x): return 2\nf = «g|h»\ndef stage(x): return f(x)',
    'a recursion': 'def h(n): return «1|2» if n < 1 else stage(n - 1)\ndef stage(x): return h(x)',
    'a lambda': 'h = lambda x: x + «1|2»\ndef stage(x): return h(x)',
    'the second lambda of a line': 'f, g = lambda x: x + 1, lambda x: x «+|-» 2\ndef stage(x): return g(x)',
    'the first lambda of a line': 'f, g = lambda x: x «+|-» 1, lambda x: x + 2\ndef stage(x): return f(x)',
    'the inner one of two lambdas': 'f = (lambda x: lambda y: y «+|-» x)(1)\ndef stage(x): return f(x)',
    'a lambda in a lambda': 'f = lambda x: (lambda y: y «+|-» x)\ndef stage(x): return f(x)(x)',
    'a lambda in a dict': 'N = {"a": lambda x: x + «1|2»}\ndef stage(x): return N["a"](x)',
    'a function in a list': 'def h(x): return x + «1|2»\nN = [h]\ndef stage(x): return N[0](x)',
    'a function in nested tables': 'def h(x): return x + «1|2»\nN = {"a": [(h, 1)]}\n'
                                   'def stage(x): return N["a"][0][0](x)',
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
    'the code of a closure': 'def make(k):\n def f(x): return x * k + «1|2»\n return f\nf = make(1)\n'
                             'def stage(x): return f(x)',
    'a decorator': 'import functools\ndef deco(f):\n @functools.wraps(f)\n def g(x): return f(x) + «1|2»\n return g\n'
                   '@deco\ndef h(x): return x\ndef stage(x): return h(x)',
    'a decorator without wraps': 'def deco(f):\n def g(x): return f(x) + «1|2»\n return g\n'
                                 '@deco\ndef h(x): return x\ndef stage(x): return h(x)',
    'what is decorated': 'def deco(f):\n def g(x): return f(x)\n return g\n@deco\ndef h(x): return x + «1|2»\n'
                         'def stage(x): return h(x)',
    'what a decorator is given': 'import functools\ndef times(k):\n def deco(f):\n  @functools.wraps(f)\n'
                                 '  def g(x): return f(x) * k\n'
                                 '  return g\n return deco\n@times(«2|3»)\ndef h(x): return x\n'
                                 'def stage(x): return h(x)',
    'a decorator by a call': 'import functools\ndef times(k):\n def deco(f):\n  @functools.wraps(f)\n'
                             '  def g(x): return f(x) * k\n'
                             '  return g\n return deco\ndef h(x): return x\nf = times(«2|3»)(h)\n'
                             'def stage(x): return f(x)',
    'a decorator by a call, of what has one':
        'import functools\ndef times(k):\n def deco(f):\n  @functools.wraps(f)\n  def g(x): return f(x) * k\n'
        '  return g\n return deco\n'
        '@times(1)\ndef h(x): return x\nf = times(«2|3»)(h)\ndef stage(x): return f(x)',
    'what is decorated away': 'def a(f): return abs\ndef b(f): return bool\n@«a|b»\ndef h(x): return x\n'
                              'def stage(x): return h(x)',
    'wrapped again under its own name':
        'import functools\ndef times(k):\n def deco(f):\n  @functools.wraps(f)\n  def g(x): return f(x) * k\n'
        '  return g\n return deco\n@times(1)\ndef h(x): return x\nh = times(«2|3»)(h)\ndef stage(x): return h(x)',
    'under lru_cache': 'import functools\n@functools.lru_cache\ndef h(x): return x + «1|2»\ndef stage(x): return h(x)',
    'a method': 'class A:\n def f(self, x): return x + «1|2»\na = A()\ndef stage(x): return a.f(x)',
    'a bound method': 'class A:\n def f(self, x): return x + «1|2»\nf = A().f\ndef stage(x): return f(x)',
    'what a method is bound to': 'class A:\n def __init__(self, k): self.k = k\n def f(self, x): return x + self.k\n'
                                 'f = A(«1|2»).f\ndef stage(x): return f(x)',
    'an attribute of an instance': 'class A:\n def __init__(self, k): self.k = k\na = A(«1|2»)\n'
                                   'def stage(x): return a.k',
    'a class made inside': 'class A:\n def f(self, x): return x + «1|2»\ndef stage(x): return A().f(x)',
    'a property': 'class A:\n @property\n def f(self): return «1|2»\ndef stage(x): return A().f',
    'a static method': 'class A:\n @staticmethod\n def f(x): return «1|2»\ndef stage(x): return A.f(x)',
    'a class method': 'class A:\n @classmethod\n def f(cls, x): return «1|2»\ndef stage(x): return A.f(x)',
    '__new__': 'class A:\n def __new__(cls): return «1|2»\ndef stage(x): return A()',
    '__init_subclass__': 'class A:\n def __init_subclass__(cls): cls.k = «1|2»\nclass B(A): pass\n'
                         'def stage(x): return B.k',
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
    'a method set after': 'class A: pass\nfor k in ["f"]: setattr(A, k, lambda self: «1|2»)\n'
                          'def stage(x): return A().f()',
    'slots': 'class A:\n __slots__ = ("k",)\n def __init__(self, k): self.k = k\na = A(«1|2»)\n'
             'def stage(x): return a.k',
    'hidden slots': 'class A:\n __slots__ = ("__k",)\n def __init__(self, k): self.__k = k\n'
                    ' def f(self): return self.__k\n'
                    'a = A(«1|2»)\ndef stage(x): return a.f()',
    'a default of a dataclass': 'from dataclasses import dataclass\n@dataclass\nclass A:\n k: int = «1|2»\n'
                                'def stage(x): return A().k',
    'a function as default of a dataclass': 'from dataclasses import dataclass\n@dataclass\nclass A:\n'
                                            ' k: object = lambda x: x + «1|2»\n'
                                            'def stage(x): return A().k',
    'a factory of a dataclass': 'from dataclasses import dataclass, field\n@dataclass\nclass A:\n k: list = '
                                'field(default_factory=lambda: [«1|2»])\ndef stage(x): return A().k',
    'a flag of a dataclass': 'from dataclasses import dataclass\n@dataclass(order=«True|False»)\nclass A: k: int = 1\n'
                             'def stage(x): return A() < A()',
    'a flag of a field': 'from dataclasses import dataclass, field\n@dataclass\n'
                         'class A: k: int = field(compare=«True|False»)\n'
                         'def stage(x): return A(1) == A(2)',
    'a field with init': 'from dataclasses import dataclass, field\n@dataclass\n'
                         'class A: k: int = field(default=1, init=«True|False»)\n'
                         'def stage(x): return A()',
    'a field more': 'from dataclasses import dataclass\n@dataclass\nclass A:\n k: int = 1«|; l: int = 2»\n'
                    'def stage(x): return A()',
    'the order of fields': 'from dataclasses import dataclass\n@dataclass\nclass A:\n «k: int; l: int|l: int; k: int»\n'
                           'def stage(x): return A(1, 2)',
    'no field but a class variable': 'import typing\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n'
                                     ' k: «int|typing.ClassVar[int]» = 1\n l: int = 2\ndef stage(x): return A(3)',
    '__post_init__': 'from dataclasses import dataclass\n@dataclass\nclass A:\n k: int = 1\n'
                     ' def __post_init__(self): self.k = «1|2»\n'
                     'def stage(x): return A().k',
    'an instance of a dataclass': 'from dataclasses import dataclass\n@dataclass\nclass A: k: int\na = A(«1|2»)\n'
                                  'def stage(x): return a',
    'a preset, by an attribute': 'from dataclasses import dataclass\n@dataclass(frozen=True)\nclass A: k: int\n'
                                 'a = A(«1|2»)\n'
                                 'def stage(x): return a.k',
    'a preset in a dict': 'from dataclasses import dataclass\n@dataclass(frozen=True)\nclass A: k: int\n'
                          'P = {"s": A(«1|2»)}\n'
                          'def stage(x): return P["s"].k',
    'a method of a preset': 'from dataclasses import dataclass\n@dataclass(frozen=True)\nclass A:\n k: int\n'
                            ' def f(self): return «1|2»\n'
                            'a = A(1)\ndef stage(x): return a.f()',
    'an enum': 'import enum\nclass E(enum.Enum):\n A = «1|2»\ndef stage(x): return E.A.value',
    'a member of an enum': 'import enum\nclass E(enum.Enum):\n A = «1|2»\ne = E.A\ndef stage(x): return e.value',
    'a method of an enum': 'import enum\nclass E(enum.Enum):\n A = 1\n def f(self): return «1|2»\ne = E.A\n'
                           'def stage(x): return e.f()',
    'a named tuple': 'from collections import namedtuple\nP = namedtuple("P", "a b")\np = P(1, «2|3»)\n'
                     'def stage(x): return p.b',
    'the fields of a named tuple': 'from collections import namedtuple\nP = namedtuple("P", "«a b|b a»")\np = P(1, 2)\n'
                                   'def stage(x): return p.b',
    'a named tuple with defaults': 'from typing import NamedTuple\nclass P(NamedTuple):\n a: int\n b: int = «1|2»\n'
                                   'def stage(x): return P(1)',
    'an integer of one\'s own': 'class I(int): pass\nN = I(«1|2»)\ndef stage(x): return N',
    'a string of one\'s own': 'class S(str): pass\nN = S("«a|b»")\ndef stage(x): return N',
    'a list of one\'s own': 'class L(list): pass\nN = L([1, «2|3»])\ndef stage(x): return N',
    'an attribute of a dict of one\'s own': 'class D(dict): pass\nN = D(a=1)\nN.k = «1|2»\ndef stage(x): return N.k',
    'the limit of a deque': 'from collections import deque\nN = deque([1], «1|2»)\ndef stage(x): return N',
    'the factory of a defaultdict': 'from collections import defaultdict\nN = defaultdict(«int|list»)\n'
                                    'def stage(x): return N[x]',
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
    'a class in a case': 'class A:\n __match_args__ = ("«k|l»",)\n k = 1; l = 2\ndef stage(x):\n match x:\n'
                         '  case A(1): return 1\n return 2',
    'async': 'async def h(x): return x + «1|2»\nasync def stage(x): return await h(x)',
    'async for': 'async def h(x): yield x + «1|2»\nasync def stage(x): return [y async for y in h(x)]',
    'a generator': 'def h(x): yield x + «1|2»\ndef stage(x): return list(h(x))',
    'an except clause': 'def stage(x):\n try: return 1 / x\n except «ZeroDivisionError|TypeError»: return 0',
    'the type of an error': 'def h(x): raise «ValueError|TypeError»("no")\ndef stage(x):\n try: h(x)\n'
                            ' except ValueError: return 1',
    'a text of an error that becomes a value': 'def h(x): raise ValueError("«a|b»")\ndef stage(x):\n try: h(x)\n'
                                               ' except ValueError as e: return str(e)',
    'the same by a tuple of types': 'ERRORS = (ValueError, TypeError)\ndef h(x): raise ValueError("«a|b»")\n'
                                    'def stage(x):\n try: h(x)\n'
                                    ' except ERRORS as e: return str(e)',
    'the text of an assertion that becomes a value': 'def h(x): assert not x, "«a|b»"\ndef stage(x):\n try: h(x)\n'
                                                     ' except AssertionError as e: return str(e)',
    'which error a function picks': 'def pick(k): return [ValueError, TypeError][k]()\ndef stage(x):\n'
                                    ' try: raise pick(«0|1»)\n'
                                    ' except ValueError: return 1\n except TypeError: return 2',
    'a condition of an assertion': 'def stage(x):\n try: assert x > «1|2»\n except AssertionError: return 0\n return x',
    'what print computes': 'import random\ndef stage(x):\n print(random.«random|gauss»())\n return random.random()',
    'what print writes to a file': 'import io\ndef stage(x):\n f = io.StringIO()\n print("«a|b»", file=f)\n'
                                   ' return f.getvalue()',
    'a function called warn': 'def warn(k): return k\ndef stage(x): return warn(«1|2»)',
    'a text that is listened to': 'import io, contextlib\ndef h(): print("«a|b»")\ndef stage(x):\n'
                                  ' with contextlib.redirect_stdout(io.StringIO()) as s: h()\n'
                                  ' return s.getvalue()',
    'a warning that is listened to': 'import warnings\ndef stage(x):\n'
                                     ' with warnings.catch_warnings(record=True) as w:\n'
                                     '  warnings.warn("«a|b»")\n return str(w[0].message)',
    'an error without a name': 'import sys\ndef h(): raise KeyError("«a|b»")\ndef stage(x):\n try: h()\n'
                               ' except KeyError: return str(sys.exc_info()[1])',
    'a trace': 'import traceback\ndef h(): raise KeyError("«a|b»")\ndef stage(x):\n try: h()\n'
               ' except KeyError: return traceback.format_exc()',
    'an error of one\'s own': 'class E(Exception):\n def __init__(self, c): self.c = c\ndef h(): raise E(«1|2»)\n'
                              'def stage(x):\n try: h()\n except E as e: return e.c',
    'an attribute of a function': 'def h(x): return x * h.k\nh.k = «1|2»\ndef stage(x): return h(x)',
    'a class in a function': 'def make(k):\n class A:\n  def f(self): return k\n return A\nA = make(«1|2»)\n'
                             'def stage(x): return A().f()',
    'a decorated class': 'def put(c): c.k = «1|2»; return c\n@put\nclass A: pass\ndef stage(x): return A.k',
    'a nested class': 'class A:\n class B:\n  k = «1|2»\ndef stage(x): return A.B.k',
    'an abstract class': 'from abc import ABC, abstractmethod\nclass A(ABC):\n @abstractmethod\n'
                         ' def f(self): return «1|2»\nclass B(A):\n def f(self): return super().f()\n'
                         'def stage(x): return B().f()',
    'a setter': 'class A:\n @property\n def f(self): return self.k\n @f.setter\n def f(self, v): self.k = v + «1|2»\n'
                'def stage(x):\n a = A()\n a.f = x\n return a.f',
    'a signature for numba': 'import numba\ndef g(x): return x + 1\nh = numba.njit("«f4(f4)|f8(f8)»")(g)\n'
                             'def stage(x): return h(x)',
    'torch.vmap': 'import torch\ndef h(x): return x + «1|2»\nv = torch.vmap(h)\ndef stage(x): return v(x)',
    'the signature': 'def h(a, b): return a - b\ndef stage(x): return h(«a|b»=x, «b|a»=1)',
    'a global declared inside': 'K = «1|2»\ndef stage(x):\n K = x\n def inner():\n  global K\n  return K\n'
                                ' return inner()',
    'a default named as a global': 'K = «1|2»\ndef stage(x, f=lambda K: K): return K',
    'a class body': 'K = «1|2»\ndef stage(x):\n class A: k = K\n return A.k',
    'torch.nn.Module': 'from torch import nn\nclass N(nn.Module):\n def forward(self, x): return x + «1|2»\n'
                       'def stage(x): return N()(x)',
    'torch.autograd.Function': 'import torch\nclass F(torch.autograd.Function):\n @staticmethod\n'
                               ' def forward(ctx, x): return x\n'
                               ' @staticmethod\n def backward(ctx, g): return g * «1|2»\n'
                               'def stage(x): return F.apply(x)',
    'no_grad': 'import torch\n@torch.no_grad()\ndef h(x): return x + «1|2»\ndef stage(x): return h(x)',
    'numba': 'import numba\n@numba.njit\ndef h(x): return x + «1|2»\ndef stage(x): return h(x)',
    'an option of numba': 'import numba\n@numba.njit(fastmath=«True|False»)\ndef h(x): return x + 1.\n'
                          'def stage(x): return h(x)',
    'what numba calls': 'import numba\n@numba.njit\ndef g(x): return x + «1|2»\n@numba.njit\ndef h(x): return g(x)\n'
                        'def stage(x): return h(x)',
    'numba.vectorize': 'import numba\n@numba.vectorize\ndef h(x): return x + «1|2»\ndef stage(x): return h(x)',
    'singledispatch': 'import functools\n@functools.singledispatch\ndef h(x): return 0\n@h.register\n'
                      'def _(x: int): return «1|2»\n'
                      'def stage(x): return h(x)',
    'the type of a registration': 'import functools\n@functools.singledispatch\ndef h(x): return 0\n@h.register\n'
                                  'def _(x: «int|float»): return 1\ndef stage(x): return h(x)',
    'a registry filled by a decorator': 'T = {}\ndef put(k):\n def deco(f):\n  T[k] = f\n  return f\n return deco\n'
                                        '@put("a")\ndef f(x): return «1|2»\ndef stage(x): return T["a"](x)',
    'a context manager': 'import contextlib\n@contextlib.contextmanager\ndef c(k): yield k + «1|2»\ndef stage(x):\n'
                         ' with c(x) as y: return y',
    'a descriptor': 'class D:\n def __get__(self, o, c): return «1|2»\nclass A: k = D()\ndef stage(x): return A().k',
    'a cyclic list': 'N = [1, «2|3»]\nN.append(N)\ndef stage(x): return N[0]',
    'rebound after a use': 'K = 1\n«L = K|K = 2»\n«K = 2|L = K»\ndef stage(x): return L',
    'swapped names of a module': 'from math import «sin as p, cos as q|cos as p, sin as q»\n'
                                 'def stage(x): return p(x) - q(x) / 2',
    'the module of a name': 'from «math|cmath» import sqrt\ndef stage(x): return sqrt(x)',
    'a local import': 'def stage(x):\n from «math|cmath» import sqrt\n return sqrt(x)',
    'try around an import': 'try: from math import nosuch as h\nexcept ImportError:\n def h(x): return «1|2»\n'
                            'def stage(x): return h(x)',
    'a method bound to a table': 'T = {"a": «1|2»}\nget = T.get\ndef stage(x): return get("a")',
    # what stands beside the content of a value
    'slots of a list': 'class A(list): __slots__ = ("k",)\na = A()\na.k = «1|2»\ndef stage(x): return a.k',
    'slots of a dict': 'class A(dict): __slots__ = ("k",)\na = A()\na.k = «1|2»\ndef stage(x): return a.k',
    'slots of a string': 'class A(str):\n def __new__(c, k):\n  o = super().__new__(c)\n  o.k = k\n  return o\n'
                         'a = A(«1|2»)\ndef stage(x): return a.k',
    'an attribute of a tensor': 'import torch\nt = torch.zeros(1)\nt.k = «1|2»\ndef stage(x): return t.k',
    'an attribute of a parameter': 'import torch\nt = torch.nn.Parameter(torch.zeros(1))\nt.k = «1|2»\n'
                                   'def stage(x): return t.k',
    'an attribute of an array of one\'s own': 'import numpy as np\nclass A(np.ndarray): pass\na = np.zeros(1).view(A)\n'
                                              'a.k = «1|2»\ndef stage(x): return a.k',
    'an attribute of a member of an enum': 'import enum\nclass E(enum.Enum):\n A = 1\nE.A.k = «1|2»\n'
                                           'def stage(x): return E.A.k',
    'an attribute of a path': 'import pathlib\nclass P(pathlib.PurePosixPath): pass\np = P("a")\np.k = «1|2»\n'
                              'def stage(x): return p.k',
    'a method of a path': 'import pathlib\nclass P(pathlib.PurePosixPath):\n def f(self): return «1|2»\n'
                          'p = P("a")\ndef stage(x): return p.f()',
    'an attribute of bytes': 'class D(bytearray): pass\nN = D(b"a")\nN.k = «1|2»\ndef stage(x): return N.k',
    'an attribute of a partial': 'import functools\nf = functools.partial(max, 1)\nf.k = «1|2»\n'
                                 'def stage(x): return f.k',
    'an attribute of a memory': 'import functools\n@functools.lru_cache\ndef h(x): return 1\nh.k = «1|2»\n'
                                'def stage(x): return h.k',
    'an attribute of a function in a list': 'def h(x): return 1\nh.k = «1|2»\nT = [h]\ndef stage(x): return T[0].k',
    'an attribute of a function by its name': 'def h(x): return 1\nh.k = «1|2»\ndef stage(x): return getattr(h, "k")',
    'an attribute of an attribute of a function': 'def h(x): return 1\ndef g(x): return 2\nh.k = g\ng.z = «1|2»\n'
                                                  'def stage(x): return h.k.z',
    'an attribute of what is decorated': 'import functools\ndef deco(f):\n @functools.wraps(f)\n'
                                         ' def g(x): return f(x)\n return g\n@deco\ndef h(x): return x\n'
                                         'h.k = «1|2»\ndef stage(x): return h.k',
    'the metadata of a field': 'import dataclasses\n@dataclasses.dataclass\nclass A:\n'
                               ' k: int = dataclasses.field(default=1, metadata={"unit": «1|2»})\n'
                               'def stage(x): return dataclasses.fields(A)[0].metadata["unit"]',
    'the hour of a zone': 'import datetime\nclass Z(datetime.tzinfo):\n def utcoffset(self, d): return «1|2»\n'
                          ' def __repr__(self): return "Z"\nN = datetime.datetime(2020, 1, 1, tzinfo=Z())\n'
                          'def stage(x): return N',
    # what a call does besides what it returns
    'filled by a call that returns': 'def fill(t): t.append(«2|3»); return t\nN = []\nn = fill(N)\n'
                                     'def stage(x): return N',
    'filled by a call in a tuple': 'def fill(t): t.append(«2|3»); return t\nN = []\nn = 1, fill(N)\n'
                                   'def stage(x): return N',
    'filled by a condition': 'def fill(t): t.append(«2|3»); return t\nN = []\nif fill(N): M = 1\n'
                             'def stage(x): return N',
    'filled in a loop': 'def fill(t): t.append(1); return t\nN = []\nfor k in range(«2|3»): m = fill(N)\n'
                        'def stage(x): return N',
    'filled by an assertion': 'def fill(t): t.append(«2|3»); return t\nN = []\nassert fill(N)\ndef stage(x): return N',
    'filled by another name': 'def fill(t): t.append(«2|3»); return t\nf = fill\nN = []\nn = [f(N), fill]\n'
                              'def stage(x): return N',
    'a global that a function sets': 'def f():\n global K\n K = «1|2»\nz = f()\ndef stage(x): return K',
    'globals()[...] =': 'globals()["K"] = «1|2»\ndef stage(x): return K',
    'vars()[...] =': 'vars()["K"] = «1|2»\ndef stage(x): return K',
    'globals().update': 'globals().update(K=«1|2»)\ndef stage(x): return K',
}
# values that only a running page has
LIVE = {
    'weights of a network': 'import torch\nnet = torch.nn.Linear(1, 1)\ntorch.nn.init.constant_(net.weight, «1|2»)\n'
                            'torch.nn.init.zeros_(net.bias)\ndef stage(x): return net(x)',
    'the mode of a network': 'import torch\nnet = torch.nn.Dropout()\nnet.train(«True|False»)\n'
                             'def stage(x): return net(x)',
    'a hook of a network': 'import torch\nnet = torch.nn.Identity()\n'
                           'net.register_forward_hook(lambda m, a, y: y + «1|2»)\n'
                           'def stage(x): return net(x)',
    'a buffer': 'import torch\nnet = torch.nn.Module()\nnet.register_buffer("k", torch.full((1,), «1.|2.»))\n'
                'def stage(x): return net.k',
    'what a script computed': 'import math\nN = sum(math.sqrt(k) for k in range(«3|4»))\ndef stage(x): return N',
    'a loop variable': 'for n in range(«3|4»): pass\ndef stage(x): return n',
    'a bound builtin': 'N = [1, «2|3»].count\ndef stage(x): return N(x)',
    'a closure that the library made': 'from deepstruct.wavelet_diffusion.denoisers import denoising_loss\n'
                                       'f = denoising_loss(lambda g: 0., «1.|2.»)\ndef stage(x): return f(x)',
    'the code of a wrapper round a library function':
        'import functools\nfrom deepstruct.training import rate\ndef deco(f):\n @functools.wraps(f)\n'
        ' def g(*a): return f(*a) «+|-» 1\n return g\nh = deco(rate)\ndef stage(x): return h(x, 9, 1)',
    'a library object': 'from deepstruct import fields\nf = fields.«simulate|Phi4»\ndef stage(x): return f',
    'modules of the library, swapped': 'from deepstruct import «fields as p, wavelets as q|wavelets as p, fields as '
                                       'q»\n'
                                       'def stage(x): return p.check_fields(x), q.check_fields(x)',
    'a wrapper round a library function':
        'import functools\nfrom deepstruct.training import rate\ndef times(k):\n def deco(f):\n  @functools.wraps(f)\n'
        '  def g(*a): return k * f(*a)\n  return g\n return deco\nh = times(«2|3»)(rate)\n'
        'def stage(x): return h(x, 9, 1)',
    'the byte code of a function without source': 'exec(compile("def h(x): return x + «1|2»", "<nowhere>", "exec"))\n'
                                                  'def stage(x): return h(x)',
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
    'an annotation of a field': 'from dataclasses import dataclass\n@dataclass\nclass A: k: «int|float» = 1\n'
                                'def stage(x): return A()',
    'an annotation of a variable': 'N: «int|float» = 1\ndef stage(x): return N',
    'an annotated variable inside': 'def h(x):\n y«|: int» = 1\n return x + y\ndef stage(x): return h(x)',
    'the text of an error': 'def h(x):\n if x < 0: raise ValueError(f"«a|b» {x}")\n return x\n'
                            'def stage(x): return h(x)',
    'the text of an error that is caught': 'def h(x): raise ValueError("«a|b»")\ndef stage(x):\n try: h(x)\n'
                                           ' except ValueError: return 1',
    'the text of an error that is raised again': 'def h(x): raise ValueError("«a|b»")\ndef stage(x):\n try: h(x)\n'
                                                 ' except ValueError as e: raise TypeError(f"so {e}") from e',
    'the text of another error than is read': 'class E(Exception): pass\ndef h(x): raise ValueError("«a|b»")\n'
                                              'def stage(x):\n try: h(x)\n'
                                              ' except E as e: return str(e)',
    'the text of an assertion': 'def stage(x):\n assert x, "«a|b»"\n return x',
    'the text of a warning': 'import warnings\ndef stage(x):\n warnings.warn("«a|b»")\n return x',
    'the text of print': 'def stage(x):\n print("«a|b»", f"«c|d» {x}")\n return x',
    'a function that is not called': 'def other(x): return «1|2»\ndef stage(x): return x',
    'the other lambda of a line': 'f, g = lambda x: x + 1, lambda x: x «+|-» 2\ndef stage(x): return f(x)',
    'a number that is not read': 'OTHER = «1|2»\ndef stage(x): return x',
    'a local of a global\'s name': 'K = «1|2»\ndef stage(x):\n K = x\n return K',
    'a loop variable of a global\'s name': 'K = «1|2»\ndef stage(x): return [K for K in range(x)]',
    'an argument of a global\'s name': 'K = «1|2»\ndef stage(K): return K',
    'a keyword of a global\'s name': 'K = «1|2»\ndef stage(x): return dict(K=x)',
    'an attribute of a global\'s name': 'class A: K = 3\nK = «1|2»\ndef stage(x): return A.K',
    'a caught error of a global\'s name': 'K = «1|2»\ndef stage(x):\n try: return x\n except ValueError as K: raise K',
    'another field of a preset': 'from dataclasses import dataclass\n@dataclass(frozen=True)\nclass A:\n'
                                 ' k: int; l: int\n'
                                 'a = A(1, «1|2»)\ndef stage(x): return a.k',
    'the order of definitions': '«def g(x): return 1|def h(x): return 2»\n«def h(x): return 2|def g(x): return 1»\n'
                                'def stage(x): return g(x) + h(x)',
    'the order of a set': 'N = {«1, 2, 3|3, 2, 1»}\ndef stage(x): return N',
    'a filled memory': 'import functools\n@functools.lru_cache\ndef h(x): return x\n«|h(1)»\ndef stage(x): return h(x)',
    'a filled memory of a decorator': 'import functools\ndef memo(f):\n kept = {}\n @functools.wraps(f)\n def g(x):\n'
                                      '  if x not in kept: kept[x] = f(x)\n  return kept[x]\n return g\n'
                                      '@memo\ndef h(x): return x\n«|h(1)»\ndef stage(x): return h(x)',
    'a filled cached property': 'import functools\nclass A:\n @functools.cached_property\n def f(self): return 1\n'
                                'a = A()\n«|a.f»\n'
                                'def stage(x): return a.f',
    'a compiled kernel': 'import numba\n@numba.njit\ndef h(x): return x + 1\n«|h(1)»\ndef stage(x): return h(x)',
    'type checking': 'from typing import TYPE_CHECKING\nif TYPE_CHECKING: from os import «path|name»\n'
                     'def stage(x): return x',
    '__all__': '__all__ = ["stage"«|, "other"»]\ndef other(x): return 1\ndef stage(x): return x',
    'an import that is not used': 'import math«|, json»\ndef stage(x): return math.sqrt(x)',
    'pass': 'def stage(x):\n «|pass»\n return x',
    'a global made equal': 'import numpy as np\nN = «np.arange(3)|np.array([0, 1, 2])»\ndef stage(x): return N',
}
STATIC_SEES_MORE = {'the order of a set', 'a filled memory', 'a filled memory of a decorator',
                    'a filled cached property',
                    'a compiled kernel', 'another field of a preset', 'a global made equal',
                    'the other lambda of a line'} # counted by source


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


# --- a package of several modules
PACKAGES = { # name: ({module: source}, does the edit change what m.stage reaches?)
    'through from . import module': (dict(m='from . import a\ndef stage(x): return a.f(x)', a='def f(x): return «1|2»'),
                                     True),
    'from .. import module': (dict(m='from .sub import b\ndef stage(x): return b.g(x)', a='def f(x): return «1|2»',
                                   sub__b='from .. import a\ndef g(x): return a.f(x)'), True),
    'from .. import module as another': (dict(m='from .sub.b import g\ndef stage(x): return g(x)',
                                              a='def f(x): return «1|2»',
                                              sub__b='from .. import a as z\ndef g(x): return z.f(x)'), True),
    'another function of that module': (dict(m='from . import a\ndef stage(x): return a.f(x)',
                                             a='def f(x): return 1\ndef g(x): return «1|2»'), False),
    'a full name': (dict(m='import deepstruct.a\ndef stage(x): return deepstruct.a.f(x)', a='def f(x): return «1|2»'),
                    True),
    'a full name under another': (dict(m='import deepstruct.a as z\ndef stage(x): return z.f(x)',
                                       a='def f(x): return «1|2»'), True),
    'handed on': (dict(m='from .a import f\ndef stage(x): return f(x)', a='from .b import f',
                       b='def f(x): return «1|2»'), True),
    'handed on by the package': (dict(m='from .sub import f\ndef stage(x): return f(x)',
                                      sub__b='def f(x): return «1|2»',
                                      sub__init='from .b import f'), True),
    'a star': (dict(m='from .a import *\ndef stage(x): return f(x)', a='def f(x): return «1|2»'), True),
    'a star, another name': (dict(m='from .a import *\ndef stage(x): return f(x)',
                                  a='def f(x): return 1\ndef g(x): return «1|2»'), False),
    'a star of a star': (dict(m='from .a import *\ndef stage(x): return f(x)', a='from .b import *',
                              b='def f(x): return «1|2»'), True),
    'a local import': (dict(m='def stage(x):\n from .a import f\n return f(x)', a='def f(x): return «1|2»'), True),
    'a local import of a module': (dict(m='def stage(x):\n from . import a\n return a.f(x)',
                                        a='def f(x): return «1|2»'), True),
    'a local import beside a global of that name': (
        dict(m='def f(x): return «1|2»\ndef stage(x):\n def g():\n  from .a import f\n  return f(x)\n'
               ' return g() + f(x)', a='def f(x): return 1'), True),
    'try around imports, the first': (dict(m='try: from .a import f\nexcept ImportError: from .b import f\n'
                                             'def stage(x): return f(x)',
                                           a='def f(x): return «1|2»', b='def f(x): return 3'), True),
    'try around imports, the second': (dict(m='try: from .a import f\nexcept ImportError: from .b import f\n'
                                              'def stage(x): return f(x)',
                                            a='def f(x): return 1', b='def f(x): return «1|2»'), True),
    'an import, then a function of that name': (dict(m='from .a import f\ndef f(x): return «1|2»\n'
                                                       'def stage(x): return f(x)', a='def f(x): return 1'), True),
    'names swapped': (dict(m='from .a import «f as p, g as q|g as p, f as q»\ndef stage(x): return p(x) - q(x)',
                           a='def f(x): return 1\ndef g(x): return 2'), True),
    'modules swapped': (dict(m='from .«a|b» import f\nfrom .«b|a» import g\ndef stage(x): return f(x) - g(x)',
                             a='def f(x): return 1\ndef g(x): return 2',
                             b='def f(x): return g(x)\ndef g(x): return f(x)'), True),
    'getattr of a module': (dict(m='from . import a\ndef stage(x): return getattr(a, x)()', a='def f(): return «1|2»'),
                            True),
    'a module handed on': (dict(m='from . import a\nfrom .b import use\ndef stage(x): return use(a)',
                                a='def f(): return «1|2»',
                                b='def use(m): return m.f()'), True),
    'import_module': (dict(m='import importlib\ndef stage(x): return importlib.import_module(x).f()',
                           a='def f(): return «1|2»'), True),
    'import_module, imported': (dict(m='from importlib import import_module\ndef stage(x): return import_module(x).f()',
                                     a='def f(): return «1|2»'), True),
    '__import__': (dict(m='def stage(x): return __import__(x).f()', a='def f(): return «1|2»'), True),
    'sys.modules': (dict(m='import sys\ndef stage(x): return sys.modules[x].f()', a='def f(): return «1|2»'), True),
    'globals': (dict(m='def f(): return «1|2»\ndef stage(x): return globals()[x]()'), True),
    'a class of another module': (dict(m='from .a import A\nclass B(A): pass\ndef stage(x): return B().f()',
                                       a='class A:\n def f(self): return «1|2»'), True),
    'a constant of another module': (dict(m='from .a import K\ndef stage(x): return x * K', a='K = «1|2»'), True),
    'a method put on a class of another module': (dict(m='from .a import A\nfrom . import b\n'
                                                         'def stage(x): return A().f(), b.g()',
                                                       a='class A: pass', b='from .a import A\ndef g(): return 1\n'
                                                                            'A.f = lambda self: «1|2»'), True),
    'what the module does when it is imported': (dict(m='from .a import f\ndef stage(x): return f(x)',
                                                      a='import torch\ndef f(x): return x\n'
                                                      'torch.set_flush_denormal(«True|False»)'), True),
    'type checking': (dict(m='from typing import TYPE_CHECKING\nif TYPE_CHECKING: from .a import A\n'
                             'def stage(x: "A"): return x', a='class A: k = «1|2»'), False),
    'the book': (dict(m='from .book.claims import claim\ndef stage(x): return claim(x)',
                      book__claims='def claim(x): return «1|2»'), False),
    'the cache': (dict(m='from .core import cached\n@cached\ndef stage(x): return x',
                       core='def cached(f): return «1|2»'), False),
    'a module beside': (dict(m='def stage(x): return x', a='def f(x): return «1|2»'), False),
}


@pytest.mark.parametrize('name', PACKAGES)
def test_packages(name, tmp_path):
    sources, changes = PACKAGES[name]
    old, new = (static(tmp_path / str(i), **{k: reading(s, i) for k, s in sources.items()}) for i in (0, 1))
    assert (old != new) is changes


# --- modules of one's own
OWN = {
    'a function': ('from {} import f\ndef stage(x): return f(x)', 'def f(x): return «1|2»', True),
    'through the module': ('import {} as m\ndef stage(x): return m.f(x)', 'def f(x): return «1|2»', True),
    'a helper there': ('import {} as m\ndef stage(x): return m.f(x)', 'def g(x): return «1|2»\ndef f(x): return g(x)',
                       True),
    'a number there': ('import {} as m\ndef stage(x): return m.K', 'K = «1|2»', True),
    'another number there': ('import {} as m\ndef stage(x): return m.K', 'K = 1\nL = «1|2»', False),
    'the module handed on': ('import {} as m\ndef stage(x): return getattr(m, x)', 'K = «1|2»', True),
    'imported inside': ('def stage(x):\n import {} as m\n return m.f(x)', 'def f(x): return «1|2»', True),
    'from it, imported inside': ('def stage(x):\n from {} import f\n return f(x)', 'def f(x): return «1|2»', True),
    'a star': ('from {} import *\ndef stage(x): return f(x)', 'def f(x): return «1|2»', True),
    'a class': ('from {} import A\ndef stage(x): return A().f()', 'class A:\n def f(self): return «1|2»', True),
    'a docstring': ('from {} import f\ndef stage(x): return f(x)', 'def f(x):\n "«a|b»"\n return x', False),
}


@pytest.mark.parametrize('name', OWN)
def test_modules_of_ones_own(name, tmp_path):
    page, source, changes = OWN[name]
    def version(i):
        (tmp_path / str(i)).mkdir()
        module(tmp_path / str(i), reading(source, i), 'own_module')
        return live(page.replace('{}', 'own_module'))
    old, new = version(0), version(1)
    assert (old != new) is changes


def test_a_module_of_ones_own_that_imports_another(tmp_path):
    keys = []
    for k in (1, 2):
        far = module(tmp_path, f'def g(x): return {k}').__name__
        near = module(tmp_path, f'import {far} as far\ndef f(x): return far.g(x)').__name__
        keys.append([live(f'import {near} as m\ndef stage(x): return {word}') for word in ('m.f(x)',
            'getattr(m, x)()')])
    assert keys[0][0] != keys[1][0] and keys[0][1] != keys[1][1]


def test_an_edited_file_is_not_taken_for_the_code_that_runs(tmp_path):
    """Neither after an edit without a reload, nor after a reload."""
    m = module(tmp_path, 'def f(x): return 1\n')
    before = K.digest(m.f)
    (tmp_path / f'{m.__name__}.py').write_text('def f(x): return 22\n')
    edited = K.digest(m.f)
    sys.path.insert(0, str(tmp_path))
    try: new = K.digest(__import__('importlib').reload(m).f)
    finally: sys.path.remove(str(tmp_path))
    assert m.f(0) == 22 and len({before, edited, new}) == 3 or before == edited != new
    (tmp_path / f'{m.__name__}.py').write_text('def f(x): return 22 # by its source again, now with a remark\n')
    sys.path.insert(0, str(tmp_path))
    try: assert K.digest(__import__('importlib').reload(m).f) == K.digest(module(tmp_path, 'def f(x): return 22').f)
    finally: sys.path.remove(str(tmp_path))
    (tmp_path / f'{m.__name__}.py').write_text('# another line\ndef f(x): return 333\n')
    assert K.digest(m.f) not in (before, edited)


def test_a_library_file_that_changes_while_it_runs(tmp_path):
    """The index of a package is read once; an edit belongs to the next process."""
    (tmp_path / 'a.py').write_text('def f(): return 1')
    code = K.Reach(tmp_path)
    (tmp_path / 'a.py').write_text('def f(): return 2')
    assert K.reached(code, {('deepstruct.a', ('f',))}) == K.reached(code,
        {('deepstruct.a', ('f',))}) != K.reached(K.Reach(tmp_path), {('deepstruct.a', ('f',))})


@pytest.mark.parametrize('what', ['fields.Phi4.energy', 'training.rate', 'fields.Phi4.__init__', 'wavelets._along'])
def test_the_librarys_functions_replaced_by_a_page(what, monkeypatch):
    source = ('from deepstruct import fields, training, wavelets\n'
              'def stage(x): return fields.Phi4(), training.rate(1, 2, 3), wavelets._along(x)')
    before, (module, *rest) = live(source), what.split('.')
    owner = functools.reduce(getattr, rest[:-1], sys.modules[f'deepstruct.{module}'])
    seen = {before}
    for k in (1, 2):
        monkeypatch.setattr(owner, rest[-1], cell(f'def other(*a): return {k}')['other'])
        seen.add(live(source))
    assert len(seen) == 3


def test_the_librarys_numbers_and_tables_changed_by_a_page(monkeypatch):
    """A number of the library, a class put into its table, a function into another library."""
    from deepstruct import networks
    from deepstruct.phase_collapse import classification
    source = 'from deepstruct.phase_collapse import classification as c\ndef stage(x): return c.classifier("mine", {})'
    seen = {live(source)}
    for k in (1, 2):
        monkeypatch.setitem(classification.KINDS, 'mine', cell(f'class Mine:\n k = {k}')['Mine'])
        seen.add(live(source))
    assert len(seen) == 3
    source, name = 'from deepstruct.networks import linear\ndef stage(x): return linear(x)', 'torch.nn.functional.relu'
    monkeypatch.setattr(networks, 'linear', cell('def linear(x): return 1')['linear'])
    seen = {live(source)}
    monkeypatch.setattr(networks, 'linear', cell('def linear(x): return 2')['linear'])
    assert live(source) not in seen
    source = f'import torch\ndef stage(x): return {name}(x)'
    seen = {live(source)}
    for k in (1, 2):
        monkeypatch.setattr(torch.nn.functional, 'relu', cell(f'def relu(x): return {k}')['relu'])
        seen.add(live(source))
    assert len(seen) == 3


def test_a_constant_of_the_library_changed_by_a_page(monkeypatch):
    constants = [(m, k) for m in ('wavelets', 'fields', 'lensing', 'turbulence', 'data', 'statistics', 'networks')
                 if f'deepstruct.{m}' in sys.modules for k in K.reach().module(f'deepstruct.{m}')['literals']]
    for module, name in constants:
        source = f'from deepstruct import {module}\ndef stage(x): return {module}.{name}'
        before = live(source)
        with monkeypatch.context() as m:
            m.setattr(sys.modules[f'deepstruct.{module}'], name, 12345)
            assert live(source) != before, name
        assert live(source) == before
    assert constants


INSTEAD = {
    'a partial': 'import functools\nfrom deepstruct.training import rate\nother = functools.partial(rate, «1|2»)',
    'a partial of ones own': 'import functools\ndef f(k, *a): return k\nother = functools.partial(f, «1|2»)',
    'an object': 'class A:\n def __init__(self, k): self.k = k\n def __call__(self, *a): return self.k\n'
                 'other = A(«1|2»)',
    'a lambda': 'other = lambda *a: «1|2»', 'a function of another library': 'from math import «sin|cos» as other',
    'another function of this one': 'from deepstruct.training import «fit|rate» as other', 'a number': 'other = «1|2»',
    'a function in a memory': 'import functools\n@functools.lru_cache\ndef other(*a): return «1|2»'}


@pytest.mark.parametrize('name', INSTEAD)
def test_what_a_page_puts_in_the_place_of_a_function(name, monkeypatch):
    from deepstruct import training
    source, seen = 'from deepstruct import training\ndef stage(x): return training.rate(x, 9, 1)', set()
    seen.add(live(source))
    others = [cell(reading(INSTEAD[name], i))['other'] for i in (0, 1)]
    for other in others:
        monkeypatch.setattr(training, 'rate', other)
        seen.add(live(source))
    assert len(seen) == 3 - (name == 'another function of this one') # of which one is itself


def test_a_mock_in_the_place_of_a_function_is_refused(monkeypatch):
    from unittest.mock import Mock
    from deepstruct import training
    monkeypatch.setattr(training, 'rate', Mock())
    with pytest.raises(K.Unkeyed, match=r'deepstruct\.training\.rate is a .*Mock'):
        live('from deepstruct import training\ndef stage(x): return training.rate(x, 9, 1)')


@pytest.mark.parametrize('module, change', [
    ('log_concavity.energies', lambda m, p: p.setitem(m.LAPLACIAN, (0, 0), 5.)),
    ('log_concavity.energies', lambda m, p: p.setattr(m, 'AXES', ((1, 0), (0, 1)))),
    ('log_concavity.score_matching', lambda m, p: p.setattr(m.ScalarDensity, 'points', 5)),
    ('log_concavity.error_bounds', lambda m, p: p.setattr(m, 'SWEEP_STEPS', (.3, .1, .1, np.float64(.1)))),
    ('networks', lambda m, p: p.setattr(m, 'RECTIFIERS', [*m.RECTIFIERS]))])
def test_tables_and_numbers_of_classes_changed_by_a_page(module, change, monkeypatch):
    m = __import__('importlib').import_module(f'deepstruct.{module}')
    names = 'LAPLACIAN', 'AXES', 'ScalarDensity', 'SWEEP_STEPS', 'RECTIFIERS'
    read = ', '.join(f'm.{n}' for n in names if hasattr(m, n))
    source = f'import deepstruct.{module} as m\ndef stage(x): return {read}'
    before = live(source)
    change(m, monkeypatch)
    assert live(source) != before
    monkeypatch.undo()
    assert live(source) == before


def test_no_module_by_its_path_or_name_alone(tmp_path):
    """Code that runs under a name which no module has (runpy, a notebook's helper) counts by what it is."""
    old, new = (cell(f'def stage(x): return {k}', name='<run_path>')['stage'] for k in (1, 2))
    assert K.key(old, {}) != K.key(new, {})
    old, new = (cell(f'def h(x): return {k}\ndef stage(x): return h(x)', name='of_no_module')['stage'] for k in (1, 2))
    assert K.key(old, {}) != K.key(new, {})


# --- what has no content
REFUSED = {
    'a torch.Generator': ('import torch\nN = torch.Generator()', 'N', 'torch._C.Generator'),
    'a numpy Generator': ('import numpy as np\nN = np.random.default_rng(0)', 'N', 'Generator'),
    'a method of it': ('import numpy as np\nN = np.random.default_rng(0).normal', 'N', 'Generator'),
    'a RandomState': ('import numpy as np\nN = np.random.RandomState(0)', 'N', 'RandomState'),
    'a method of a RandomState': ('import numpy as np\nN = np.random.RandomState(0).normal', 'N', 'RandomState'),
    'random.Random': ('import random\nN = random.Random(0)', 'N', 'random.Random'),
    'a method of random.Random': ('import random\nN = random.Random(0).gauss', 'N', 'random.Random'),
    'one of one\'s own': ('import random\nclass R(random.Random): pass\nN = R(0)', 'N', '__main__.R'),
    'an iterator': ('N = iter([1, 2])', 'N', 'list_iterator'),
    'a generator': ('N = (k for k in [1])', 'N', 'generator'),
    'a counter': ('import itertools\nN = itertools.count()', 'N', 'itertools.count'),
    'a lock': ('import threading\nN = threading.Lock()', 'N', 'lock'),
    'a file': ('import os\nN = open(os.devnull)', 'N', 'TextIOWrapper'),
    'a sparse tensor': ('import torch\nN = torch.eye(2).to_sparse()', 'N', 'sparse_coo tensor'),
    'a sparse tensor in a dict': ('import torch\nN = {"a": [torch.eye(2).to_sparse()]}', "N['a'][0]",
                                  'sparse_coo tensor'),
    'a meta tensor': ('import torch\nN = torch.empty(2, device="meta")', 'N', 'meta'),
    'a quantised tensor': ('import torch\nN = torch.quantize_per_tensor(torch.ones(2), 1., 0, torch.qint8)', 'N',
                           'tensor'),
    'an optimizer': ('import torch\nN = torch.optim.SGD([torch.zeros(1)], lr=1.)', 'N', 'SGD'),
    'a scripted network': ('import torch\nN = torch.jit.trace(torch.nn.Linear(1, 1), torch.zeros(1))', 'N', ''),
    'in an attribute': ('class A: pass\nN = A()\nN.g = iter([])', "N['g']", 'list_iterator'),
    'in a closure': ('def make(g): return lambda: next(g)\nN = make(iter([]))', 'its g', 'list_iterator'),
    'in a default': ('def N(g=iter([])): return g', 'a default of', 'list_iterator'),
    'in a partial': ('import functools\nN = functools.partial(max, iter([]))', 'N[1][0]', 'list_iterator'),
    'a vectorised function': ('import numpy as np\nN = np.vectorize(lambda x: x)', 'N', 'vectorize'),
    'a ufunc of one\'s own': ('import numpy as np\nN = np.frompyfunc(lambda x: x, 1, 1)', 'N', 'ufunc'),
    'a memory view of a shape': ('import numpy as np\nN = memoryview(np.zeros((2, 3)))', 'N', 'memoryview'),
    'a memory view of numbers': ('import numpy as np\nN = memoryview(np.zeros(2, "i4"))', 'N', 'memoryview'),
    'a memory view with gaps': ('N = memoryview(b"abcd")[::2]', 'N', 'memoryview'),
    'eval': ('def N(x): return eval(x)', 'uses eval,', 'no key can follow'),
    'exec': ('def N(x): exec(x)', 'uses exec,', 'no key can follow'),
    'globals': ('def N(x): return globals()[x]', 'uses globals,', 'no key can follow'),
    'import_module': ('import importlib\ndef N(x): return importlib.import_module(x)', 'import_module',
                      'no key can follow'),
    'import_module, imported': ('from importlib import import_module\ndef N(x): return import_module(x)',
                                'import_module', 'no key can follow'),
    'sys.modules': ('import sys\ndef N(x): return sys.modules[x]', 'sys.modules', 'no key can follow'),
}


@pytest.mark.parametrize('name', REFUSED)
def test_refused_by_name(name):
    source, at, says = REFUSED[name]
    with pytest.raises(K.Unkeyed) as e: live(f'{source}\ndef stage(x): return N')
    text = str(e.value)
    assert 'stage, its global N' in text and at in text and says in text and '\n' not in text


@pytest.mark.parametrize('value', [torch.Generator(), iter([]), torch.eye(2).to_sparse(), np.random.default_rng(0)])
def test_refused_as_an_argument(value):
    with pytest.raises(K.Unkeyed, match=r'^stage\(x\) is a'): live('def stage(x): return x', x=value)
    with pytest.raises(K.Unkeyed, match=r"^stage\(x\)\['a'\]\[0\] is a"): live('def stage(x): return x',
        x={'a': [value]})


# --- values: one digest for each content, type and structure
@dataclasses.dataclass
class Point:
    x: float = 0.
    y: object = None


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: float = 0.


class Own:
    def __init__(self, **kw): self.__dict__ |= kw


class Int(int): pass
class Str(str): pass
class List(list): pass
class Dict(dict): pass


class Colour(enum.Enum):
    RED, BLUE = 1, 2


class Other(enum.Enum):
    RED, BLUE = 1, 2


class Bits(enum.Flag):
    A, B = 1, 2


P, Q = collections.namedtuple('P', 'a b'), collections.namedtuple('Q', 'a b')
T, A, f4 = torch.tensor, np.array, np.float32
z = torch.tensor([1 + 2j, 3 - 1j])
structured = np.zeros(2, [('a', 'i4'), ('b', 'f8')])
masked = np.ma.array([1., 2.], mask=[False, True])


def cyclic(*more):
    x = [1, *more]
    x.append(x)
    return x


def filled(n): return np.full(n, None, object)


DIFFERENT = [
    None, ..., True, False, 0, 1, -1, 2**70, 0., -0., 1., 1.5, float('nan'), float('inf'), 1j, 0j, '', 'a', 'b', 'ab',
    b'', b'a', b'1', '1', "b'a'",
    bytearray(b'a'), memoryview(b'a'), range(3), range(0, 3, 2), slice(1), slice(1, 2), slice(None, T([1])),
    slice(None, T([2])),
    [], [1], [1, 2], [2, 1], [[1], 2], [1, [2]], [[1, 2]], [[], []], [[[]]], (), (1,), (1, 2), ((1,), 2), ([1], 2),
    [(1,), 2], {}, {'a': 1}, {'a': 2}, {'b': 1}, {'a': [1]},
    {'a': {'b': 1}}, {'a': 1, 'b': 2}, {'b': 2, 'a': 1}, {1: 'a'}, {1.: 'a'}, set(), {1}, {1, 2}, frozenset({1, 2}),
    {'1'}, {(1, 2)},
    collections.OrderedDict(a=1), collections.OrderedDict(a=1, b=2), collections.defaultdict(int, a=1),
    collections.defaultdict(list, a=1),
    collections.Counter('aab'), collections.deque([1]), collections.deque([1], 1), collections.deque([1], 2),
    types.SimpleNamespace(a=1), types.SimpleNamespace(a=2),
    types.MappingProxyType({'a': 1}), P(1, 2), P(2, 1), Q(1, 2), Point(), Point(1.), Point(0), Point(0., Point()),
    Frozen(), Frozen(1.), Own(), Own(a=1), Own(a=[1]), Own(a=(1,)),
    Int(1), Int(2), Str('a'), Str('b'), List([1]), List([2]), Dict(a=1), Dict(a=2), Colour.RED, Colour.BLUE, Other.RED,
    Bits.A, Bits.A | Bits.B, cyclic(), cyclic(2),
    T(1.), T([1.]), T([[1.]]), T([1., 2.]), T([2., 1.]), T([[1., 2.]]), T([[1.], [2.]]), T([1]),
    T([1], dtype=torch.int32), T([1.], dtype=torch.float64), T([1.], dtype=torch.bfloat16),
    T([1.], dtype=torch.float16), T([True]), T([]), T([[]]), torch.zeros(0, 3), torch.zeros(3, 0),
    T([], dtype=torch.int64), T([-0.]), T([0.]), z, z.conj(), z.real, z.imag, z.conj().imag,
    torch.nn.Parameter(T([1.])), T([1.], requires_grad=True), torch.float32, torch.float64, torch.device('cpu'),
    torch.Size([1]),
    f4(1), np.float64(1), np.int32(1), np.int64(1), np.bool_(True), np.str_('a'), np.datetime64('2020'),
    np.datetime64('2021'), np.datetime64('2020-01-01'),
    A(1.), A([1.]), A([[1.]]), A([1., 2.]), A([2., 1.]), A([1.], 'f4'), A([1.], '>f4'), A([1.], '>f8'), A([1], 'i4'),
    A([1], 'u4'), A([1]), A([], 'f4'), A([]), A([[]]), np.zeros((0, 3)),
    A([1j]), A([True]), A(['a']), A(['ab']), A(['a'], 'U2'), A([b'a']), A(['2020'], 'M8[Y]'), A(['2020'], 'M8[D]'),
    A([1], 'm8[s]'), A([1, 2], 'f2'), A([1.], 'g'),
    A([None]), A([1, None], object), A([[1, None]], object), A([1, 2], object), A([1., 2.], object), A(['a', [1]],
        object), A(['a', [2]], object), filled(2), filled(3),
    structured, structured['a'], np.ones(2, structured.dtype), A([(1, [2])], [('a', 'i4'), ('b', 'O')]), A([(1, [3])],
        [('a', 'i4'), ('b', 'O')]), masked,
    np.ma.array([1., 2.], mask=[True, False]), np.ma.array([1., 3.], mask=[False, False]), np.rec.array([(1, 2.)],
        dtype=[('a', 'i4'), ('b', 'f8')]), np.dtype('f4'), np.dtype('>f4'),
    np.dtype([('a', 'f4')]), len, abs, max, str.upper, str.lower, int, str, dict.fromkeys, np.sin, np.cos, np.mean,
    torch.sin, torch.relu, torch.nn.ReLU, torch.nn.functional.relu,
    functools.partial(max, 1), functools.partial(max, 2), functools.partial(min, 1), [1].count, [2].count, 'a'.join,
    'b'.join,
    re.compile('a'), re.compile('a', re.I), re.compile(b'a'), re.compile('a' * 300), re.compile('a' * 301),
]


def test_digests_are_one_to_one():
    seen = {}
    for i, x in enumerate(DIFFERENT):
        d = K.digest(x)
        assert d not in seen, (x, DIFFERENT[seen[d]])
        seen[d] = i
        assert K.digest([x]) not in seen and K.digest(x) == d


def test_words_of_a_digest_do_not_run_together():
    for kind in (bytearray, lambda b: Path(b.decode())): # what is said before each content, inside a content
        word = b'of' + type(kind(b'')).__name__.encode()
        assert K.digest([kind(b'a' + word + b'b'), kind(b'c')]) != K.digest([kind(b'a'), kind(b'b' + word + b'c')])
    assert K.digest(['ab', 'c']) != K.digest(['a', 'bc']) and K.digest({'a': 'b'}) != K.digest({'a': None, 'b': None})
    assert live('def stage(**k): return k', a='b', c='d') != live('def stage(**k): return k', a='bc', d='')


SAME = [
    (np.arange(6).reshape(2, 3).T, np.arange(6).reshape(2, 3).T.copy()), (np.arange(9)[::2], np.array([0, 2, 4, 6, 8])),
    (np.asfortranarray(np.eye(3)), np.eye(3)),
    (torch.arange(6).view(2, 3).T, torch.arange(6).view(2, 3).T.contiguous()), (torch.ones(1).expand(3), torch.ones(3)),
    (torch.arange(9)[::2], T([0, 2, 4, 6, 8])),
    (z.conj(), z.conj().resolve_conj()), (z.conj().imag, z.conj().imag.resolve_neg()),
    (torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last), torch.zeros(2, 3, 4, 4)),
    ({1, 2, 3}, {3, 2, 1}), (frozenset('abc'), frozenset('cba')), (Point(1.), Point(1.)), (P(1, 2), P(1, 2)),
    (cyclic(2), cyclic(2)), (10**20, 10**20), ('a' * 5000, 'a' * 5000),
    ([x := [1], x], [[1], [1]]), (np.ma.array([1., 2.], mask=[False, True]), np.ma.array([1., 7.], mask=[False, True])),
    (A([Point(1.)]), A([Point(1.)])),
    (torch.nn.Linear(2, 2).state_dict().__class__(a=T([1.])), collections.OrderedDict(a=T([1.]))),
    (torch.utils.data.TensorDataset, torch.utils.data.TensorDataset),
]


@pytest.mark.parametrize('i', range(len(SAME)))
def test_equal_means_equal(i): assert K.digest(SAME[i][0]) == K.digest(SAME[i][1])


def test_cyclic_values_end():
    a, b, o = {}, [], Own()
    a['b'], o.self = b, o
    b += [a, o]
    assert K.digest(a) == K.digest(a) != K.digest(b) != K.digest(o)


def test_digests_do_not_depend_on_the_process():
    """Hash seeds, working directory and the order of imports."""
    code = ("import re\nfrom deepstruct.book import keys as K\nN = {'a', 'b', 'c', ('d', 1)}\n"
            "exec('def f(x): return x in {\"p\", \"q\", \"r\"}')\n"
            "print(K.digest([N, f, re.compile('a'), len, frozenset('xyz')]))")
    run = lambda seed: __import__('subprocess').run([sys.executable, '-c', code], env={**__import__('os').environ,
        'PYTHONHASHSEED': seed}, capture_output=True, text=True)
    assert run('1').stdout == run('2').stdout != ''


def test_state_of_the_process():
    """In the key: default dtype, gradients, autocast. Not in it: the environment, and seeds, which `cached` sets."""
    source = 'import torch\ndef stage(x): return torch.zeros(x)'
    plain = live(source)
    torch.set_default_dtype(torch.float64)
    try: assert live(source) != plain
    finally: torch.set_default_dtype(torch.float32)
    with torch.no_grad(): assert live(source) != plain
    with torch.autocast('cpu', torch.bfloat16): assert live(source) != plain
    torch.manual_seed(7), np.random.seed(7), __import__('random').seed(7)
    with pytest.MonkeyPatch.context() as m:
        m.setenv('DEEPSTRUCT_SOMETHING', 'else')
        assert live(source) == plain


def test_the_seeded_generators_are_no_content():
    """What the seeds of a stage rule may be called under any name."""
    for s in ('from random import gauss as f', 'from random import random as f', 'from numpy.random import normal as f',
              'from torch import randn as f'):
        assert live(f'{s}\ndef stage(x): return f(x)') == live(f'{s}\ndef stage(x): return f(x)')


# --- pages
def page(path, *cells):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(cells=[dict(cell_type='markdown' if c.startswith('# ') else 'code', source=c) for c
                                           in cells])))
    return path


PAGE = ('# Title', 'from deepstruct.a import f\nfrom deepstruct import b\nK = «1|2»', 'x = f(K)',
        "claim('p.one', x, null=1)", 'y = b.g(x)',
        "with figure('p.two', title='t') as fig: fig.plot(y)")
A_, B_ = 'def f(x): return «1|2»\ndef other(x): return 1', 'def g(x): return «1|2»'
EDITS = { # (cells, a, b) -> (p.one changes, p.two changes)
    'an earlier cell': (lambda c: ([reading(s, 1) for s in c], A_, B_), (True, True)),
    'the library, before both': (lambda c: (c, reading(A_, 1), B_), (True, True)),
    'the library, before the second': (lambda c: (c, A_, reading(B_, 1)), (False, True)),
    'the library, elsewhere': (lambda c: (c, A_ + '\ndef more(): return 1', B_), (False, False)),
    'a cell between': (lambda c: ([*c[:4], 'y = 3', *c[4:]], A_, B_), (False, True)),
    'a cell at the end': (lambda c: ([*c, 'y = 3'], A_, B_), (False, False)),
    'a cell at the end that uses more': (lambda c: ([*c, 'from deepstruct.a import other\nother(1)'], A_, B_),
                                         (False, False)),
    'another claim at the end': (lambda c: ([*c, "claim('p.three', 1., null=1)"], A_, B_), (False, False)),
    'prose': (lambda c: (['# Another', *c[1:], '# More'], A_, B_), (False, False)),
    'comments and docstrings': (lambda c: ([s if s.startswith('#') else s + ' # more' for s in c], A_.replace(': ',
        ': # say\n "says"\n '), B_), (False, False)),
    'a magic': (lambda c: ([c[0], '%matplotlib inline\n' + c[1], *c[2:]], A_, B_), (False, False)),
    'a name bound again to another function': (lambda c: ([*c[:4], 'from deepstruct.b import g as f', *c[4:]], A_, B_),
                                               (False, True)),
}


@pytest.mark.parametrize('name', EDITS)
def test_rows_of_a_page(name, tmp_path):
    (do, changes), keys = EDITS[name], []
    for i, (cells, a, b) in enumerate([(PAGE, A_, B_), do(list(PAGE))]):
        home = tmp_path / str(i) / 'deepstruct'
        home.mkdir(parents=True)
        (home / 'a.py').write_text(reading(a, 0)), (home / 'b.py').write_text(reading(b,
            0)), (home / '__init__.py').touch()
        keys.append(K.page_keys(page(tmp_path / str(i) / 'p.ipynb', *(reading(s, 0) for s in cells)), folder=home))
    assert set(keys[0]) == {'', 'p.one', 'p.two'} and tuple(keys[0][k] != keys[1][k] for k in ('p.one',
        'p.two')) == changes


def test_an_import_again_keeps_the_first(tmp_path):
    """A later cell that binds a name again does not hide what the earlier one reached."""
    keys = []
    for i in (0, 1):
        home = tmp_path / str(i)
        home.mkdir()
        for name, source in (('a', 'def f(x): return «1|2»'), ('b', 'def f(x): return 3'), ('__init__', '')):
            (home / f'{name}.py').write_text(reading(source, i))
        keys.append(K.page_keys(page(home / 'p.ipynb', 'from deepstruct.a import f', 'x = f(1)',
                                     'from deepstruct.b import f', "claim('p', f(x))"), folder=home)['p'])
    assert keys[0] != keys[1]


@pytest.mark.parametrize('name', ['from deepstruct.a import *\nx = f(1)', 'import deepstruct.a\nx = deepstruct.a.f(1)',
                                  'from deepstruct import a as z\nx = z.f(1)',
                                  'def g():\n    from deepstruct.a import f\n    return f(1)\nx = g()',
                                  'import importlib\nx = importlib.import_module("deepstruct.a").f(1)'])
def test_ways_of_a_page_to_a_function(name, tmp_path):
    keys = []
    for i in (0, 1):
        home = tmp_path / str(i)
        home.mkdir()
        (home / 'a.py').write_text(reading('def f(x): return «1|2»', i)), (home / '__init__.py').touch()
        keys.append(K.page_keys(page(home / 'p.ipynb', name, "claim('p', x)"), folder=home)['p'])
    assert keys[0] != keys[1]


def test_a_line_that_begins_with_a_percent_sign_is_code(tmp_path):
    a, b = (K.page_keys(page(tmp_path / f'{k}.ipynb', f"x = (7\n% {k})", "claim('p', x)"), folder=tmp_path)['p'] for k
            in (2, 3))
    assert a != b


@pytest.mark.parametrize('text, says', [('{', 'is no notebook'), ('[]', 'is no notebook'),
                                        (json.dumps(dict(cells=[dict(cell_type='code', source='x = = 1')])),
                                         'no Python')])
def test_what_is_no_page(text, says, tmp_path):
    (tmp_path / 'p.ipynb').write_text(text)
    with pytest.raises(ValueError, match=says): K.page_keys(tmp_path / 'p.ipynb', folder=tmp_path)
