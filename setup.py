"""Builds liblnfast (plain C) once, and one thin Cython extension for each file in ext/cython."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SOURCES = ROOT / "ext" / "src"
BINDINGS = ROOT / "ext" / "cython"
PACKAGE = "pyln_fast._ext"
LIBRARY = "liblnfast.so"

# Every binding of the package, by name: a file that an sdist forgot must fail the build, not the import.
BINDING_NAMES = (
    "_core",
    "_keys",
    "_noise",
    "_onion",
    "_scan",
    "_tx",
)

C_FLAGS = [
    "-std=c11",
    "-O3",
    "-fPIC",
    "-fvisibility=hidden",
    # Python builds its own extensions with NDEBUG; the contracts of lnfast.h promise asserts.
    "-UNDEBUG",
    "-Wall",
    "-Wextra",
    "-Wvla",
    "-Wshadow",
    "-Wstrict-prototypes",
]


def bindings() -> list[Extension]:
    missing = [name for name in BINDING_NAMES if not (BINDINGS / f"{name}.pyx").is_file()]
    if missing:
        raise SystemExit(f"setup.py: ext/cython/{missing[0]}.pyx is missing: this source tree is incomplete")
    unnamed = sorted({path.stem for path in BINDINGS.glob("*.pyx")} - set(BINDING_NAMES))
    if unnamed:
        raise SystemExit(f"setup.py: ext/cython/{unnamed[0]}.pyx is not in BINDING_NAMES")
    shared = sorted(str(path.relative_to(ROOT)) for path in BINDINGS.glob("*.pxd"))
    return [
        Extension(
            f"{PACKAGE}.{name}",
            [f"ext/cython/{name}.pyx"],
            include_dirs=["ext/include"],
            libraries=["lnfast"],
            extra_link_args=["-Wl,-rpath,$ORIGIN"],
            depends=["ext/include/lnfast.h", *shared],
        )
        for name in BINDING_NAMES
    ]


class BuildPy(build_py):
    """Starts a wheel from an empty directory: setuptools would pack whatever an earlier build left there."""

    def run(self) -> None:
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


class BuildExt(build_ext):
    """Compiles ext/src into liblnfast.so beside the extensions, then the extensions against it."""

    def run(self) -> None:
        if sys.platform != "linux":
            raise SystemExit(f"setup.py: {sys.platform} is not supported: liblnfast is built for Linux")
        from Cython.Build import cythonize

        self.extensions[:] = cythonize(
            self.extensions,
            include_path=["ext/cython"],
            compiler_directives={"language_level": 3, "binding": False, "embedsignature": True},
            force=bool(self.force),
        )
        for extension in self.extensions:
            extension._needs_stub = False
        super().run()

    def build_extensions(self) -> None:
        self._package_dir = Path(self.get_ext_fullpath(f"{PACKAGE}._core")).parent
        self._package_dir.mkdir(parents=True, exist_ok=True)
        # A Python that was built with a path of its own writes it into what it links; no wheel may depend on that.
        self.compiler.linker_so = [word for word in self.compiler.linker_so if not word.startswith("-Wl,-rpath")]
        self._build_library()
        for extension in self.extensions:
            extension.library_dirs = [str(self._package_dir)]
        super().build_extensions()

    def _build_library(self) -> None:
        sources = sorted(str(path.relative_to(ROOT)) for path in SOURCES.glob("*.c"))
        if not sources:
            raise SystemExit("setup.py: ext/src has no C file: this source tree is incomplete")
        headers = [str(path) for path in (ROOT / "ext" / "include").glob("*.h")] + [
            str(path) for path in SOURCES.glob("*.h")
        ]
        newest = max(os.path.getmtime(path) for path in headers)
        library = self._package_dir / LIBRARY
        objects = []
        extra = ["-march=x86-64"] if platform.machine() in ("x86_64", "AMD64") else []
        for source in sources:
            target = Path(self.build_temp) / source.replace(".c", self.compiler.obj_extension or ".o")
            fresh = target.is_file() and os.path.getmtime(target) > max(newest, os.path.getmtime(source))
            if self.force or not fresh:
                self.compiler.compile(
                    [source],
                    output_dir=self.build_temp,
                    include_dirs=["ext/include", "ext/src"],
                    extra_postargs=C_FLAGS + extra,
                )
            objects.append(str(target))
        # A C file that an sdist forgot fails here, not at import.
        flags = ["-Wl,-soname," + LIBRARY, "-Wl,-z,defs"]
        self.compiler.link_shared_object(objects, str(library), extra_postargs=flags)
        include = self._package_dir / "include"
        include.mkdir(exist_ok=True)
        shutil.copy2(ROOT / "ext" / "include" / "lnfast.h", include / "lnfast.h")

    def copy_extensions_to_source(self) -> None:
        """An in-place or editable build: the library goes where the extensions go."""
        super().copy_extensions_to_source()
        target = ROOT / "pyln_fast" / "_ext"
        shutil.copy2(self._package_dir / LIBRARY, target / LIBRARY)
        shutil.copytree(self._package_dir / "include", target / "include", dirs_exist_ok=True)

    def get_outputs(self) -> list[str]:
        directory = Path(self.get_ext_fullpath(f"{PACKAGE}._core")).parent
        return [*super().get_outputs(), str(directory / LIBRARY), str(directory / "include" / "lnfast.h")]


setup(ext_modules=bindings(), cmdclass={"build_py": BuildPy, "build_ext": BuildExt})
