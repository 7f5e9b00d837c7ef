"""Where the package keeps what can be made again."""

import os
from pathlib import Path


def cache_root() -> Path:
    """Where caches live: the environment variable KA_EXPLORE_CACHE, or the user's cache folder."""
    from platformdirs import user_cache_path

    set_by_user = os.environ.get("KA_EXPLORE_CACHE")
    return Path(set_by_user) if set_by_user else user_cache_path("ka-explore", appauthor=False)
