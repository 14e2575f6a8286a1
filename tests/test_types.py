"""The doors and what all rest on are typed."""
import subprocess
import sys
from pathlib import Path


def test_types():
    """What `mypy` alone checks, as pyproject.toml says."""
    root = Path(__file__).parents[1]
    words = [sys.executable, '-m', 'mypy', '--cache-dir', '/dev/null']
    got = subprocess.run(words, cwd=root, capture_output=True, text=True)
    assert got.returncode == 0, got.stdout


def test_the_package_says_that_it_is_typed():
    """py.typed travels in the wheel."""
    root = Path(__file__).parents[1]
    assert (root / 'deepstruct/py.typed').exists() and 'py.typed' in (root / 'setup.py').read_text(encoding='utf-8')
