"""Run by test_processes.py, alone and as one of two: quantizers learn of the joint batch; their states are kept."""

import sys

import torch
from safetensors.torch import save_file

from ppl_vae.quantizers import EMA, FiniteScalarQuantizer, ProductQuantizer, ResidualQuantizer, VectorQuantizer

KINDS = {
    "vector": lambda: VectorQuantizer(7, 4, update=EMA(0.8), revive=0.0),
    "cosine": lambda: VectorQuantizer(7, 4, update=EMA(0.8), metric="cosine", revive=0.0),
    "product": lambda: ProductQuantizer(5, 4, 2, update=EMA(0.8), revive=0.0),
    "residual": lambda: ResidualQuantizer(5, 4, 2, update=EMA(0.8), revive=0.0),
    "finite": lambda: FiniteScalarQuantizer((3, 3, 3, 3)),
    "gradient": lambda: VectorQuantizer(7, 4, update="gradient", revive=0.0),
    "revived": lambda: VectorQuantizer(7, 4, revive=0.6),
    "revived parameters": lambda: VectorQuantizer(7, 4, update="gradient", revive=0.6),
}


def main(out, rank, count):
    if count > 1:
        torch.distributed.init_process_group("gloo", rank=rank, world_size=count)
    state = {}
    for deferred in (False, True):
        for name, make in KINDS.items():
            torch.manual_seed(3)
            q, batches = make(), torch.randn(6, 21, 4)
            torch.manual_seed(10 + rank)  # processes draw different vectors
            if deferred:
                q.defer()
            for i, batch in enumerate(batches):
                own = batch[rank::count]
                if i == 4 and deferred:  # a short batch, of which the second process has nothing
                    own = batch[:1] if rank == 0 else batch[:0]
                elif i == 4:
                    own = batch[: 2 - rank] if count == 1 else batch[rank : rank + 1]
                if len(own):
                    q(own)
                q.settle()
            state |= {f"{name} {deferred} {key}": value.clone() for key, value in q.state_dict().items()}
    if count > 1:  # what every process has is the same, revived codes and all
        for key, value in state.items():
            other = value.clone().float()
            torch.distributed.broadcast(other, src=0)
            assert torch.equal(other, value.float()), key
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    if rank == 0:
        save_file(state, f"{out}/state.safetensors")


if __name__ == "__main__":
    import os

    main(sys.argv[1], int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
