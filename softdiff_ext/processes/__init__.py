"""The processes: how images are corrupted, what a network learns from that, and how it is undone."""

from softdiff_ext.processes.base import Process
from softdiff_ext.processes.blurring import BlurringDiffusion
from softdiff_ext.processes.cold import ColdDiffusion
from softdiff_ext.processes.draws import ImageDraws
from softdiff_ext.processes.ihdm import InverseHeatDissipation
from softdiff_ext.processes.soft import SoftDiffusion
from softdiff_ext.processes.vdm import VariationalDiffusion

__all__ = [
    "BlurringDiffusion",
    "ColdDiffusion",
    "ImageDraws",
    "InverseHeatDissipation",
    "Process",
    "SoftDiffusion",
    "VariationalDiffusion",
]
