"""The encoders by name: where their files come from and what must lie in a folder.

Standard library only: the pre-flight and the documentation's tests read it.
"""

from __future__ import annotations

from dataclasses import dataclass

CHANGENET = "changenet"
OPEN_CLIP, TIMM, C_RADIO = "open_clip", "timm", "c_radio"


@dataclass(frozen=True)
class Family:
    """Files that encoders of one library need, by the names that the library writes.

    ``configs`` are all needed; of ``weights`` the first one that is there is taken.
    """

    configs: tuple[str, ...]
    weights: tuple[str, ...]


FAMILIES = {
    OPEN_CLIP: Family(
        ("open_clip_config.json",),
        (
            "open_clip_model.safetensors",
            "open_clip_pytorch_model.safetensors",
            "open_clip_pytorch_model.bin",
            "open_clip_model.bin",
        ),
    ),
    TIMM: Family(("config.json",), ("model.safetensors", "pytorch_model.bin", "model.pth")),
    C_RADIO: Family(
        ("config.json", "preprocessor_config.json"),
        ("model.safetensors", "pytorch_model.bin", "model.pth"),
    ),
}


@dataclass(frozen=True)
class Published:
    """An encoder as published: what is fetched where no folder is named.

    ``size_px``: side of the picture that it sees, None = as its preprocessing file says. ``dim``:
    length of a vector. ``megabytes``: of the download. ``gated``: the hub asks for an account
    that accepted the licence (HF_TOKEN).
    """

    name: str
    family: str
    model: str
    repository: str
    size_px: int | None
    dim: int
    megabytes: int
    licence: str
    gated: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """The files to fetch: configurations, then weights."""
        family = FAMILIES[self.family]
        return (*family.configs, family.weights[0])

    def download(self, folder: str = "DIR") -> str:
        """Return the command that fetches the files on a connected machine."""
        token = "HF_TOKEN=... " if self.gated else ""
        return f"{token}hf download {self.repository} {' '.join(self.files)} --local-dir {folder}"

    def advice(self) -> str:
        """Return what to do when files are missing."""
        page = f"https://huggingface.co/{self.repository}"
        first = f"accept the licence at {page}; " if self.gated else ""
        return (
            f"{first}on a connected machine: {self.download()}; copy DIR here and set "
            "encoder_weights=DIR"
        )


APACHE, MIT = "Apache-2.0", "MIT"
PUBLISHED = {
    each.name: each
    for each in (
        Published(
            "siglip", OPEN_CLIP, "ViT-B-16-SigLIP (webli)", "timm/ViT-B-16-SigLIP",
            224, 768, 813, APACHE,
        ),
        Published(
            "siglip2", OPEN_CLIP, "ViT-B-16-SigLIP2 (webli)", "timm/ViT-B-16-SigLIP2",
            224, 768, 1501, APACHE,
        ),
        Published(
            "clip", OPEN_CLIP, "ViT-B-16 (openai)", "timm/vit_base_patch16_clip_224.openai",
            224, 512, 599, MIT,
        ),
        Published(
            "dinov2", TIMM, "vit_base_patch14_dinov2 (lvd142m)",
            "timm/vit_base_patch14_dinov2.lvd142m", 518, 768, 346, APACHE,
        ),
        Published(
            "dinov3", TIMM, "vit_base_patch16_dinov3 (lvd1689m)",
            "timm/vit_base_patch16_dinov3.lvd1689m", 256, 768, 343, "DINOv3 License", gated=True,
        ),
        Published(
            "c_radio", C_RADIO, "C-RADIOv2-B", "nvidia/C-RADIOv2-B",
            None, 2304, 393, "NVIDIA Open Model License",
        ),
    )
}  # fmt: skip
NAMES = (*PUBLISHED, CHANGENET)
