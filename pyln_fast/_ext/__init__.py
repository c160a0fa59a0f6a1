"""The built C core. Importing it joins liblnfast to the libsecp256k1 inside coincurve and checks every function."""

import os

from coincurve._libsecp256k1 import ffi, lib

from pyln_fast._ext import _core

HASH_SEED = os.urandom(32)
"""Keys the hash tables of this process, so that nobody can grind keys that collide. No result depends on it."""


def _join() -> None:
    names = ["secp256k1_" + name for name in _core.FUNCTIONS]
    addresses = tuple(int(ffi.cast("uintptr_t", ffi.addressof(lib, name))) for name in names)
    # Blinds the signing context against side channels: no result ever depends on it.
    failed = _core.init(addresses, os.urandom(32))
    if failed is not None:
        raise ImportError(f"{failed} of the loaded libsecp256k1 gives a wrong answer: pyln_fast will not run on it")


_join()
