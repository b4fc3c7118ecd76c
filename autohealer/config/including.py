"""Which files a configuration includes: what its patterns match, each once, in the order of patterns and then of names.

Theory of operation. A pattern that matches nothing is an empty folder for snippets, and fine; a name without wildcards
that is not there is a mistake. The including file itself is never included.

Must never know: what is in the files.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

FILES_MAX = 1000


def included_files(
    patterns: Sequence[str], including: Path, note: Callable[[int, str], None]
) -> Iterator[Path]:
    """The files, as paths that begin as the including one's does; patterns that will not do are noted by number."""
    seen = {_identity(including)}
    for number, pattern in enumerate(patterns):
        for path in _matches(pattern, including.parent, partial(note, number)):
            if _identity(path) in seen:
                continue
            if len(seen) > FILES_MAX:
                note(number, f"more than {FILES_MAX} files are included")
                return
            seen.add(_identity(path))
            yield path


def _matches(pattern: str, folder: Path, note: Callable[[str], None]) -> list[Path]:
    if not pattern or "\0" in pattern:
        note("this names no file")
        return []
    whole = str(folder / pattern)
    if not glob.has_magic(pattern):
        path = Path(whole)
        if not _is_there(path):
            note(f'there is no {path}: name a file, or a pattern such as "conf.d/*.toml"')
            return []
        return [path]
    matching = glob.glob(pattern, root_dir=folder, recursive=True)  # noqa: PTH207 - takes absolute ones
    return [folder / name for name in sorted(matching)]


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return True  # reading it will say why it cannot be


def _identity(path: Path) -> str:
    """The same for every name of a file."""
    return str(path.resolve())
