"""The instance families that a compute pool can have, with the capacity that the account models for each.

Figures are the published ones of the AWS, Azure and Google Cloud family pages of 2026. Nothing of it is enforced on this machine's
memory or cores: it decides what is accepted and what has to wait.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class InstanceFamily:
    """What one node offers. `gpu_memory_gib` is per GPU."""

    name: str
    vcpu: int
    memory_gib: int
    storage_gib: int
    gpu: str = ""
    gpu_count: int = 0
    gpu_memory_gib: int = 0

    @property
    def memory(self) -> int:
        """Bytes."""
        return self.memory_gib * 2**30

    @property
    def description(self) -> str:
        gpus = f", {self.gpu_count} x NVIDIA {self.gpu}" if self.gpu_count else ""
        return f"{self.vcpu} vCPU, {self.memory_gib} GiB memory{gpus}"


_TABLE = (
    # name, vCPU, GiB, storage GiB, GPU, count, GiB per GPU
    ("CPU_X64_XS", 1, 6, 100), ("CPU_X64_S", 3, 13, 100), ("CPU_X64_M", 6, 28, 100),
    ("CPU_X64_SL", 14, 58, 100), ("CPU_X64_L", 28, 116, 100),
    ("HIGHMEM_X64_S", 6, 58, 100), ("HIGHMEM_X64_M", 28, 240, 100), ("HIGHMEM_X64_SL", 92, 654, 100),
    ("HIGHMEM_X64_L", 124, 984, 100),
    ("GEN_X64_G2_2", 1, 6, 100), ("GEN_X64_G2_4", 3, 13, 100), ("GEN_X64_G2_8", 6, 28, 100),
    ("GEN_X64_G2_16", 14, 58, 100), ("GEN_X64_G2_32", 28, 116, 100),
    ("GEN_ARM_G1_2", 1, 6, 100), ("GEN_ARM_G1_4", 3, 13, 100), ("GEN_ARM_G1_8", 6, 28, 100),
    ("GEN_ARM_G1_16", 14, 58, 100), ("GEN_ARM_G1_32", 28, 116, 100),
    ("MEM_X64_G2_8", 6, 58, 100), ("MEM_X64_G2_32", 28, 240, 100), ("MEM_X64_G2_64", 60, 492, 100),
    ("MEM_X64_G2_96", 92, 652, 100), ("MEM_X64_G2_192", 188, 1436, 100),
    ("GPU_NV_S", 6, 28, 450, "A10G", 1, 24), ("GPU_NV_M", 44, 178, 3800, "A10G", 4, 24),
    ("GPU_NV_L", 92, 1112, 100, "A100", 8, 40),
    ("GPU_L40S_G1_8", 6, 58, 450, "L40S", 1, 48), ("GPU_L40S_G1_16", 14, 116, 600, "L40S", 1, 48),
    ("GPU_L40S_G1_48", 44, 368, 3800, "L40S", 4, 48), ("GPU_L40S_G1_192", 188, 1436, 3800, "L40S", 8, 48),
    ("GPU_R6K_G1_8", 6, 58, 1900, "RTX PRO 6000", 1, 96), ("GPU_R6K_G1_16", 14, 116, 1900, "RTX PRO 6000", 1, 96),
    ("GPU_R6K_G1_32", 28, 240, 1900, "RTX PRO 6000", 1, 96), ("GPU_R6K_G1_48", 44, 490, 3800, "RTX PRO 6000", 2, 96),
    ("GPU_R6K_G1_96", 92, 984, 7600, "RTX PRO 6000", 4, 96), ("GPU_R6K_G1_192", 188, 1843, 11400, "RTX PRO 6000", 8, 96),
    ("GPU_NV_XS", 3, 26, 100, "T4", 1, 16), ("GPU_NV_SM", 32, 424, 100, "A10", 1, 24),
    ("GPU_NV_2M", 68, 858, 100, "A10", 2, 24), ("GPU_NV_3M", 44, 424, 100, "A100", 2, 80),
    ("GPU_NV_SL", 92, 858, 100, "A100", 4, 80),
    ("GPU_GCP_NV_L4_1_24G", 6, 28, 100, "L4", 1, 24), ("GPU_GCP_NV_L4_4_24G", 44, 178, 100, "L4", 4, 24),
    ("GPU_A100_G1_12", 10, 77, 100, "A100", 1, 40), ("GPU_A100_G1_48", 44, 324, 100, "A100", 4, 40),
    ("GPU_GCP_NV_A100_8_40G", 92, 654, 100, "A100", 8, 40),
)  # fmt: skip

FAMILIES: dict[str, InstanceFamily] = {str(row[0]): InstanceFamily(*row) for row in _TABLE}
