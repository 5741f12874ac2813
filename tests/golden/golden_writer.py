"""Writes golden cases: inputs, outputs, the gradient fed back and the gradients it gives.

Layout of a case: /<op>/<case>/{inputs,outputs,dout,grads}/<name>; what configures it (eps, axis, ...)
is one attribute each. At most one output of a case carries a gradient: the one under dout.
Inputs and dout are float32 numbers, and stored as such, so that a float32 run starts from the same.
"""
import zlib

import h5py
import numpy as np
import torch

FLOAT = torch.float64


def single(tensor):
    """Rounds to float32 numbers, computed with in float64."""
    return tensor.to(torch.float32).to(FLOAT)


def normal(*shape, scale=1.0):
    return single(torch.randn(shape, dtype=FLOAT) * scale)


def uniform(low, high, *shape):
    return single(torch.rand(shape, dtype=FLOAT) * (high - low) + low)


def ints(values, dtype=torch.int32):
    return torch.tensor(values, dtype=dtype)


def away_from(tensor, points, margin=0.01):
    """Moves values that lie within `margin` of a kink to a distance of 2 margins."""
    for point in points:
        near = (tensor - point).abs() < margin
        tensor = torch.where(near, torch.full_like(tensor, point + 2 * margin), tensor)
    return single(tensor)


def draw_until(draw, accept, tries=10000):
    """The first draw that `accept` takes: for ties and for the borders of routed sets."""
    for _ in range(tries):
        drawn = draw()
        if accept(drawn):
            return drawn
    raise RuntimeError("no draw was accepted")


class GoldenWriter:
    def __init__(self, path):
        # v108 and later store small groups compactly: a fifth of the size. No times are stored,
        # so that the same values give the same bytes.
        access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
        access.set_libver_bounds(h5py.h5f.LIBVER_V18, h5py.h5f.LIBVER_V110)
        created = h5py.h5p.create(h5py.h5p.FILE_CREATE)
        created.set_obj_track_times(False)
        flags = h5py.h5f.ACC_TRUNC
        self.file = h5py.File(h5py.h5f.create(path.encode(), flags, fcpl=created, fapl=access))
        self.group_options = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
        self.group_options.set_obj_track_times(False)
        self.file.attrs["torch"] = str(torch.__version__)

    def close(self):
        self.file.close()

    def case(self, op, name, make, function, config=None, frozen=(), no_gradient=False):
        """make() -> inputs by name; function(**inputs, **config) -> a tensor or outputs by name.

        The first output gets the gradient, unless no_gradient. Inputs in `frozen` get none.
        """
        torch.manual_seed(zlib.crc32(f"{op}/{name}".encode()))
        config = config or {}
        inputs = make()
        leaves = {}
        if not no_gradient:
            for key, value in inputs.items():
                if value.is_floating_point() and key not in frozen:
                    leaves[key] = value.requires_grad_()
        outputs = function(**inputs, **config)
        if torch.is_tensor(outputs):
            outputs = {"out": outputs}
        group = self.group(f"{op}/{name}")
        for key, value in config.items():
            group.attrs[key] = value
        self._write(group, "inputs", inputs)
        self._write(group, "outputs", outputs)
        if no_gradient:
            return
        key, out = next(iter(outputs.items()))
        dout = normal(*out.shape)
        out.backward(dout)
        self._write(group, "dout", {key: dout})
        self._write(group, "grads", {key: leaf.grad for key, leaf in leaves.items()})

    def group(self, path):
        """The group at `path`, made with those above it where they are missing."""
        here = self.file
        for name in path.strip("/").split("/"):
            if name not in here:
                h5py.h5g.create(here.id, name.encode(), gcpl=self.group_options)
            here = here[name]
        return here

    def _write(self, parent, part, tensors):
        group = self.group(f"{parent.name}/{part}")
        for key, tensor in tensors.items():
            data = tensor.detach().contiguous().numpy()
            assert np.isfinite(data).all(), f"{group.name}/{key} is not finite"
            if part in ("inputs", "dout") and data.dtype == np.float64:
                assert (data.astype(np.float32) == data).all()
                data = data.astype(np.float32)
            group.create_dataset(key, data=data)
