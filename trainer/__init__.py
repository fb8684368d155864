"""Makes the supernet: one trained encoder that holds subnets of many sizes. Needs `gearshift[train]`."""

from gearshift.extras import require

require(
    "train",
    "torch",
    "transformers",
    "safetensors",
    "huggingface_hub",
    "platformdirs",
    "tqdm",
    "scipy",
    "seqeval",
    "sklearn",
    "accelerate",
)
