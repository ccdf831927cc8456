"""Spectral clustering of a graph of items, repeated within each cluster: a tree of clusters."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import eigsh

from letterrec.tokenizers.kmeans import kmeans, nearest

_DENSE = 512  # nodes of a graph whose eigenvectors are found exactly


def spectral_clusters(graph: sp.csr_array, k: int) -> NDArray[np.int64]:
    """Divide the nodes of a graph into clusters that few and weak edges join.

    The eigenvectors of the normalised graph with the ``k`` largest eigenvalues, each node's row at
    length 1, are clustered by k-means (Ng, Jordan and Weiss, "On Spectral Clustering", NIPS 2001).
    Degrees are raised by their mean, so that a few nodes at the end of a thin edge are no cluster
    (Qin and Rohe, "Regularized Spectral Clustering", NIPS 2013). The eigenvectors come from
    Lanczos' algorithm on the graph itself: linear in its edges, where scikit-learn's inverts it.

    Args:
        graph: float32 ``(n, n)``, symmetric, none negative.
        k: clusters; ``n`` where there are fewer nodes, one where nothing is joined. Some may stay
            empty.

    Returns:
        int64 ``(n,)``, from 0 on. Randomness is that of `training.devices.set_seed`.
    """
    n = graph.shape[0]
    if graph.nnz == 0:
        return np.zeros(n, dtype=np.int64)
    k = min(k, n)
    degrees = np.asarray(graph.sum(1)).ravel()
    raised = degrees + degrees.mean()
    scale = sp.diags_array(1 / np.sqrt(np.where(raised > 0, raised, 1)))
    normalised = scale @ graph.astype(np.float64) @ scale
    if n <= max(_DENSE, 4 * k):
        vectors = np.linalg.eigh(normalised.toarray())[1][:, -k:]
    else:
        start = np.random.default_rng(0).uniform(-1, 1, n)
        vectors = eigsh(normalised, k=k, which="LA", tol=1e-3, v0=start)[1]  # (n, k)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    points = torch.from_numpy((vectors / np.where(norms > 0, norms, 1)).astype(np.float32))
    return nearest(points, kmeans(points, k)).numpy()


def cluster_tree(graph: sp.csr_array, k: int, leaf: int) -> list[NDArray[np.int32]]:
    """Divide a graph into clusters, these again, and so on until all are small.

    Args:
        graph: as for `spectral_clusters`.
        k: clusters that a group of nodes is divided into.
        leaf: nodes of a group, at most, that is not divided any more. A larger one that falls into
            no clusters is cut into pieces of that size, in the order of its nodes.

    Returns:
        Level by level int32 ``(n,)``: the cluster of each node, numbered through the level from 0
        on; -1 where its group was not divided. Nothing where all nodes are one small group.
    """
    n = graph.shape[0]
    levels: list[NDArray[np.int32]] = []
    groups = [np.arange(n)]
    while any(len(group) > leaf for group in groups):
        level = np.full(n, -1, dtype=np.int32)
        divided = [_parts(graph, group, k, leaf) for group in groups if len(group) > leaf]
        groups = [part for parts in divided for part in parts]
        for number, group in enumerate(groups):
            level[group] = number
        levels.append(level)
    return levels


def _parts(
    graph: sp.csr_array, group: NDArray[np.int64], k: int, leaf: int
) -> list[NDArray[np.int64]]:
    clusters = spectral_clusters(graph[group][:, group], k)
    parts = [group[clusters == cluster] for cluster in np.unique(clusters)]
    return parts if len(parts) > 1 else np.array_split(group, -(-len(group) // leaf))
