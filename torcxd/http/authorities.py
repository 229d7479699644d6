"""Where the host keeps the certificate authorities that it trusts."""

from __future__ import annotations

import os
import ssl
from pathlib import Path


def system_authorities() -> tuple[Path, ...]:
    """The file and the directories that :func:`ssl.create_default_context` reads, whether they are there or not.

    Loading them takes about 50 ms for the 140 authorities of a usual host.
    """
    paths = ssl.get_default_verify_paths()
    file = os.environ.get(paths.openssl_cafile_env, paths.openssl_cafile)
    directories = os.environ.get(paths.openssl_capath_env, paths.openssl_capath)
    # Several directories are separated as in PATH; X509_LOOKUP_hash_dir(3).
    return (Path(file), *(Path(each) for each in directories.split(os.pathsep) if each))
