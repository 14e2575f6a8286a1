import os
import sys
from pathlib import Path

import pytest

import deepstruct.core  # noqa: F401  finds its root before a test moves $DEEPSTRUCT_ROOT

sys.path.insert(0, str(Path(__file__).parent))
ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault('DEEPSTRUCT_QUIET', '1')


@pytest.fixture
def root():
    return ROOT


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A checkout of one paper notebook; the commands see it in place of this one."""
    from toy import project
    home = project((tmp_path / 'checkout').resolve())
    monkeypatch.setenv('DEEPSTRUCT_ROOT', str(home))
    monkeypatch.setenv('DEEPSTRUCT_CACHE', str(home / '.cache'))
    monkeypatch.delenv('DEEPSTRUCT_OUT', raising=False)
    return home
