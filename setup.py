"""The one part that is compiled; without it leakmw works on tracemalloc."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "leakmw.tracers._sampler",
            ["src/leakmw/tracers/_sampler.c"],
            extra_compile_args=["-std=c11", "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter"],
            libraries=["m"],
            optional=True,
        )
    ]
)
