"""Tokens for the speed peer: a corpus file, or random documents of the same kind."""
import h5py
import numpy
import torch

from hmm_model import SEQ, VOCABULARY


def random_documents(seed, documents=20, length=10240):
    """Documents of 5 hidden Markov models over 10 entities x 10 properties, as in GINC."""
    random = numpy.random.default_rng(seed)

    def mixture(size):
        weights = numpy.exp((random.random(size) - 0.5) / 0.1)
        matrices = numpy.stack([numpy.eye(size)[random.permutation(size)] for _ in range(size)])
        return numpy.tensordot(weights / weights.sum(), matrices, 1)

    entity = 0.1 * mixture(10) + 0.9 * numpy.eye(10)
    properties = numpy.stack([mixture(10) for _ in range(5)])
    memory = random.integers(1, VOCABULARY, (10, 10))
    memory[:, 0] = 0
    concept = random.integers(0, 5, documents)
    v, s = random.integers(0, 10, documents), random.integers(0, 10, documents)
    tokens = numpy.empty((documents, length), dtype=numpy.int64)
    draw = lambda rows: (rows.cumsum(1) > random.random((documents, 1))).argmax(1)
    for t in range(length):
        tokens[:, t] = memory[v, s]
        v, s = draw(entity[v]), draw(properties[concept, s])
    return tokens


def load_windows(path, seed):
    """Every window of SEQ + 1 tokens, as a view [documents, positions, SEQ + 1]."""
    if path:
        with h5py.File(path) as file:
            tokens = file["train/tokens"][:].astype(numpy.int64)
    else:
        tokens = random_documents(seed)
    return torch.from_numpy(tokens).unfold(1, SEQ + 1, 1)
