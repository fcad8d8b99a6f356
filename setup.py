"""Where the files of the package lie; everything else stands in pyproject.toml.

The scripts for Siril and PixInsight have folders of their own beside the package, and are shipped
inside of it.
"""

from setuptools import find_packages, setup

SCRIPTS = ("siril_scripts", "siril_scripts.astro_sr_siril", "pixinsight_scripts")

setup(
    packages=[
        *find_packages(include=["astro_sr_plugin*"]),
        *(f"astro_sr_plugin.{name}" for name in SCRIPTS),
    ],
    package_dir={f"astro_sr_plugin.{name}": name.replace(".", "/") for name in SCRIPTS},
)
