"""Where tokens, corpora, compiled programs and answers are kept between processes."""

import os
from pathlib import Path


def cache_directory() -> Path:
    """ARCH_CACHE_DIR, else XDG_CACHE_HOME/arch-variants, else ~/.cache/arch-variants."""
    if own := os.environ.get("ARCH_CACHE_DIR"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "arch-variants"
