"What a library notebook defines beside its module: lessons keep their own functions, and tests try those too."
import ast
import importlib
import json
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).parents[1]

def lesson(name): # 'phase_collapse/02_theory' -> its functions and classes, with those of its module
    cells = json.loads((ROOT / f'nbs/{name}.ipynb').read_text(encoding='utf-8'))['cells']
    sources = [''.join(c['source']) for c in cells if c['cell_type'] == 'code']
    module = [s.split()[-1] for s in sources if s.startswith('#| default_exp')]
    space = dict(vars(importlib.import_module(f'deepstruct.{module[0]}'))) if module else {}
    kept = [n for s in sources if not s.startswith('#| export') for n in ast.parse(s).body
            if isinstance(n, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef)]
    exec(compile(ast.Module(kept, []), name, 'exec'), space)
    return SimpleNamespace(**space)
