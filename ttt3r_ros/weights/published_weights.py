"""The published weights: file, mirrors and license."""

from __future__ import annotations

from dataclasses import dataclass

from ttt3r_ros.weights.download import Mirror

LICENSE_ID = "CC-BY-NC-SA-4.0"
LICENSE_TEXT = """\
These weights are not part of ttt3r_ros and not under its Apache-2.0 license. They were trained and published by the
authors of CUT3R (https://cut3r.github.io) under CC BY-NC-SA 4.0:
  - no commercial use: nothing primarily intended for commercial advantage or monetary compensation;
  - give credit to the authors of CUT3R (arXiv 2501.12387) when you share the weights or anything you make from them;
  - share anything you make from them (including a converted or fine-tuned file) under the same license only.
The binding text: https://creativecommons.org/licenses/by-nc-sa/4.0/legalcode"""


@dataclass(frozen=True)
class Weights:
    """A published file of weights.

    Attributes:
        name: of the file.
        size: in bytes.
        sha256: hexadecimal.
        mirrors: by the names that --source takes.
    """

    name: str
    size: int
    sha256: str
    mirrors: dict[str, Mirror]


CUT3R_512_DPT = Weights(
    name="cut3r_512_dpt_4_64.pth",
    size=3_173_761_006,
    sha256="45f7e98a0a64dbeb54901ae2b878cd8cd125f20a4497316483f0bd6f109f8103",
    mirrors={
        "huggingface": Mirror(
            "Hugging Face",
            "https://huggingface.co/liguang0115/cut3r/resolve/b14faf986da0df405cff1b41e60e2975c4da2745/"
            "cut3r_512_dpt_4_64.pth",
        ),
        "drive": Mirror(
            "Google Drive",
            "https://drive.usercontent.google.com/download?id=1Asz-ZB3FfpzZYwunhQvNPZEUA8XUNAYD&export=download"
            "&confirm=t",
        ),
    },
)
