"""Packaging: fields are read from settings.ini; data/ and the papers' files travel in the wheel as deepstruct/_data."""
import shlex
import shutil
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

root = Path(__file__).parent
cfg = ConfigParser(delimiters=['='])
cfg.read(root / 'settings.ini', encoding='utf-8')
cfg = cfg['DEFAULT']
readme = root / 'README.md'
embedded = {p: p.relative_to(root / 'data') for at in ('*.*', 'papers/*.json') for p in (root / 'data').glob(at)}
embedded |= {p: p.relative_to(root) for at in ('nbs/**/paper_*.toml', 'data/results/*/*.json') for p in root.glob(at)}


class WithData(build_py):
    """Copies what the library itself needs: the papers' files, embedded data, what was recorded."""
    def run(self):
        super().run()
        if getattr(self, 'editable_mode', False): return
        for path, place in embedded.items():
            to = Path(self.build_lib) / 'deepstruct' / '_data' / place
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)


class WithSources(sdist):
    """Adds what this file reads and what WithData copies, so that a wheel can be built from the archive."""
    def make_distribution(self):
        found = [root / 'settings.ini', root / 'requirements.lock', *embedded]
        self.filelist.extend([str(p.relative_to(root)) for p in found])
        super().make_distribution()


setup(
    name=cfg['lib_name'], version=cfg['version'], description=cfg['description'], keywords=cfg['keywords'],
    author=cfg['author'], author_email=cfg['author_email'], url=cfg['git_url'], license=cfg['license'].upper(),
    long_description=readme.read_text(encoding='utf-8') if readme.exists() else '',
    long_description_content_type='text/markdown',
    classifiers=['Programming Language :: Python :: 3', 'Intended Audience :: Science/Research'],
    python_requires=f">={cfg['min_python']}",
    packages=find_packages(include=['deepstruct*']), package_data={'deepstruct': ['py.typed']},
    install_requires=shlex.split(cfg['requirements']),
    extras_require={k: shlex.split(cfg[f'{k}_requirements']) for k in ('dev', 'fid', 'files', 'flow')},
    entry_points={'console_scripts': cfg['console_scripts'].split('\n'), 'nbdev': ['deepstruct=deepstruct._modidx:d']},
    cmdclass={'build_py': WithData, 'sdist': WithSources}, zip_safe=False,
)
