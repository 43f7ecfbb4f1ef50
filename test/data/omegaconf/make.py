"""Makes VERSION.pkl beside this file, a training configuration as OmegaConf itself pickles it.

    python -m venv v && v/bin/pip install omegaconf==2.3.0 && v/bin/python test/data/omegaconf/make.py

Those that are here were made with OmegaConf 2.1.2, 2.2.3 and 2.3.0 under CPython 3.11, with pickle's protocol 2, which
torch.save uses. The model's string is `MODEL_STRING` of test/published_files.py; the rest stands for the many entries
that a training has: interpolations, lists, a part of another type, a missing value.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import omegaconf

TRAINING = """
model: "ARCroco3DStereo(ARCroco3DStereoConfig(freeze='encoder', state_size=5, state_pe='2d', pos_embed='RoPE100',
  rgb_head=True, pose_head=True, patch_embed_cls='ManyAR_PatchEmbed', img_size=(512, 512), head_type='linear',
  output_mode='pts3d+pose', depth_mode=('exp', -inf, inf), conf_mode=('exp', 1, inf), pose_mode=('exp', -inf, inf),
  enc_embed_dim=32, enc_depth=2, enc_num_heads=2, dec_embed_dim=16, dec_depth=4, dec_num_heads=2,
  landscape_only=False, state_dec_num_heads=4, local_mem_size=3, mlp_ratio=2, ray_enc_depth=1))"
resume: null
views: 4
lr: 1.0e-06
dataset: "Scenes(split='train', resolution=[(512, 384)], num_views=${views}, transform=Jitter)"
train: 48_000 @ ${dataset} + 100 @ ${.dataset}
benchmark: false
nested: {betas: [0.9, 0.95, "${lr}"], name: "???", whole: "${nested.betas}"}
"""

if __name__ == "__main__":
    config = omegaconf.OmegaConf.create(TRAINING)
    omegaconf.OmegaConf.set_struct(config, True)
    assert config.train.startswith("48_000 @ Scenes")  # an interpolation that has been followed leaves its traces
    file = Path(__file__).with_name(f"{omegaconf.__version__}.pkl")
    file.write_bytes(pickle.dumps(config, protocol=2))
    print(file, file.stat().st_size)
