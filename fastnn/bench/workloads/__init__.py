"""The named workloads, by family: {family: {name: Workload}}, and all of them by name."""
from . import conv, gemm, loader, norm, pool, steps

FAMILIES = {"mlp": steps.MLPS, "steps": steps.IMAGES, "conv": conv.WORKLOADS, "pool": pool.WORKLOADS,
            "norm": norm.WORKLOADS, "gemm": gemm.WORKLOADS, "loader": loader.WORKLOADS}
WORKLOADS = {name: workload for family in FAMILIES.values() for name, workload in family.items()}
FAMILY_OF = {name: family for family, named in FAMILIES.items() for name in named}
