"""What ``setup.cfg`` cannot say: the bundles travel inside the package, though they lie beside it here."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["monai_cdiff", "monai_cdiff.*"]), "monai_cdiff.bundles"],
    package_dir={"monai_cdiff.bundles": "bundles"},
)
