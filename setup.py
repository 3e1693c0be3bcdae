"""The parts that are compiled; without them leakmw works on tracemalloc."""

from setuptools import Extension, setup


def _extension(name: str) -> Extension:
    return Extension(
        f"leakmw.{name}",
        [f"src/leakmw/{name.replace('.', '/')}.c"],
        extra_compile_args=["-std=c11", "-O2", "-Wall", "-Wextra"],
        libraries=["m", "dl"],
        optional=True,
    )


NAMES = ("tracers._sampler", "heap._collector", "_forking")

setup(ext_modules=[_extension(name) for name in NAMES])
