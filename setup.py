from glob import glob

from setuptools import find_packages, setup

PACKAGE = "ttt3r_ros"

setup(
    name=PACKAGE,
    version="0.1.0",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={PACKAGE: ["py.typed", "data/*.safetensors", "ros/fastdds.xml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"share/{PACKAGE}/launch", glob("launch/*.launch.py")),
        (f"share/{PACKAGE}/config", glob("config/*.*")),
        (f"share/{PACKAGE}/config/sros2", glob("config/sros2/*")),
    ],
    # In a pip environment requirements/ pins what this needs; in a ROS workspace package.xml names it.
    install_requires=["setuptools"],
    extras_require={
        "open3d": ["open3d>=0.18"],  # for `evaluate`: faster clouds
        "ray": ["ray>=2.9"],  # for `evaluate`: many machines
        "viewer": ["viser>=1.1"],  # for `view` and the demo's view.html
    },
    python_requires=">=3.10",
    zip_safe=False,
    maintainer="ttt3r_ros maintainers",
    maintainer_email="maintainers@ttt3r-ros.example",
    description="Odometry, TF, depth and point clouds from one camera, with the TTT3R recurrent backbone",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            f"{name} = {PACKAGE}.commands:{name}"
            for name in ("ttt3r", "play", "view", "call", "demo", "reconstruct", "evaluate", "fetch_weights")
        ],
    },
)
