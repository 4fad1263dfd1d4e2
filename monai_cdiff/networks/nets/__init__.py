"""Networks that predict what a diffusion step needs, the networks they are compared with, and one that judges."""

from __future__ import annotations

from .conditional_unet import UNET_SIZES, ConditionalUNet, UNetSize
from .hpunet import HPUNET_SIZES, HierarchicalProbabilisticUNet, HPUNetSize, VariationalOutput, kl_of_normals
from .pix2pix import PIX2PIX_SIZES, ConditionalPatchDiscriminator, Pix2PixGenerator, Pix2PixSize
from .srgan import SRGAN_SIZES, SRGANDiscriminator, SRGANGenerator, SRGANSize
from .upgan import UPGAN, UPGAN_SIZES, GeneralizedGaussian, UPGANSize
from .vgg11_classifier import VGG11Classifier

__all__ = [
    "HPUNET_SIZES",
    "PIX2PIX_SIZES",
    "SRGAN_SIZES",
    "UNET_SIZES",
    "UPGAN",
    "UPGAN_SIZES",
    "ConditionalPatchDiscriminator",
    "ConditionalUNet",
    "GeneralizedGaussian",
    "HPUNetSize",
    "HierarchicalProbabilisticUNet",
    "Pix2PixGenerator",
    "Pix2PixSize",
    "SRGANDiscriminator",
    "SRGANGenerator",
    "SRGANSize",
    "UNetSize",
    "UPGANSize",
    "VGG11Classifier",
    "VariationalOutput",
    "kl_of_normals",
]
