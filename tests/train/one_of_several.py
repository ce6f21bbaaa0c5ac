"""One process of a training that torchrun has started: runs the configurations, and prints what its network has become."""

import sys
from hashlib import sha256
from pathlib import Path

import torch.distributed as dist
from monai.bundle import ConfigWorkflow

from minivess.train.handlers import unwrapped

bundle, dataset, out = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
workflow = ConfigWorkflow(
    [str(bundle / "configs" / f"{name}.yaml") for name in ("train", "tiny", "multi_gpu")],
    workflow_type="train",
    logging_file=False,
    bundle_root=str(bundle),
    dataset_dir=dataset,
    output_dir=out,
    epochs=1,
    iterations_per_epoch=2,
    items_per_batch=1,
    patch_size=[32, 32, 8],
)
workflow.initialize()
network = unwrapped(workflow.parser.get_parsed_content("network"))


def digest() -> str:
    return sha256(b"".join(value.detach().numpy().tobytes() for value in network.parameters())).hexdigest()


before = digest()
workflow.run()
print(f"rank {dist.get_rank()} of {dist.get_world_size()}: {before} {digest()}", flush=True)
workflow.finalize()
