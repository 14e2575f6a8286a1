"""Notebooks are the source: exporting and cleaning a copy of the checkout changes nothing."""
import shutil
import subprocess
import sys
from pathlib import Path


def files(home):
    kept = [p for d in ('nbs', 'deepstruct') for p in (home / d).rglob('*') if p.suffix in ('.py', '.ipynb')
            and '.ipynb_checkpoints' not in p.parts]
    return {p.relative_to(home).as_posix(): p.read_text(encoding='utf-8') for p in kept}


def test_export_and_clean_change_nothing(root, tmp_path):
    for d in ('nbs', 'deepstruct'): shutil.copytree(root / d, tmp_path / d, ignore=shutil.ignore_patterns('__pycache__',
        '.ipynb_checkpoints', '*.nb.txt', 'kernel-ipc*'))
    for f in ('settings.ini', 'setup.py'): shutil.copy(root / f, tmp_path)
    before = files(tmp_path)
    for command in ('nbdev_export', 'nbdev_clean'):
        subprocess.run([str(Path(sys.executable).parent / command)], cwd=tmp_path, check=True)
    after = files(tmp_path)
    assert sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k)) == []
