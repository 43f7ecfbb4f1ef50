"""The setup.py of the folder that install.py stages: ``site`` holds the Python packages, ``prefix`` everything else."""

from pathlib import Path

from setuptools import find_packages, setup

prefix = Path("prefix")
folders = sorted({path.parent for path in prefix.rglob("*") if path.is_file()})
setup(
    name="ttt3r-ros-underlay",
    version="0.1.0",
    description="ROS 2 packages missing on PyPI, for the virtual environment of ttt3r_ros",
    license="Apache-2.0",
    packages=find_packages("site"),
    package_dir={"": "site"},
    package_data={"": ["*.so"]},
    data_files=[
        (str(folder.relative_to(prefix)), sorted(str(path) for path in folder.iterdir() if path.is_file()))
        for folder in folders
    ],
    zip_safe=False,
)
