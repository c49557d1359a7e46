"""The named workloads, by family: {family: {name: Workload}}, and all of them by name."""
from . import attention, conv, elementwise, gemm, loader, norm, optim, pool, steps

FAMILIES = {"mlp": steps.MLPS, "steps": steps.IMAGE_NETS, "conv": conv.WORKLOADS, "pool": pool.WORKLOADS,
            "norm": norm.WORKLOADS, "gemm": gemm.WORKLOADS, "attention": attention.WORKLOADS, "elementwise": elementwise.WORKLOADS,
            "optim": optim.WORKLOADS, "loader": loader.WORKLOADS}
WORKLOADS = {name: workload for family in FAMILIES.values() for name, workload in family.items()}
FAMILY_OF = {name: family for family, named in FAMILIES.items() for name in named}
